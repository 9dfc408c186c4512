"""`derive demo`: tanh RNN, GRU and LSTM of equal size learn Bach's chorales, with generated kernels only, or as layers of PyTorch."""

from __future__ import annotations

from ..demo.run import arguments, run

__all__ = ["arguments", "run"]
