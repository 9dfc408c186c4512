"""Pickles of what modules compiled in memory hold: parameters, states, gradients, tapes, packed parameters.

Such a module is found nowhere but in its own process, so a pickle has the text of its cells in place of its name. Who reads it compiles
them, unless that has been done, and gets what `derive.compile` of an equal cell makes there; kernels are compiled when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

Member = Callable[[str, str], Callable[..., Any]]
"""By the names of a module in the package and of what is in it, what makes that again."""


def make_portable(modules: Iterable[ModuleType], package: str, member: Member) -> None:
    """Let the records of a package's modules be pickled; `member` makes what stands for a class or function of the package in a pickle."""
    for record in {value for module in modules for value in vars(module).values() if _is_record(value, package)}:
        record.__reduce__ = _portable(vars(record).get("__reduce__", _parts), package, member)


def _is_record(value: Any, package: str) -> bool:
    return isinstance(value, type) and issubclass(value, tuple) and value.__module__.startswith(f"{package}.")


def _parts(record: Any) -> tuple[type, tuple[Any, ...]]:
    return type(record), tuple(record)


def _portable(reduce: Callable[[Any], Any], package: str, member: Member) -> Callable[[Any], Any]:
    """Return `reduce` with a member in the place of a class or function of the package."""

    def reduced(record: Any) -> Any:
        made, values = reduce(record)
        return member(made.__module__.removeprefix(f"{package}."), made.__name__), values

    return reduced
