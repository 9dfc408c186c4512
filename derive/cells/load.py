"""Cells by name, and from a user's own file."""

from __future__ import annotations

import contextlib
import runpy
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ..cell import Cell
from ..language.errors import CellError
from . import get


def find(name: str) -> Cell:
    """Return the cell of that name that comes with derive; CellError, with the nearest name, if there is none."""
    try:
        return get(name)
    except LookupError as error:
        raise CellError(str(error.args[0]) if error.args else str(error)) from None


def cells_named(name: str) -> list[Cell]:
    """Return what a word of a command line names: the cells of a file, or the one of that name that comes with derive.

    Raises
    ------
    CellError
        As `cells_of` and `find` do.
    """
    return cells_of(name) if name.endswith(".py") else [find(name)]


def cells_of(path: str) -> list[Cell]:
    """Return the cells that a Python file makes at its top level, in order; also those in lists, tuples and dicts there.

    The file may import modules that lie beside it, as a program may.

    Raises
    ------
    CellError
        If there is no such file, it fails, or it makes no cell.
    """
    if Path(path).is_dir():
        raise CellError(f"`{path}` is a folder: a file of cells is needed")
    if not Path(path).is_file():
        raise CellError(f"there is no file `{path}`")
    try:
        with _beside(Path(path).resolve().parent):
            namespace = runpy.run_path(path)
    except CellError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else "it ends the program (sys.exit)"
        raise CellError(f"`{path}` could not be read: line {_line(error, path)}: {said}") from error
    values = [value for value in namespace.values() if isinstance(value, Cell) or not _comes_with_derive(value)]
    cells = list(dict.fromkeys(_cells_in(values, set())))
    if not cells:
        raise CellError(f"`{path}` makes no Cell at its top level: `my_cell = Cell(…)` is needed")
    return cells


def _line(error: BaseException, path: str) -> int | None:
    """Return the line of a file at which it failed."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if frame.filename == path), frames[-1]).lineno


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let modules of a folder be imported for a while; then forget them: another file may have others of the same names beside it."""
    before, path = set(sys.modules), str(folder)
    sys.path.insert(0, path)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(path)
        new = {name.partition(".")[0] for name in sys.modules} - before
        own = {name for name in new if _lies_in(folder, sys.modules.get(name))}
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]


def _cells_in(value: Any, seen: set[int]) -> Iterator[Cell]:
    """Yield a cell, or those in a collection."""
    if isinstance(value, Cell):
        yield value
    elif isinstance(value, list | tuple | dict) and id(value) not in seen:
        seen.add(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            yield from _cells_in(part, seen)


def _comes_with_derive(value: Any) -> bool:
    """Say whether a collection was imported from derive's own cells: it is none of the file's."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("derive.cells")]
    return any(value is own for module in modules for own in vars(module).values())


def _lies_in(folder: Path, module: ModuleType | None) -> bool:
    """Say whether a module is a file of that folder, or a package there."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(place and Path(place).resolve().parent == folder for place in places)
