"""`derive generate`: kernels as a package that needs NumPy and Numba only."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..cell import Cell
from ..cells import SECOND, SHIPPED, SOURCES
from ..cells.load import cells_named
from ..language.errors import CellError
from ..language.transform import transformed
from ..package import contents, folder

HIDDEN = {"torch": "PyTorch", "jax": "JAX", "flax": "Flax", "equinox": "Equinox"}  # modules of a package that have names of others
WITH = "transformations of the cells, beside them: such as zoneout,masked for two more of each, zoneout+masked for one with both"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cells, and which folder."""
    add = parser.add_argument
    add("cells", metavar="CELL", nargs="*", help="names or files of cells (default: all that come with derive)")
    add("--out", type=Path, metavar="DIR", help="the package's folder (default: generated; where cells are named, it must be given)")
    add("--with", dest="also", metavar="NAMES", default="", help=WITH)
    add("--order", type=int, choices=(1, 2), help="of derivatives (default: 1; of the cells that come with derive, some have the second)")
    add("--check", action="store_true", help="write nothing; print a diff and exit 1 if the package is not what would be written")


def run(options: argparse.Namespace) -> int:
    """Write the package, or compare it with what would be written; return 1 if it differs, 2 for wrong usage."""
    own = bool(options.cells or options.also)
    if own and options.out is None:
        print("derive generate: --out DIR is needed for cells of your own", file=sys.stderr)
        return 2
    cells = [cell for name in options.cells for cell in cells_named(name)] or list(SHIPPED.values())
    cells += _with(cells, options.also)
    source = ", ".join(Path(name).name for name in options.cells) or "derive/cells"
    out = options.out or Path("generated")
    hides = _hides(out)
    package = contents.files(cells, source, {} if own else SOURCES, frameworks=not hides, orders=_orders(options, cells))
    for name, meant in HIDDEN.items() if hides else ():
        print(
            f"{out}: no module `{name}`: Python looks for modules there, and would take it for {meant}; a folder of a package can have it"
        )
    return _compared(package, out) if options.check else _written(package, out)


def _orders(options: argparse.Namespace, cells: Sequence[Cell]) -> dict[str, int]:
    """Return the order of each cell's derivatives."""
    if options.order is None:
        return {} if options.cells or options.also else dict.fromkeys(SECOND, 2)
    return dict.fromkeys((cell.name for cell in cells), options.order)


def _with(cells: Sequence[Cell], names: str) -> list[Cell]:
    """Return what transformations make of cells: a list of names with commas, each some names with `+`."""
    return [transformed(cell, each.split("+")) for each in names.split(",") if names for cell in cells]


def _hides(out: Path) -> bool:
    """Say whether modules in a folder hide others of their names: Python looks for modules there."""
    return out.resolve() in {Path(place).resolve() for place in ("", *sys.path)}


def _compared(package: dict[str, str], out: Path) -> int:
    found = folder.drift(package, out)
    print(found or f"{out}: as generated ({len(package)} files)", end="" if found else "\n")
    return 1 if found else 0


def _written(package: dict[str, str], out: Path) -> int:
    try:
        changed = folder.write(package, out)
    except OSError as error:
        raise CellError(f"`{out}` could not be written: {error.strerror or error}") from error
    print(f"{out}: {len(package)} files, {len(changed)} changed")
    return 0
