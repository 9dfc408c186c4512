"""How the features of a row are divided: among the blocks of a group, its members, and among the threads that a block has for a row."""

from __future__ import annotations

from dataclasses import dataclass

from ....calculus.naming import Names
from ....language.sizes import Size
from ...sizes import size_source
from ...source import ATOM, SUM, Source, assign, code, name
from ..factory import PLAN, Binding, bind, item
from ..features import Features

U = name("u")  # the feature at hand, counted from the block's first
NUMBERED = assign("u", code("index(k)", uses=("index", "k")))


@dataclass(frozen=True)
class Part:
    """A kernel's names of a size: of all of it, of what a member has of it, and of where that begins."""

    whole: str
    here: str
    first: str


class Division:
    """The sizes of a loop; `spread` says whether members divide features among them, `divided` which sizes they do."""

    def __init__(self, names: Names, spread: bool) -> None:
        self.names, self.spread = names, spread
        self.parts: dict[str, Part] = {}
        self.divided: set[str] = set()

    def taken(self) -> list[Binding]:
        """Return what binds the sizes, as the plan has them."""
        found: list[Binding] = []
        for size, part in sorted(self.parts.items()):
            found += [item(part.whole, code("{}.sizes", PLAN), size), item(part.here, code("{}.here", PLAN), size)]
        return found

    def begun(self) -> list[Binding]:
        """Return what binds where a member's features begin."""
        pairs = [(part.first, name(part.here)) for _, part in sorted(self.parts.items())]
        return [bind(first, code("index(member * {})", here, uses=("index", "member"))) for first, here in pairs]

    # Sizes

    def part(self, size: str) -> Part:
        if size not in self.parts:
            self.parts[size] = Part(*(self.names.fresh(f"{size}{end}") for end in ("", "_here", "_first")))
        return self.parts[size]

    def number(self, size: str) -> Source:
        """Return the source of a named size."""
        return name(self.part(size).whole)

    def whole(self, size: Size) -> Source:
        """Return the source of a size."""
        return size_source(size, self.number)

    def here(self, size: Size) -> Source:
        """Return the source of how many features of a size a block has."""
        return size_source(size, lambda named: name(self.part(named).here))

    def running(self, size: Size) -> Source:
        """Return the source of how many features of a size a block has of a row; none of one that is there to fill it."""
        self.divide(size)
        return code("running * {}", self.here(size).within(ATOM), uses=("running",))

    def divide(self, size: Size) -> None:
        """Let members divide the features of a size among them, if they divide any."""
        self.divided |= set(size.names) if self.spread else set()

    # Loops

    def features(self, size: Size) -> Features:
        """Return the head of a loop over a thread's features of a row."""
        head = code("for k in range(lane, {}, LANES):", self.running(size), uses=("lane", "LANES"))
        return Features("k", head, (NUMBERED, assign("j", code("index({})", self.feature(size), uses=("index",)))))

    def feature(self, size: Size) -> Source:
        """Return which of all features number u of a block is."""
        if not self.spread or size.constant or len(size.terms) != 1:
            return U
        ((named, count),) = size.terms
        part = self.part(named)
        if count == 1:
            return code("{} + {}", name(part.first), U, binding=SUM)
        here, whole = name(part.here), name(part.whole)
        return code("{} // {} * {} + {} + {} % {}", U, here, whole, name(part.first), U, here, binding=SUM)
