"""Which Flax these layers are for: the one place that says so."""

from __future__ import annotations

import warnings

try:
    import flax
except ImportError as error:
    raise ImportError("these layers need Flax: `pip install 'derive-rnn[flax]'`") from error

from ..jax.version import outside

TRIED = ((0, 12), (0, 13))
"""Of Flax: from the first of these, and below the second. Others may do; who imports one is told."""


def tell() -> None:
    """Warn of a Flax that these layers were not tried with."""
    if said := outside("Flax", flax.__version__, TRIED):
        warnings.warn(said, RuntimeWarning, stacklevel=2)
