"""`derive export c`: a cell's step as one file of C99, with a header."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..cells.load import cells_named
from ..language.errors import CellError
from ..package import c, sizes

if TYPE_CHECKING:
    import numpy as np

HELP = "One file of C99 and a header: a step of the cell, which allocates nothing."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cell, of which sizes."""
    add = parser.add_argument
    add("cell", metavar="CELL", help="a cell's name, or a file of cells")
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder of the files (default: where you are)")
    add("--size", action="append", default=[], metavar="NAME=N", help=f"one of the cell's sizes, n=64 (default: {_defaults()})")
    add("--dtype", choices=c.DTYPES, default="float32", help="of all numbers (default: float32)")
    add("--weights", type=Path, metavar="FILE.npz", help="the parameters by name, which become part of the code, and tell its sizes")


def _defaults() -> str:
    return ", ".join(f"{name}={value}" for name, value in c.DEFAULTS.items()) + f", others {c.OTHER}"


def run(options: argparse.Namespace) -> int:
    """Write the files of each cell; return 2 for wrong usage."""
    cells = cells_named(options.cell)
    weights = None if options.weights is None else _weights(options.weights)
    if weights is not None and len(cells) > 1:
        print(f"derive export c: --weights are those of one cell, and `{options.cell}` has {len(cells)}", file=sys.stderr)
        return 2
    given, files, said = sizes.given(options.size), dict[str, str](), list[str]()
    for cell in cells:
        known = {**(c.sizes_of(cell, weights) if weights is not None else {}), **given}
        chosen = c.complete(cell, known, default=True)
        made = c.source(cell, chosen, dtype=options.dtype, weights=weights)
        files |= made
        told = ", ".join(f"{name} = {value}{'' if name in known else ' (default)'}" for name, value in chosen.items())
        said.append(": ".join([", ".join(str(options.out / name) for name in sorted(made)), told or "no sizes"]))
    c.write(files, options.out)
    print("\n".join(said))
    return 0


def _weights(path: Path) -> dict[str, np.ndarray]:
    from ..package.parameters import load  # with NumPy, which is not needed without weights

    try:
        return load(path)
    except FileNotFoundError:
        raise CellError(f"there is no file `{path}`") from None
