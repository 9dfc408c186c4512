"""Which generated module has a cell, for what is built on modules: layers and functions of other frameworks."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import Any

COMPILER = "derive"
PACKAGE = __name__.rpartition(".runtime.")[0]  # this one
ORDER = ("recurrent_dropout", "zoneout", "residual", "masked", "resettable")  # in which several are applied, and named


def module_of(cell: Any, names: Sequence[str] = (), order: int = 1) -> ModuleType:
    """Return the generated module of a cell, with transformations of these names.

    Parameters
    ----------
    cell : str, module, or derive.Cell
    order : 1 or 2
        With 2, a module without second derivatives is not taken: one is compiled.

    Raises
    ------
    ValueError
        If there is none, and nothing to make it with.
    """
    ordered = [name for name in ORDER if name in names]
    if isinstance(cell, str):
        return _named(PACKAGE, cell, ordered, order)
    if hasattr(cell, "LAYER"):
        package = cell.__name__.rpartition(".")[0]
        return cell if not ordered and _has_order(cell, order) else _named(package, cell.LAYER.name, ordered, order)
    if not hasattr(cell, "equations"):
        raise ValueError(f"a layer needs the name of a cell, a generated module, or a derive.Cell, got {type(cell).__name__}")
    return _compiled(cell, ordered)


def _named(package: str, cell: str, names: Sequence[str], order: int) -> ModuleType:
    """Return a module of a package; where that has the cell, but not its transformation or second order, it is compiled."""
    whole = "_".join([cell, *names])
    if _has(package, whole) and _has_order(module := importlib.import_module(f"{package}.{whole}"), order):
        return module
    if not _has(package, cell):
        raise ValueError(f"{package} has no cell `{cell}`")
    return _compiled(_definition(package, cell, names, order), names)


def _has_order(module: ModuleType, order: int) -> bool:
    return order == 1 or bool(module.LAYER.links)


def _has(package: str, cell: str) -> bool:
    return cell.isidentifier() and importlib.util.find_spec(f"{package}.{cell}") is not None


def _definition(package: str, cell: str, names: Sequence[str], order: int) -> Any:
    """Return the equations of a cell that comes with the compiler."""
    known = importlib.import_module(f"{COMPILER}.cells").SHIPPED if importlib.util.find_spec(COMPILER) else {}
    if package != PACKAGE or cell not in known:
        options = [*([f"--with {'+'.join(names)}"] if names else []), *(["--order 2"] if order == 2 else [])]
        of = " of second order" if order == 2 else ""
        raise ValueError(f"{package} has no `{'_'.join([cell, *names])}`{of}: `derive generate … {' '.join(options)}` makes it")
    return known[cell]


def _compiled(cell: Any, names: Sequence[str]) -> ModuleType:
    if importlib.util.find_spec(COMPILER) is None:
        raise ValueError(
            f"{cell.name} is a cell to be compiled, for which `{COMPILER}` must be installed; a generated module needs nothing"
        )
    compiler = importlib.import_module(COMPILER)
    module: ModuleType = compiler.compile(compiler.transformed(cell, names), order=2)
    return module
