"""What a file has, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .layer import Layer
from .layouts import Array


@dataclass(frozen=True)
class Contents:
    """Recurrent layers of a framework, and arrays by name.

    Attributes
    ----------
    layers : tuple of Layer
    arrays : mapping from str to array
        Of a file that has arrays by name; float32 and float64.
    origin : (name, text) of the cell that the arrays are the parameters of; empty if the file does not say
    """

    layers: tuple[Layer, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)
    origin: tuple[str, ...] = ()
