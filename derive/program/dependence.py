"""On which of the values that a program is given, and is linear in, each of its values depends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..calculus.ir import Concat, Equation
from .imperative import Place, Program

Dependence = dict[str, frozenset[str]]
NOTHING: frozenset[str] = frozenset()


def dependence(program: Program, given: Iterable[str]) -> Dependence:
    """Return, for each value, those of `given` that it depends on: where they are zero, it is too.

    Parameters
    ----------
    program : Program
    given : names
        All that it is linear in, all together: values from before the first step are among them.
    """
    found: Dependence = {name: frozenset((name,)) for name in given}
    every = frozenset(found)
    equations = (*program.rec.equations(), *(eq for eq, _ in _stored(program)))  # a copy of a value stands in the program alone
    while True:
        before = dict(found)
        for eq in equations:
            found[eq.name] = _together(eq, [found.get(name, NOTHING) for name in eq.node.operands()], every)
        for carry in program.rec.carries:
            found[carry.previous] = found.get(carry.previous, NOTHING) | found.get(carry.value, NOTHING)
        if found == before:
            return found


def _together(eq: Equation, operands: list[frozenset[str]], every: frozenset[str]) -> frozenset[str]:
    """Return on what a value depends; on `every` one, if some of what lies in it side by side depends on none: all of it is never zero."""
    if isinstance(eq.node, Concat) and not all(operands) and any(operands):
        return every
    return NOTHING.union(*operands)


def of_arrays(program: Program, values: Dependence) -> Dependence:
    """Return the same for a program's arrays; nothing for one that has a value which depends on none."""
    stored: dict[str, list[str]] = {}
    for eq, place in _stored(program):
        stored.setdefault(place.array, []).append(eq.name)
    for carry in program.rec.carries:
        stored.setdefault(program.places[carry.previous].array, []).append(carry.previous)
    parts = {array: [values[array]] for array in program.arrays if array in values}  # those that are given
    parts |= {array: [values.get(name, NOTHING) for name in names] for array, names in stored.items()}
    return {array: NOTHING.union(*found) if all(found) else NOTHING for array, found in parts.items()}


def _stored(program: Program) -> Iterator[tuple[Equation, Place]]:
    """Yield the equations whose values are stored, with each of their places."""
    for stage in (*program.once, *program.before, *program.loop, *program.after):
        yield from ((product.equation, product.out) for product in stage.products)
        for compute in (c for loop in stage.loops for c in loop.computes):
            yield from ((compute.equation, place) for place in compute.stores)
