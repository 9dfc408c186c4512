"""States that only hold what came in at earlier steps: the input before, or a few inputs for a convolution."""

from __future__ import annotations

from collections.abc import Sequence

from ..language.names import previous
from .ir import Equation, downstream


def buffers(states: Sequence[str], body: Sequence[Equation]) -> tuple[str, ...]:
    """Return the states that depend on no state, or on such states alone: a line of them passes an input on from step to step.

    They are known for all steps before any other state is: to the other states they are inputs.
    """
    found: set[str] = set()
    while more := {*states} - found - downstream(body, {previous(state) for state in states if state not in found}):
        found |= more
    return tuple(state for state in states if state in found)
