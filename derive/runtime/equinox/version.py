"""Which Equinox these layers are for: the one place that says so."""

from __future__ import annotations

import warnings

try:
    import equinox
except ImportError as error:
    raise ImportError("these layers need Equinox: `pip install 'derive-rnn[equinox]'`") from error

from ..jax.version import outside

TRIED = ((0, 13), (0, 14))
"""Of Equinox: from the first of these, and below the second. Others may do; who imports one is told."""


def tell() -> None:
    """Warn of an Equinox that these layers were not tried with."""
    if said := outside("Equinox", equinox.__version__, TRIED):
        warnings.warn(said, RuntimeWarning, stacklevel=2)
