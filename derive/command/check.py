"""`derive check`: kernels against automatic differentiation and finite differences."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from ..cells import SHIPPED
from ..cells.load import cells_named
from ..verify import report, second


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cells, and where the numbers go."""
    parser.add_argument("cells", metavar="CELL", nargs="*", help="names or files of cells (default: all)")
    parser.add_argument("--order", type=int, choices=(1, 2), default=1, help="of derivatives: gradients (default), or what is made of them")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")


def run(options: argparse.Namespace) -> int:
    """Check cells; return 1 if a kernel is wrong, 2 where a witness is missing."""
    cells = [cell for name in options.cells for cell in cells_named(name)] or list(SHIPPED.values())
    if options.order == 1:
        return report.run(cells, options.json)
    if importlib.util.find_spec("torch") is None:
        print("derive check --order 2: PyTorch is its witness, and is not installed", file=sys.stderr)
        return 2
    return report.run(cells, options.json, check=second.check, order=2)
