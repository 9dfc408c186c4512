"""The second order of a cell's chain: the backward pass differentiated again, and tangents.

Nothing here is a rule: every link is the adjoint of an earlier one. With P0 the forward and P1 the backward pass,

| link       | is the adjoint of       | gives                                                                              |
|------------|-------------------------|------------------------------------------------------------------------------------|
| `TWICE`    | P1                      | cotangents of dy and dfinal, and of what P1 read: parameters, inputs, values of P0 |
| `BY_INPUTS`| the same                | the same, where no gradient by a parameter has a cotangent                         |
| `THROUGH`  | P0, by values of P0     | from cotangents of these values, those of inputs, parameters, initial states       |
| `TANGENT`  | P1, by dy               | tangents of the output and the final states                                        |
| `ALONG`    | `THROUGH`, by its seeds | the same, and tangents of the values of P0 that P1 reads                           |
| `HESSIAN`  | `TWICE`, by its seeds   | tangents of the gradients                                                          |

`TWICE` and `THROUGH` together are double backward. A pass that is linear in what it is given has its transpose as adjoint: so the adjoint
of P1 by dy takes a tangent of the inputs to that of the output, and `HESSIAN` after `ALONG` a tangent to that of the gradient (forward
over reverse: Pearlmutter 1994, Neural Computation 6(1):147-160). Where it is not linear (`derive.calculus.laws`), the chain ends with
`THROUGH`.
"""

from __future__ import annotations

from dataclasses import replace

from ..language.definition import Definition
from .chain import BACKWARD, FORWARD, Derivation, Link
from .laws import is_linear
from .shown import Shown

TWICE, THROUGH, TANGENT, ALONG, HESSIAN = "backward_backward", "through", "tangent", "along", "hessian"
BY_INPUTS = "backward_backward_inputs"
TAGS = {TWICE: "C", BY_INPUTS: "E", THROUGH: "D", TANGENT: "T", ALONG: "A", HESSIAN: "H"}
"""The letters of the equations' tags."""

DY, DFINAL, STATE, PARAMS, KEPT, FIRST = "dy", "dfinal", "state", "params", "kept", "first"
"""Roles of what a link is given and hands out: see `role`."""


def second_order(found: Derivation) -> Derivation:
    """Return a chain of forward and backward pass with the links of second order."""
    cell = found.cell
    constant = {*cell.fixed, *cell.constant_arrays}
    back = found[BACKWARD].recurrence
    own = [n for n in (*back.statics, *back.contexts, *back.sequences) if n not in constant]
    found = found.differentiated(TWICE, BACKWARD, wrt=own, tag=TAGS[TWICE])
    if by_parameters(found):
        results = set(back.results) - by_parameters(found)
        found = found.differentiated(BY_INPUTS, BACKWARD, results=results, wrt=own, tag=TAGS[BY_INPUTS])
    values = [n for n in found.saved(FORWARD) if found[FORWARD].recurrence.types[n].batched]
    found = found.differentiated(
        THROUGH, FORWARD, seeds=dict.fromkeys((cell.output, *values)), wrt=_differentiable(found), tag=TAGS[THROUGH]
    )
    if not is_linear(cell):
        return _numbered(found)
    found = found.differentiated(TANGENT, BACKWARD, wrt=(found[BACKWARD].cotangent[cell.output],), tag=TAGS[TANGENT])
    found = found.differentiated(ALONG, THROUGH, wrt=_given(found[THROUGH]), tag=TAGS[ALONG])
    return _numbered(found.differentiated(HESSIAN, TWICE, wrt=_given(found[TWICE]), tag=TAGS[HESSIAN]))


def parts(found: Derivation, link: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return what a link adds to an earlier one, as double backward adds `THROUGH` to `TWICE`: by each value that both hand out, that of
    the earlier link; and the link's static values on the way, which stay apart.
    """
    if link != THROUGH or TWICE not in (other.name for other in found):
        return {}, frozenset()
    rec, before = found[THROUGH].recurrence, found[TWICE]
    handed = {*rec.written, *rec.results}
    added = {own: before.cotangent[v] for v, own in found[THROUGH].cotangent.items() if own in handed and v in before.cotangent}
    names = {eq.name for eq in (*rec.accumulators, *rec.epilogue)} - handed
    twice = {eq.name for eq in before.recurrence.equations()}
    return added, frozenset(n for n in names if rec.labels[n].of in {before.recurrence.labels[name].of for name in twice})


def by_parameters(found: Derivation) -> set[str]:
    """Return the names of a chain's gradients by parameters: results of its backward pass, as are those by contexts."""
    return {cotangent for name, cotangent in found[BACKWARD].cotangent.items() if name in found.cell.parameters}


def _numbered(found: Derivation) -> Derivation:
    """Return the chain with those equations of second order numbered that people are shown."""
    ends = (found[FORWARD].recurrence, found[BACKWARD].recurrence)
    links = (replace(k, recurrence=Shown(k.recurrence, TAGS[k.name], *ends).numbered()) if k.name in TAGS else k for k in found)
    return replace(found, links=tuple(links))


def _differentiable(found: Derivation) -> list[str]:
    """Return what a cell's backward pass differentiates by."""
    rec = found[FORWARD].recurrence
    return [n for n in (*rec.statics, *rec.contexts, *rec.sequences) if n in found[BACKWARD].cotangent]


def _given(link: Link) -> tuple[str, ...]:
    """Return the cotangents that a link is given: in those it is linear."""
    return tuple(c for c in link.cotangent.values() if c in link.recurrence.inputs)


def role(found: Derivation, link: Link, name: str) -> str:
    """Return what a value that a link is given, or hands out, is the cotangent or the tangent of.

    That is an input or a context by its name, ``params.W``, ``state.h`` for the state before the first step, ``dfinal.h`` for that after
    the last, ``dy``, or ``kept.f`` for a value of each step of the forward pass. ``first.dy`` is the value of dy itself.
    """
    for state, carry in zip(found.cell.states, link.recurrence.carries, strict=True):
        if name in (carry.previous, carry.value):
            after = (name == carry.previous) == link.recurrence.reverse  # a link against time begins with the last step
            return f"{DFINAL if after else STATE}.{state}"
    for value, cotangent in link.cotangent.items():
        if cotangent == name:
            return _of_value(found, found[link.of], value, output=link.name == BACKWARD)
    return f"{FIRST}.{role(found, found[BACKWARD], name)}"  # else it is what the backward pass was given


def _of_value(found: Derivation, link: Link, name: str, *, output: bool) -> str:
    """Return the role of a link's own value, or of a cotangent that it is given or hands out."""
    cell: Definition = found.cell
    if name in (*cell.inputs, *cell.context):
        return name
    if name in cell.parameters:
        return f"{PARAMS}.{name}"
    if link.of and (name in link.cotangent.values() or name in _carried(link)):
        return role(found, link, name)
    return DY if output and name == cell.output else f"{KEPT}.{name}"


def _carried(link: Link) -> set[str]:
    return {n for carry in link.recurrence.carries for n in (carry.previous, carry.value)}
