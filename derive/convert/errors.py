"""The one error of a conversion."""

from __future__ import annotations


class ConvertError(ValueError):
    """Weights that cannot be read, translated or written; it says what came and what is needed."""
