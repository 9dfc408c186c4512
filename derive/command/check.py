"""`derive check`: kernels against automatic differentiation and finite differences."""

from __future__ import annotations

import argparse

from ..cells import REGISTRY
from ..cells.load import cells_named
from ..verify.report import run as check


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cells, and where the numbers go."""
    parser.add_argument("cells", metavar="CELL", nargs="*", help="names or files of cells (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")


def run(options: argparse.Namespace) -> int:
    """Check cells; return 1 if a kernel is wrong."""
    cells = [cell for name in options.cells for cell in cells_named(name)]
    return check(cells or list(REGISTRY.values()), options.json)
