"""What to save and what to recompute.

The adjoint reads forward values.  One that costs next to nothing to make again from values that are at hand in the backward pass
anyway (inputs, parameters, other saved values) is recomputed there, and does not lie on the tape: `r * h_prev`, `[h_prev, x]`, a slice.
So is what depends on contexts only, which is made once a sequence and not at every step.

Needs: the derivation as differentiated.  Leaves: fewer sequences in the backward pass, their equations at the head of its body.
"""

from __future__ import annotations

from dataclasses import replace

from ...calculus.derivation import Derivation
from ...calculus.functions import cost
from ...calculus.ir import Concat, Equation, Map, Slice, downstream, prune

# A load, a store and the memory they take weigh about as much as this many arithmetic operations.
CHEAP = 6


def recompute(derivation: Derivation) -> Derivation:
    """Return `derivation` with cheap forward values recomputed in the backward pass."""
    forward, backward = derivation.forward, derivation.backward
    at_hand = {*backward.inputs, *forward.inputs, *(eq.name for eq in backward.prologue)}
    previous = {c.previous for c in forward.carries}
    at_hand -= previous - set(backward.sequences)
    states = {c.value for c in forward.carries}
    made = {eq.name: eq for eq in forward.body}
    varying = downstream(forward.body, {*forward.sequences, *previous})
    once = made.keys() - varying - {derivation.cell.output, *states}

    def within_reach(name: str, *, or_state: bool) -> bool:
        return name in at_hand or name in remakeable or (or_state and name in previous)

    remakeable: set[str] = set()
    for eq in forward.body:
        worth = eq.name in once or (eq.name not in states and _cheap(eq))
        # a concatenation's states are saved in its stead, being smaller
        if worth and all(within_reach(o, or_state=isinstance(eq.node, Concat)) for o in eq.node.operands()):
            remakeable.add(eq.name)
    wanted: set[str] = set()
    for eq in reversed(forward.body):
        if (eq.name in derivation.saved and eq.name in remakeable) or eq.name in wanted:
            wanted |= {eq.name, *(o for o in eq.node.operands() if o not in at_hand and o not in previous)}
    again = [replace(eq, shown=False) for eq in forward.body if eq.name in wanted]
    names = {eq.name for eq in again}
    readable = {*forward.sequences, *previous}
    given = tuple(dict.fromkeys((*backward.sequences, *(n for eq in again for n in eq.node.operands() if n in readable))))
    statics = tuple(dict.fromkeys((*backward.statics, *(n for eq in again for n in eq.node.operands() if n in forward.statics))))
    contexts = tuple(dict.fromkeys((*backward.contexts, *(n for eq in again for n in eq.node.operands() if n in forward.contexts))))
    backward = replace(
        backward,
        sequences=tuple(n for n in given if n not in names),
        statics=statics,
        contexts=contexts,
        body=(*again, *backward.body),
    )
    return replace(derivation, backward=prune(backward)).with_saved()


def _cheap(eq: Equation) -> bool:
    match eq.node:
        case Map(expr=expr):
            return cost(expr) <= CHEAP
        case Concat() | Slice():
            return True
    return False
