"""Symbolic derivation and code generation for recurrent neural networks.

A cell is its equations; from them come the gradients of backpropagation through time, Numba kernels, and the derivation as text and LaTeX.

>>> from derive import Cell
>>> rnn = Cell("h = tanh(W @ x + U @ h_prev + b)", name="rnn", output="h")
>>> rnn.parameters
('W', 'U', 'b')
"""

from __future__ import annotations

from .cell import Cell
from .language.errors import CellError
from .package.contents import compile

__all__ = ["Cell", "CellError", "compile"]
