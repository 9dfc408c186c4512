"""A cell's derivation: its own equations as a recurrence, and the adjoint of that."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ..language.definition import Definition
from .chain import BACKWARD, FORWARD, Derivation, Link
from .lower import lower
from .shown import Shown


def primal(cell: Definition) -> Derivation:
    """Return the chain of a cell's own equations alone."""
    forward = lower(cell)
    return Derivation(cell, (Link(FORWARD, forward, forward.written),))


@lru_cache(maxsize=256)
def differentiate(cell: Definition) -> Derivation:
    """Return the derivation of `cell`, before any pass, the equations as a textbook would have them: the forward pass, and its adjoint by
    every parameter that is not fixed, every input, context and initial state.
    """
    constant = {*cell.fixed, *cell.constant_arrays}
    chain = primal(cell)
    rec = chain[FORWARD].recurrence
    found = chain.differentiated(BACKWARD, FORWARD, wrt=[n for n in (*rec.statics, *rec.contexts, *rec.sequences) if n not in constant])
    first = found[BACKWARD]
    return replace(found, links=(found[FORWARD], replace(first, recurrence=Shown(first.recurrence, "B", rec, first.recurrence).numbered())))
