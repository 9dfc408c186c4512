"""Take what does not belong in the time loop out of it: classification by dependency.

- What depends on no state may leave the loop *before* it: the products of a sequence (`W @ x`) become one product over all steps, with
  whatever they need.  What depends on contexts only is computed *once*.
- What no state depends on may leave the loop *after* it: products that only make an output (`dx = W.T @ δ`, a readout), with whatever
follows them.
- Everything elementwise stays in the loop, where it is fused.

Needs: all rewriting done.  Leaves: the equations of a step, parted into regions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..ir import Equation, MatVec, MatVecT, Recurrence


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
    varying = _downstream(rec.body, {*rec.sequences, *(c.previous for c in rec.carries)})
    once = {eq.name for eq in rec.body if eq.name not in varying} - {*rec.written, *(c.value for c in rec.carries)}
    once -= {eq.node.plus for eq in rec.body if isinstance(eq.node, MatVec | MatVecT) and eq.node.plus and eq.name in varying}  # its memory
    if not rec.carries:  # nothing is recurrent: all steps at once
        return Regions(rec, tuple(eq for eq in rec.body if eq.name in once), tuple(eq for eq in rec.body if eq.name not in once), (), ())
    stateful = _downstream(rec.body, {c.previous for c in rec.carries})
    free_products = {eq.name for eq in rec.body if _product(eq) and eq.name not in stateful and eq.name not in once}
    before = _upstream(rec.body, free_products) - once
    rest = [eq for eq in rec.body if eq.name not in once | before]
    feeding = _upstream(rec.body, {c.value for c in rec.carries})
    sinks = {eq.name for eq in rest if _product(eq) and eq.name not in feeding}
    after = _downstream(rest, sinks)

    def pick(names: Iterable[str]) -> tuple[Equation, ...]:
        chosen = set(names)
        return tuple(eq for eq in rec.body if eq.name in chosen)

    return Regions(rec, pick(once), pick(before), pick({eq.name for eq in rest} - after), pick(after))


def _product(eq: Equation) -> bool:
    return isinstance(eq.node, MatVec | MatVecT)


def _downstream(body: Iterable[Equation], sources: set[str]) -> set[str]:
    """Return `sources` and the names that depend on them."""
    found = set(sources)
    for eq in body:
        if not found.isdisjoint(eq.node.operands()):
            found.add(eq.name)
    return found


def _upstream(body: tuple[Equation, ...], targets: set[str]) -> set[str]:
    """Return the names of `body` that `targets` depend on, and those of `targets` themselves that `body` defines."""
    needed, found = set(targets), set()
    for eq in reversed(body):
        if eq.name in needed:
            found.add(eq.name)
            needed.update(eq.node.operands())
    return found
