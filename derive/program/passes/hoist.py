"""Take what does not belong in the time loop out of it: classification by dependency.

- What depends on no state may leave the loop *before* it: the products of a sequence (`W @ x`) become one product over all steps, with
  whatever they need.  What depends on contexts only is computed *once*.
- What no state depends on may leave the loop *after* it: products that only make an output (`dx = W.T @ δ`, a readout), with whatever
follows them, even if they could leave it before.
- Everything elementwise stays in the loop, where it is fused.

Needs: all rewriting done.  Leaves: the equations of a step, parted into regions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import sympy as sp

from ...calculus.ir import Equation, Label, Map, MatVec, MatVecT, Recurrence, downstream

REGIONS = ("once", "before", "loop", "after")  # in the order in which they run


@dataclass(frozen=True)
class Regions:
    """A recurrence whose body is parted: `once` a sequence, for all steps `before` the loop, in the `loop`, for all steps `after` it."""

    rec: Recurrence
    once: tuple[Equation, ...]
    before: tuple[Equation, ...]
    loop: tuple[Equation, ...]
    after: tuple[Equation, ...]


def hoist(rec: Recurrence) -> Regions:
    """Part the body of `rec` into regions."""
    every_step = {*rec.written, *(c.value for c in rec.carries)}  # stored at every step, and so are the values made of them
    varying = downstream(rec.body, {*rec.sequences, *(c.previous for c in rec.carries), *every_step})
    once = {eq.name for eq in rec.body if eq.name not in varying}
    once -= {eq.node.plus for eq in rec.body if isinstance(eq.node, MatVec | MatVecT) and eq.node.plus and eq.name in varying}  # its memory
    if not rec.carries:  # nothing is recurrent: all steps at once
        return Regions(rec, tuple(eq for eq in rec.body if eq.name in once), tuple(eq for eq in rec.body if eq.name not in once), (), ())
    stateful = downstream(rec.body, {c.previous for c in rec.carries})
    free_products = {eq.name for eq in rec.body if _product(eq) and eq.name not in stateful and eq.name not in once}
    before = _upstream(rec.body, free_products - _last(rec.body, once)) - once
    early = before.intersection(c.value for c in rec.carries)
    if early:
        return hoist(_handed_on(rec, early))
    rest = [eq for eq in rec.body if eq.name not in once | before]
    feeding = _upstream(rec.body, {c.value for c in rec.carries})
    sinks = {eq.name for eq in rest if _product(eq) and eq.name not in feeding}
    after = downstream(rest, sinks)

    def pick(names: Iterable[str]) -> tuple[Equation, ...]:
        chosen = set(names)
        return tuple(eq for eq in rec.body if eq.name in chosen)

    return Regions(rec, pick(once), pick(before), pick({eq.name for eq in rest} - after), pick(after))


def _handed_on(rec: Recurrence, early: set[str]) -> Recurrence:
    """Return `rec` with the states that need not wait for the loop computed under other names: the loop only hands them on."""
    types, labels, names = dict(rec.types), dict(rec.labels), rec.names()
    raw = {name: names.fresh(f"{name}_value") for name in sorted(early)}
    types |= {new: types[old] for old, new in raw.items()}
    labels |= {new: Label("part") for new in raw.values()}

    def renamed(eq: Equation) -> Equation:
        return replace(eq, node=eq.node.rename(raw))

    body: list[Equation] = []
    for eq in map(renamed, rec.body):
        body.append(replace(eq, name=raw.get(eq.name, eq.name)))
        if eq.name in raw:
            body.append(Equation(eq.name, Map(sp.Symbol(raw[eq.name])), eq.tag, False))
    sums = tuple(map(renamed, rec.accumulators))
    return replace(rec, types=types, labels=labels, body=tuple(body), accumulators=sums)


def _product(eq: Equation) -> bool:
    return isinstance(eq.node, MatVec | MatVecT)


def _last(body: tuple[Equation, ...], once: set[str]) -> set[str]:
    """Return the products that no equation reads, of what each step computes: what they need is made in the loop, where all else is."""
    read, made = {name for eq in body for name in eq.node.operands()}, {eq.name for eq in body} - once
    return {eq.name for eq in body if eq.name not in read and isinstance(eq.node, MatVec | MatVecT) and eq.node.vector in made}


def _upstream(body: tuple[Equation, ...], targets: set[str]) -> set[str]:
    """Return the names of `body` that `targets` depend on, and those of `targets` themselves that `body` defines."""
    needed, found = set(targets), set()
    for eq in reversed(body):
        if eq.name in needed:
            found.add(eq.name)
            needed.update(eq.node.operands())
    return found
