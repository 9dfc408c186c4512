"""On which of the values that a recurrence is given, and is linear in, each of its values depends."""

from __future__ import annotations

from collections.abc import Iterable

from ..calculus.ir import Recurrence
from .imperative import Program

Dependence = dict[str, frozenset[str]]


def dependence(rec: Recurrence, given: Iterable[str]) -> Dependence:
    """Return, for each value, those of `given` that it depends on: where they are zero, it is too.

    Parameters
    ----------
    rec : Recurrence
    given : names
        All that the recurrence is linear in, all together: values from before the first step are among them.
    """
    found: Dependence = {name: frozenset((name,)) for name in given}
    nothing: frozenset[str] = frozenset()
    while True:
        for eq in rec.equations():
            found[eq.name] = nothing.union(*(found.get(name, nothing) for name in eq.node.operands()))
        before = {c.previous: found.get(c.previous, nothing) | found.get(c.value, nothing) for c in rec.carries}
        if all(found.get(name, nothing) == value for name, value in before.items()):
            return found
        found |= before


def of_arrays(program: Program, values: Dependence) -> Dependence:
    """Return the same for a program's arrays; nothing for one that has a value which depends on none."""
    stored: dict[str, list[str]] = {}
    for stage in (*program.once, *program.before, *program.loop, *program.after):
        for product in stage.products:
            stored.setdefault(product.out.array, []).append(product.equation.name)
        for compute in (c for loop in stage.loops for c in loop.computes):
            for place in compute.stores:
                stored.setdefault(place.array, []).append(compute.equation.name)
    for carry in program.rec.carries:
        stored.setdefault(program.places[carry.previous].array, []).append(carry.previous)
    nothing: frozenset[str] = frozenset()
    parts = {array: [values[array]] for array in program.arrays if array in values}  # those that are given
    parts |= {array: [values.get(name, nothing) for name in names] for array, names in stored.items()}
    return {array: nothing.union(*found) if all(found) else nothing for array, found in parts.items()}
