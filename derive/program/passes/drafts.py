"""A stage before its values have places: loops in order, and what each makes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...calculus.ir import Equation
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
class Draft:
    """A stage before its values have places.

    Attributes
    ----------
    products, segments : list
    views : dict
        Slices, concatenations and vectors along an axis, by name: they are no computation.
    place : dict
        The number of the segment that makes each row-local value.
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
    segments: list[Segment | RowSegment] = field(default_factory=list)
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
