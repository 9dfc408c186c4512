"""A stage before its values have places: loops in order, and what each makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...calculus.ir import Equation, Merge, Type
from ...language.sizes import Shape, Size


@dataclass
class Segment:
    """Equations that share a loop over `size` features, and sums over features that it adds up; `size` None: scalars a row."""

    size: Size | None
    equations: list[Equation] = field(default_factory=list)


@dataclass
class RowSegment:
    """Equations that share a loop over the rows of matrices of a shape; a part without size has the elements of vectors."""

    shape: Shape
    parts: list[Segment] = field(default_factory=list)

    @property
    def equations(self) -> list[Equation]:
        return [eq for part in self.parts for eq in part.equations]


@dataclass
class HeadSegment:
    """Equations that share a loop over heads: loops, in order, that are run for one head after the other."""

    draft: Draft

    @property
    def equations(self) -> list[Equation]:
        return [eq for segment in self.draft.segments for eq in segment.equations]


@dataclass
class Draft:
    """A stage before its values have places, or what a loop over heads does in it.

    Attributes
    ----------
    products, segments : list
    views : dict
        Slices, concatenations, vectors along an axis, and what shows the values of heads otherwise, by name: they are no computation.
    place : dict
        The number of the segment that makes each row-local value, if only for one head after the other.
    part : dict
        In a segment over rows of matrices the number of the part.
    added : set of str
        Sums over features that are added up in the loop that makes their terms: they are there when it has ended.
    by_row : set of str
        Vectors of which a loop over rows makes one element at a time.
    inline : dict
        Matrices that lie nowhere, by name: whatever reads an element computes it.
    """

    products: list[Equation] = field(default_factory=list)
    segments: list[Segment | RowSegment | HeadSegment] = field(default_factory=list)
    views: dict[str, Equation] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)
    part: dict[str, int] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    by_row: set[str] = field(default_factory=set)
    inline: dict[str, Equation] = field(default_factory=dict)

    def made_in(self, name: str) -> set[int]:
        """Return the segments that make `name`, or what a view of this stage shows."""
        found, waiting, seen = set(), [name], set()
        while waiting:
            made = waiting.pop()
            if made in seen:
                continue
            seen.add(made)
            if made in self.views:
                waiting.extend(self.views[made].node.operands())
            elif made in self.inline:
                waiting.extend(self.inline[made].node.operands())
            elif made in self.place:
                found.add(self.place[made])
        return found

    def of_heads(self, eq: Equation, types: Mapping[str, Type]) -> Draft:
        """Return what is done for each head in the first loop over them that an equation may share; it stands there then."""
        number = max((at for name in eq.node.operands() for at in self._there_for_heads(name, types)), default=0)
        while number < len(self.segments) and not isinstance(self.segments[number], HeadSegment):
            number += 1
        if number == len(self.segments):
            self.segments.append(HeadSegment(Draft(views=self.views, inline=self.inline)))
        self.place[eq.name] = number
        found = self.segments[number]
        assert isinstance(found, HeadSegment)
        return found.draft

    def _there_for_heads(self, name: str, types: Mapping[str, Type]) -> Iterator[int]:
        """Yield the first segments in which a head can read a value: its own in the loop that makes it, what is of all heads after it."""
        made = self.views.get(name) or self.inline.get(name)
        if made is not None and isinstance(made.node, Merge):
            yield from (number + 1 for number in self.made_in(name))
        elif made is not None:
            yield from (number for operand in made.node.operands() for number in self._there_for_heads(operand, types))
        elif name in self.place:
            yield self.place[name] + (not types[name].headed)
