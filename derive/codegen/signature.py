"""How the host's function of a link is called, and what it returns.

A cell's forward pass and its adjoint have the records of the module's interface; any other link is given values by their roles, and
returns them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..calculus.chain import BACKWARD, FORWARD
from ..calculus.second import BY_INPUTS, DY, FIRST, TWICE, role
from ..language.definition import Definition
from ..program.pipeline import Compiled, Stored
from .source import Source, attribute, code, name


@dataclass(frozen=True)
class Signature:
    """A link's function.

    Attributes
    ----------
    arguments : tuple of str
        Those after `call`.
    given : mapping
        The source of what the caller gives and of what earlier links keep, by array or static value.
    carried : tuple of Source
        The value of each carry before its first step.
    """

    arguments: tuple[str, ...]
    given: Mapping[str, Source]
    carried: tuple[Source, ...]


PARAMS = "params"
"""The gradients by all parameters, among what a caller may ask for."""


def tape_record(link: str) -> str:
    """Return the name of the record of what a link keeps."""
    return "Saved" if link == FORWARD else f"Saved{link.capitalize()}"


def signature(cell: Definition, compiled: Compiled, link: Stored) -> Signature:
    """Return the signature of a link's function."""
    if link.name == FORWARD:
        return Signature((), {}, tuple(Source(f"call.state.{state}") for state in cell.states))
    tapes = {of: "saved" if of == FORWARD else f"saved_{of}" for of, _ in link.reads.values()}
    kept = {array: attribute(tapes[of], field) for array, (of, field) in link.reads.items()}
    if link.name == BACKWARD:
        seed = {link.link.cotangent[cell.output]: name("dy")}
        return Signature(("saved", "dy", "dfinal"), seed | kept, tuple(attribute("dfinal", state) for state in cell.states))
    own = {value: by_role(compiled, link, value) for value in given(cell, link)}
    carried = tuple(by_role(compiled, link, carry.previous) for carry in link.program.rec.carries)
    return Signature((*tapes.values(), "given"), own | kept, carried)


def optional_gradients(cell: Definition, link: Stored) -> dict[str, str]:
    """Return the gradients that the backward pass need not make, with the names by which a caller asks for them.

    They are those by all parameters, `PARAMS`, which are sums over rows, and those by an input that are one product of the rows of all
    steps, by their arrays: if nothing else reads them.
    """
    rec, program, cotangent = link.program.rec, link.program, link.link.cotangent
    kept = [field.value for field in link.keeps]
    found = {PARAMS: PARAMS} if all(rec.types[value].batched for value in kept) else {}
    made = {product.equation.name for stage in program.after for product in stage.products}
    for known in cell.inputs:
        value = cotangent.get(known, "")
        if value in made and _is_last(link, value):
            found[program.places[value].array] = known
    return found


def dropped(compiled: Compiled, link: Stored) -> dict[str, str]:
    """Return the arrays that double backward need not write, with the names by which a caller asks for them.

    It is that of the cotangent of the output's cotangent: if nothing else reads it.
    """
    if link.name not in (TWICE, BY_INPUTS):
        return {}
    found = [value for value in link.link.handed if role(compiled.derivation, link.link, value) == DY and _is_last(link, value)]
    return {link.program.places[value].array: DY for value in found}


def _is_last(link: Stored, value: str) -> bool:
    """Say whether a value is read by no equation and not kept, and has an array of its own: who does not hand it out has no use for it."""
    rec, places = link.program.rec, link.program.places
    read = {operand for eq in rec.equations() for operand in eq.node.operands()}.union(field.value for field in link.keeps)
    return value not in read and [place.array for place in places.values()].count(places[value].array) == 1


def given(cell: Definition, link: Stored) -> tuple[str, ...]:
    """Return the values, carries aside, that a link without records is given: cotangents, and what earlier links were given."""
    rec, known = link.program.rec, {*cell.inputs, *cell.context, *cell.parameters, *cell.constant_arrays}
    return tuple(n for n in (*rec.statics, *rec.contexts, *rec.sequences) if n not in known and n not in link.link.reads)


def linear(cell: Definition, compiled: Compiled, link: Stored) -> dict[str, str]:
    """Return the roles of what a link is linear in: cotangents or tangents of a chain's second order, those before the first step too."""
    if link.name in (FORWARD, BACKWARD):
        return {}
    values = (*given(cell, link), *(carry.previous for carry in link.program.rec.carries))
    roles = {value: role(compiled.derivation, link.link, value) for value in values}
    return {value: known for value, known in roles.items() if not known.startswith(f"{FIRST}.")}  # what the backward pass was given


def by_role(compiled: Compiled, link: Stored, value: str) -> Source:
    """Return the source of a value that is given by its role."""
    return as_given(role(compiled.derivation, link.link, value))


def as_given(known: str) -> Source:
    """Return the source of what is given by a role."""
    return code('given["{}"]', known, uses=("given",))
