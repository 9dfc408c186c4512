"""A cell's forward recurrence with its adjoint: what every pass takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from ..language.definition import Definition
from .adjoint import adjoint
from .ir import Recurrence
from .lower import lower


@dataclass(frozen=True)
class Derivation:
    """A cell, its forward pass and its backward pass.

    Attributes
    ----------
    cell : Definition
    forward : Recurrence
        Writes the cell's output and everything in `saved`.
    backward : Recurrence
        The adjoint of `forward` by every parameter that is not fixed, every input, context and initial state.
    cotangent : mapping
        From the output, each input, context and parameter to its cotangent's name in `backward`.  Carry k of `backward` belongs to
        carry k of `forward`.
    """

    cell: Definition
    forward: Recurrence
    backward: Recurrence
    cotangent: Mapping[str, str]

    @property
    def saved(self) -> tuple[str, ...]:
        """Forward values that the backward pass reads: what the tape keeps beside inputs, parameters and initial state."""
        given = {*self.forward.sequences, self.cotangent[self.cell.output]}
        return tuple(name for name in self.backward.sequences if name not in given)

    def with_saved(self) -> Derivation:
        """Return the derivation with the forward pass writing just the output and what is saved."""
        written = tuple(dict.fromkeys((self.cell.output, *self.saved)))
        return replace(self, forward=replace(self.forward, written=written))


@lru_cache(maxsize=256)
def differentiate(cell: Definition) -> Derivation:
    """Return the derivation of `cell`, before any pass: the equations as a textbook would have them."""
    forward = lower(cell)
    constant = {*cell.fixed, *cell.constant_arrays}
    wrt = [n for n in (*forward.statics, *forward.contexts, *forward.sequences) if n not in constant]
    result = adjoint(forward, wrt=wrt)
    return Derivation(cell, forward, result.recurrence, result.cotangent).with_saved()
