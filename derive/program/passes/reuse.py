"""Let a link read what an earlier one has concatenated, instead of concatenating it again.

A backward pass lays cotangents side by side, for a product and for the sums that are gradients.  Second order sums the same cotangents over
other vectors: so it reads them as they lie there.  Their parts are then slices, and do not lie on the tape a second time.

Needs: stacked products.  Leaves: concatenations among what links keep, slices at the heads of the bodies of those that read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ...calculus.chain import Derivation, Link
from ...calculus.ir import Concat, Equation, Label, Recurrence, Slice, Type, prune
from ...language.sizes import Size


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
            start, slices = Size(), dict[str, Slice]()
            for part in eq.node.parts:
                size = rec.types[part].shape[0]
                slices[part] = Slice(eq.name, start, size)
                start = start + size
            yield Whole(link.name, eq.name, rec.types[eq.name], slices)


def _reading(link: Link, wholes: Mapping[tuple[str, ...], Whole]) -> Link:
    """Return a link that reads the concatenations of earlier ones in the place of its own."""
    rec = link.recurrence
    own = {eq.name: wholes[eq.node.parts] for eq in rec.body if isinstance(eq.node, Concat) and eq.node.parts in wholes}
    twins = {name: whole for name, whole in own.items() if whole.name == name or whole.name not in rec.types}
    names = {name: whole.name for name, whole in twins.items()}
    body = tuple(eq for eq in rec.body if eq.name not in twins)
    changed = replace(rec, body=_renamed(body, names), accumulators=_renamed(rec.accumulators, names))
    return _given(replace(link, recurrence=changed), twins.values())


def _slicing(link: Link, kept: Iterable[Whole]) -> Link:
    """Return a link that reads slices of what is kept as a whole in the place of its parts."""
    for whole in kept:
        parts = [part for part in whole.slices if link.reads.get(part) == whole.of]
        if parts and (link.reads.get(whole.name) == whole.of or whole.name not in link.recurrence.types):
            rec, reads = link.recurrence, {name: of for name, of in link.reads.items() if name not in parts}
            body = (*(Equation(part, whole.slices[part], shown=False) for part in parts), *rec.body)
            changed = replace(rec, sequences=tuple(n for n in rec.sequences if n not in parts), body=body)
            link = _given(replace(link, recurrence=changed, reads=reads), [whole])
    return link


def _given(link: Link, wholes: Iterable[Whole]) -> Link:
    """Return a link that reads concatenations of earlier ones too, without what it computes for nobody."""
    rec, of = link.recurrence, {whole.name: whole for whole in wholes}
    changed: Recurrence = replace(
        rec,
        types={**rec.types, **{name: whole.type for name, whole in of.items()}},
        labels={**rec.labels, **{name: Label("part") for name in of}},
        sequences=tuple(dict.fromkeys((*rec.sequences, *of))),
    )
    return replace(link, recurrence=prune(changed), reads={**link.reads, **{name: whole.of for name, whole in of.items()}})


def _renamed(equations: Iterable[Equation], names: Mapping[str, str]) -> tuple[Equation, ...]:
    return tuple(replace(eq, node=eq.node.rename(names)) for eq in equations)
