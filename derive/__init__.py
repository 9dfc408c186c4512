"""Symbolic derivation and code generation for recurrent neural networks.

A cell is its equations; from them come the gradients of backpropagation through time, Numba kernels, and the derivation as text and LaTeX.

>>> from derive import Cell
>>> rnn = Cell("h = tanh(W @ x + U @ h_prev + b)", name="rnn", output="h")
>>> rnn.parameters
('W', 'U', 'b')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import surrogates
from .cell import Cell
from .language.errors import CellError
from .language.transform import masked, recurrent_dropout, resettable, residual, transformed, zoneout

if TYPE_CHECKING:
    from .package.memory import compile

__all__ = ["Cell", "CellError", "compile", "masked", "recurrent_dropout", "resettable", "residual", "surrogates", "transformed", "zoneout"]


def __getattr__(name: str) -> Any:
    """Return `compile`, imported when it is first asked for: the mathematics alone needs neither NumPy nor Numba."""
    if name == "compile":
        from .package.memory import compile

        return compile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
