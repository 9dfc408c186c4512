"""The kernels of this package as functions of JAX.

    from generated.jax import lstm, function

    y, final = lstm(x, params, state)         # lstm.init, lstm.zero_state
    own = function(module)                    # of any generated module, or of a derive.Cell
    program = read_exported(data)             # that another process has exported

They are differentiated as JAX differentiates: `grad`, `jvp`, `linearize`, `jacfwd`, `jacrev`, `hessian`, with `vmap`, `jit`, `scan` and
`checkpoint` around them.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..common.chosen import PACKAGE

from .version import tell  # isort: skip - which says of a JAX that is too old what is needed
from . import derivatives  # noqa: F401 - which registers what JAX needs to know
from .exported import read_exported
from .function import Function, function
from .lowering import TARGET

tell()

__all__ = ["TARGET", "Function", "function", "read_exported"]


def _cells() -> list[str]:
    """Return the names of the package's cells."""
    found: list[str] = importlib.import_module(f"{PACKAGE}.warm").cells()
    return found


def __getattr__(name: str) -> Any:
    """Return the function of a cell of this package."""
    if name.startswith("_") or name not in _cells():
        raise AttributeError(f"{PACKAGE} has no cell `{name}`")
    return function(name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_cells()])
