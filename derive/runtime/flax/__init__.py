"""The kernels of this package as modules of Flax.

from generated.flax import RNN, from_flax

layer = RNN("lstm", 16, 32, rngs=nnx.Rngs(0))         # in place of nnx.RNN(nnx.LSTMCell(16, 32, rngs=nnx.Rngs(0)))
y = layer(x)                                          # x: (B, T, 16)
layer = from_flax(nnx.LSTMCell(16, 32, rngs=nnx.Rngs(0)))
"""

from __future__ import annotations

from .version import tell  # isort: skip - which says what to install where Flax is missing
from .convert import from_flax, to_flax
from .layer import RNN, Fixed

tell()

__all__ = ["RNN", "Fixed", "from_flax", "to_flax"]
