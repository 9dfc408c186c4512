"""Cells by name, and from a user's own file."""

from __future__ import annotations

import runpy
import traceback
from pathlib import Path

from .cell import Cell
from .errors import CellError


def find(name: str) -> Cell:
    """Return the cell of that name that comes with derive; CellError, with the nearest name, if there is none."""
    from .cells import get

    try:
        return get(name)
    except LookupError as error:
        raise CellError(str(error.args[0]) if error.args else str(error)) from None


def cells_of(path: str) -> list[Cell]:
    """Return the cells that a Python file makes at its top level, in order.

    Raises
    ------
    CellError
        If there is no such file, it fails, or it makes no cell.
    """
    if not Path(path).is_file():
        raise CellError(f"there is no file `{path}`")
    try:
        namespace = runpy.run_path(path)
    except CellError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise CellError(f"`{path}` could not be read: line {last.lineno}: {type(error).__name__}: {error}") from error
    cells = list(dict.fromkeys(value for value in namespace.values() if isinstance(value, Cell)))
    if not cells:
        raise CellError(f"`{path}` makes no Cell at its top level: `my_cell = Cell(…)` is needed")
    return cells
