"""The kernels of this package as layers of Equinox.

from generated.equinox import RNN, from_equinox

layer = RNN("lstm", 16, 32, key=key)
y, final = layer(x)                                   # x: (T, 16); final.h: (32,)
y, final = jax.vmap(layer)(batch)                     # (B, T, 16): one call of the kernels
layer = from_equinox(eqx.nn.LSTMCell(16, 32, key=key))
"""

from __future__ import annotations

from .version import tell  # isort: skip - which says what to install where Equinox is missing
from .convert import from_equinox, to_equinox
from .layer import RNN

tell()

__all__ = ["RNN", "from_equinox", "to_equinox"]
