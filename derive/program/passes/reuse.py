"""Let a link read what an earlier one has concatenated, instead of concatenating it again.

A backward pass lays cotangents side by side, for a product and for the sums that are gradients.  Second order sums the same cotangents over
other vectors: so it reads them as they lie there.  Their parts are then slices, and do not lie on the tape a second time.  Where
`recompute` has a link make all parts again, it lays them side by side itself, for a piece of the steps, and none lies on the tape.

Needs: stacked products.  Leaves: concatenations among what links keep, slices at the heads of the bodies of those that read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ...calculus.chain import Derivation, Link
from ...calculus.ir import Concat, Equation, Label, Recurrence, Slice, Type, prune, slices


@dataclass(frozen=True)
class Whole:
    """A concatenation of values that a link computes at each step.

    Attributes
    ----------
    of, name : str
        The link, and the concatenation's name in it.
    type : Type
    slices : mapping
        By the names of its parts, in order.
    """

    of: str
    name: str
    type: Type
    slices: Mapping[str, Slice]


def reuse(derivation: Derivation) -> Derivation:
    """Return `derivation` with concatenations that several links would make made by the first of them."""
    wholes: dict[tuple[str, ...], Whole] = {}
    links: list[Link] = []
    for link in derivation:
        links.append(_reading(link, wholes))
        wholes = {tuple(whole.slices): whole for whole in _made(links[-1])} | wholes
    read = {pair for link in links for pair in link.reads.items()}
    kept = [whole for whole in wholes.values() if (whole.name, whole.of) in read]
    return replace(derivation, links=tuple(_slicing(link, kept) for link in links)).settled()


def _made(link: Link) -> Iterator[Whole]:
    rec = link.recurrence
    own = {eq.name for eq in rec.body}
    for eq in rec.body:
        if isinstance(eq.node, Concat) and own.issuperset(eq.node.parts):
            parts = eq.node.parts
            yield Whole(link.name, eq.name, rec.types[eq.name], dict(zip(parts, slices(eq.name, parts, rec.types), strict=True)))


def _reading(link: Link, wholes: Mapping[tuple[str, ...], Whole]) -> Link:
    """Return a link that reads concatenations in the place of its own, where it would read a part of one in any case."""
    concats = {eq.name: eq.node for eq in link.recurrence.body if isinstance(eq.node, Concat)}
    found = {name: wholes[node.parts] for name, node in concats.items() if node.parts in wholes}
    twins = {name: whole for name, whole in found.items() if any(link.reads.get(part) == whole.of for part in whole.slices)}
    body = tuple(eq for eq in link.recurrence.body if eq.name not in twins)
    rec = _renamed(replace(link.recurrence, body=body), {name: f"{name} of {link.name}" for name in twins})  # else it might be a twin's
    link = _given(replace(link, recurrence=rec), twins.values())
    rec = _renamed(link.recurrence, {f"{name} of {link.name}": whole.name for name, whole in twins.items()})
    return replace(link, recurrence=prune(rec))


def _slicing(link: Link, kept: Iterable[Whole]) -> Link:
    """Return a link that reads slices of what is kept as a whole in the place of its parts."""
    for whole in kept:
        parts = [part for part in whole.slices if link.reads.get(part) == whole.of]
        if parts:
            link = _given(link, [whole])
            rec, reads = link.recurrence, {name: of for name, of in link.reads.items() if name not in parts}
            body = (*(Equation(part, whole.slices[part], shown=False) for part in parts), *rec.body)
            changed = replace(rec, sequences=tuple(n for n in rec.sequences if n not in parts), body=body)
            link = replace(link, recurrence=prune(changed), reads=reads)
    return link


def _given(link: Link, wholes: Iterable[Whole]) -> Link:
    """Return a link that reads concatenations of earlier ones too; what has the name of one of them in it gets another."""
    for whole in wholes:
        rec = link.recurrence
        if link.reads.get(whole.name) != whole.of:
            rec = _renamed(rec, {whole.name: rec.names().fresh(whole.name)} if whole.name in rec.types else {})
            types, labels = {**rec.types, whole.name: whole.type}, {**rec.labels, whole.name: Label("part")}
            rec = replace(rec, types=types, labels=labels, sequences=(*rec.sequences, whole.name))
            link = replace(link, recurrence=rec, reads={**link.reads, whole.name: whole.of})
    return link


def _renamed(rec: Recurrence, names: Mapping[str, str]) -> Recurrence:
    """Return a recurrence with values renamed, none of which is given, handed out or a state."""

    def renamed(equations: Iterable[Equation]) -> tuple[Equation, ...]:
        return tuple(replace(eq, name=names.get(eq.name, eq.name), node=eq.node.rename(names)) for eq in equations)

    return replace(
        rec,
        types={names.get(name, name): kind for name, kind in rec.types.items()},
        labels={names.get(name, name): label for name, label in rec.labels.items()},
        prologue=renamed(rec.prologue),
        body=renamed(rec.body),
        accumulators=renamed(rec.accumulators),
        epilogue=renamed(rec.epilogue),
    )
