"""`derive check`: kernels against automatic differentiation and finite differences."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterable

from ..cells import SHIPPED
from ..cells.load import cells_named
from ..language.definition import Definition
from ..language.errors import CellError
from ..program.pipeline import compile_cell
from ..verify import report, second


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cells, and where the numbers go."""
    parser.add_argument("cells", metavar="CELL", nargs="*", help="names or files of cells (default: all)")
    parser.add_argument("--order", type=int, choices=(1, 2), default=1, help="of derivatives: gradients (default), or what is made of them")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")


def run(options: argparse.Namespace) -> int:
    """Check cells; return 1 if a kernel is wrong, 2 where a witness is missing."""
    cells = [cell for name in options.cells for cell in cells_named(name)]
    if options.order == 1:
        return report.run(cells or list(SHIPPED.values()), options.json)
    if importlib.util.find_spec("torch") is None:
        print("derive check --order 2: PyTorch is its witness, and is not installed", file=sys.stderr)
        return 2
    return report.run(cells or _differentiable_twice(SHIPPED.values()), options.json, check=second.check, order=2)


def _differentiable_twice(cells: Iterable[Definition]) -> list[Definition]:
    """Return those of the cells that have kernels of second order, and tell of the others."""
    found = []
    for cell in cells:
        try:
            compile_cell(cell, 2)
        except CellError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            found.append(cell)
    return found
