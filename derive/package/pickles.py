"""Pickles of what modules compiled in memory hold: parameters, states, gradients, tapes, packed parameters.

Such a module is found nowhere but in its own process, so a pickle has the text of its cells in place of its name. Who reads it compiles
them, unless that has been done, and gets what `derive.compile` of an equal cell makes there; kernels are compiled when they are called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..cell import Cell


@dataclass(frozen=True)
class Member:
    """A class or a function of a package that was compiled in memory: it is called as that.

    Attributes
    ----------
    cells : tuple of Cell
        What the package is made from.
    cuda : bool
    module : str
        The module's name in the package.
    name : str
    """

    cells: tuple[Cell, ...]
    cuda: bool
    module: str
    name: str

    def __call__(self, *values: Any) -> Any:
        from .contents import package_of

        package = package_of(self.cells, cuda=self.cuda)
        return getattr(importlib.import_module(f"{package}.{self.module}"), self.name)(*values)


def make_portable(modules: Iterable[ModuleType], package: str, cells: tuple[Cell, ...], *, cuda: bool) -> None:
    """Let the records of a package's modules be pickled with the text of its cells."""
    for record in {value for module in modules for value in vars(module).values() if _is_record(value, package)}:
        record.__reduce__ = _portable(vars(record).get("__reduce__", _parts), package, cells, cuda)


def _is_record(value: Any, package: str) -> bool:
    return isinstance(value, type) and issubclass(value, tuple) and value.__module__.startswith(f"{package}.")


def _parts(record: Any) -> tuple[type, tuple[Any, ...]]:
    return type(record), tuple(record)


def _portable(reduce: Callable[[Any], Any], package: str, cells: tuple[Cell, ...], cuda: bool) -> Callable[[Any], Any]:
    """Return `reduce` with a `Member` in the place of a class or function of the package."""

    def reduced(record: Any) -> Any:
        made, values = reduce(record)
        return Member(cells, cuda, made.__module__.removeprefix(f"{package}."), made.__name__), values

    return reduced
