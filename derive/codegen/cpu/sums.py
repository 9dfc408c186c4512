"""Calls of the runtime's sums of outer products, two of one left operand at a time, and the memory that they work in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ...language.sizes import Size
from ..source import Source, Statement, code, listed, name, spelt

NONE = Source("None")


class Factor(NamedTuple):
    """The right operand of a sum of outer products, where the sum goes, how wide it is, and whether it is mostly zero."""

    right: Source
    target: Source
    width: Size
    sparse: bool


class Pair(NamedTuple):
    """Factors of one pass over their left operand; only the second may be mostly zero."""

    one: Factor | None
    other: Factor | None

    @property
    def sparse(self) -> bool:
        return self.other is not None and self.other.sparse

    @property
    def width(self) -> Size:
        return sum((factor.width for factor in (self.one, self.other) if factor), Size())


def pairs(factors: Iterable[Factor]) -> list[Pair]:
    """Return factors in pairs; without any, one pair of none, for a plain sum."""
    factors = list(factors)
    dense = [factor for factor in factors if not factor.sparse]
    found = [Pair(dense.pop(0) if dense else None, factor) for factor in factors if factor.sparse]
    found += [Pair(dense[k], dense[k + 1] if k + 1 < len(dense) else None) for k in range(0, len(dense), 2)]
    return found or [Pair(None, None)]


def call(left: Source, pair: Pair, total: Source | None, add: Source) -> Statement:
    """Return the call that makes the sums of a pair, and that of the left operand's rows if there is a `total`."""
    called = "outer_spikes" if pair.sparse else "outer_sums"
    given = [source for factor in pair for source in (factor[:2] if factor else (NONE, NONE))]
    arguments = [name("parts"), name("how"), name("memory"), left, *given, total or NONE, add]
    return spelt(code(f"{called}(", uses=(called,)), arguments, ")")


@dataclass
class Memory:
    """The memory in which a link's sums work, one after the other: for the columns of each, and elements that there are at least."""

    columns: list[Source] = field(default_factory=list)
    least: dict[Source, None] = field(default_factory=dict)

    def grow(self, p: Source, pair: Pair, size: Callable[[Size], Source]) -> None:
        """Let there be enough for a pair whose left operand is p wide."""
        self.columns.append(code("({}, {})", p, size(pair.width)))
        if pair.other and pair.sparse:
            self.least[code("spike_room({}, {}, dtype)", p, size(pair.other.width), uses=("spike_room", "dtype"))] = None

    def made(self) -> Statement:
        """Return the statement that makes it."""
        least = [code("least={}" if len(self.least) == 1 else "least=max({})", listed(self.least))] if self.least else []
        head = code("memory = workspace(dtype, ", uses=("workspace", "dtype"))
        return replace(spelt(head, [name("count"), Source("call.parts"), *self.columns, *least], ")"), defines=("memory",))
