"""What Python does for a compiled function on the CPU: what it passes, and the arrays that it makes.

A value has one name in both, if Python makes it; what is given, as ``params.W`` is, has one of its own in the compiled function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ...program.imperative import Array
from ..host import HostCode
from ..source import Source, Statement, assign, attribute, code, free, listed, name, spelt, tuple_of
from .given import Given

COUNTS = {
    "sequence": name("count"),
    "tape": attribute("rows", "kept_count"),
    "ahead": attribute("rows", "ahead_count"),
    "piece": attribute("rows", "piece_count"),
    "once": name("batch"),
    "scratch": name("batch"),
}  # of the rows of an array, as Python has it
STATES = {"tape": attribute("rows", "state_count"), "carry": code("2 * {}", name("batch"))}  # of one with values before a step


@dataclass
class Making(HostCode):
    """A recurrence's code, as far as Python is concerned.

    Attributes
    ----------
    passed : dict
        What Python passes for each name of the compiled functions that is not an array of its own making.
    made : dict
        Python's statements that make arrays, by the name of each.
    reshaped : dict
        The arrays that are views of others, with other axes, and what they are views of.
    optional : mapping
        The role of each value that the recurrence is linear in and that may be nothing.
    dropped : mapping
        The arrays that are nothing where a caller does not ask for what they have, and the name by which one asks.
    some : dict
        The variables that say whether one of several such values is something.
    """

    passed: dict[str, Source] = field(default_factory=dict)
    made: dict[str, Statement] = field(default_factory=dict)
    reshaped: dict[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    some: dict[frozenset[str], str] = field(default_factory=dict)

    @cached_property
    def linear(self) -> Given:
        return Given(self.program, self.optional)

    def always(self, array: str) -> bool:
        """Say whether an array of the program is never nothing."""
        return not self.linear.behind_array(array)

    @property
    def count(self) -> Source:
        return name("count")

    @property
    def batch(self) -> Source:
        return name("batch")

    def carried(self) -> set[str]:
        return {self.program.places[carry.previous].array for carry in self.rec.carries}

    def taken(self, value: str, source: Source) -> Source:
        """Return the compiled function's name of what Python has as `source`."""
        kind = self.rec.types.get(value)
        if kind is not None and not kind.shape and not kind.batched and not kind.headed:
            source = code("{}.reshape(1)", source)
        made = source.text if source.text.isidentifier() else self.names.fresh(value)
        self.passed[made] = source
        return name(made)

    def new(self, value: str, made: Source, on: frozenset[str] = frozenset()) -> Source:
        """Return the name of a new array for a value, which `made` makes in Python, if it is something: see `where_some`."""
        made = self.where_some(made, on)
        variable = self.variable(value)
        self.made[variable] = assign(variable, made)
        return name(variable)

    def room(self, wish: str, made: Source, on: frozenset[str] = frozenset()) -> Source:
        """Return the name of new memory that is no value's; nothing, where what it is for is: see `where_some`."""
        made = self.where_some(made, on)
        variable = self.names.fresh(wish)
        self.made[variable] = assign(variable, made)
        return name(variable)

    def where_some(self, made: Source, on: frozenset[str]) -> Source:
        """Return what makes an array, where one of the values is something `on` which alone the array depends."""
        if not on:
            return made
        if on not in self.some:
            wish, given = self.linear.named(on)
            variable = self.some[on] = self.names.fresh(wish)
            asked = code(f"{variable} = some(", uses=("some",))
            self.made[variable] = spelt(asked, given, ")", defines=(variable,))
        return code("{} if {} else NOTHING", made, name(self.some[on]), uses=("NOTHING",))

    @property
    def arrays(self) -> Iterable[str]:
        """The names of arrays of Python's making that are never nothing."""
        perhaps = {"NOTHING", "some", "part_room", "workspace"}
        return [made for made, statement in self.made.items() if perhaps.isdisjoint(statement.reads)]

    @property
    def perhaps(self) -> Iterable[str]:
        """Those of arrays that may be nothing."""
        return [made for made, statement in self.made.items() if "NOTHING" in statement.reads]

    def behind(self, source: Source) -> frozenset[str]:
        """Return the values on which alone an expression of the compiled function depends that is made of one array."""
        return frozenset().union(*(self.linear.behind(v) for v, made in self.given.items() if made.text in source.reads))

    def empty(self, *axes: Source) -> Source:
        shape = code("{},", *axes) if len(axes) == 1 else listed(axes)
        return code("empty(({}), dtype)", shape, uses=("empty", "dtype"))

    def zeros(self, *axes: Source) -> Source:
        return code("np.zeros({}, dtype)", tuple_of(axes), uses=("np", "dtype"))

    def allocated(self, array: Array) -> Source:
        return self.empty(self.rows_asked((STATES if array.extra else COUNTS)[array.space], array.name), self.size(array.width))

    def unless_dropped(self, array: Array) -> Source:
        """Return what makes an array; nothing is written to one that the caller does not ask for."""
        made, asked = self.allocated(array), self.dropped.get(array.name)
        return code('{} if "{}" in call.asked else NOTHING', made, asked, uses=("NOTHING",)) if asked else made

    def allocate(self) -> None:
        written = self.program.written_arrays()
        for array in self.program.arrays.values():
            if array.name in self.given and array.name not in self.carried():
                continue
            assert array.name in written or array.extra, f"{self.rec.name}: nothing writes the array {array.name}"
            if array.name in self.given:
                variable = self.given[array.name].text
                self.made[variable] = assign(variable, self.where_some(self.allocated(array), self.linear.behind_array(array.name)))
            else:
                self.new(array.name, self.unless_dropped(array), self.linear.behind_array(array.name))

    def made_of_weights(self) -> Iterable[str]:
        filled = free(self.weights)
        return [made for made in self.made if self.reshaped.get(made, made) in filled]

    def axes(self, value: str) -> list[Source]:
        """Return the axes of the array of a value that is constant in time."""
        kind = self.rec.types[value]
        heads = [self.size_of(self.rec.heads)] if kind.headed else []
        return [*heads, *map(self.size, kind.shape)] or [Source("1")]
