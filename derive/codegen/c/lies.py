"""Where the values of a cell lie: in the arguments of its functions, in constants of the file, in the memory of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...calculus.ir import Along, Equation, HeadSum, Merge, Part, Repeat, Slice, Transpose
from ...language.sizes import Shape, Size, elements
from ...program.imperative import Array, Place
from ...program.streaming import Step
from ..source import Statement, code, name
from .interface import Interface
from .memory import Lying, Memory, Places, viewed
from .text import declare_array

VIEWS = (Along, Repeat, Merge, Part)


def is_view(eq: Equation, headed: bool) -> bool:
    """Say whether a static value is no array of its own: of what each head has, slices are, since they do not lie side by side."""
    return isinstance(eq.node, VIEWS) or (isinstance(eq.node, Slice) and not headed)


def made_once(step: Step) -> tuple[str, ...]:
    """Return the static values that are made before the first step, and that steps read."""
    rec = step.program.rec
    views = {eq.name for eq in rec.prologue if is_view(eq, rec.types[eq.name].headed)}
    wanted = {value for eq in step.equations for value in eq.node.operands()}
    for eq in reversed(rec.prologue):
        wanted.update(eq.node.operands() if eq.name in wanted & views else ())
    return tuple(eq.name for eq in rec.prologue if eq.name in wanted - views)


@dataclass(frozen=True)
class Fields:
    """What lies in the records that functions are given, and in constants."""

    interface: Interface

    @cached_property
    def places(self) -> Places:
        return Places(self.interface.rec, lambda size: name(self.interface.sizes[size]))

    def field(self, record: str, value: str) -> Memory:
        found = self.interface.records[record]
        return Memory(code(f"{record}->{found.fields[value]}", uses=(record,)), found.axes[value])

    @cached_property
    def given(self) -> dict[str, Lying]:
        """Parameters and constants."""
        cell, types = self.interface.cell, self.interface.rec.types
        found = {value: self.field("params", value) for value in cell.parameters if value in types}
        found |= {value: Memory(name(called), types[value].shape) for value, called in self.interface.constants.items() if value in types}
        return {value: self.places.own(value, memory) for value, memory in found.items()}

    @cached_property
    def statics(self) -> dict[str, Lying]:
        """All static values that a step reads."""
        made = {value: self.places.own(value, self.field("made", value)) for value in self.interface.made}
        views = [eq for eq in self.interface.rec.prologue if eq.name not in made and not isinstance(eq.node, Transpose)]
        return viewed(self.places, views, self.given | made)


class Working:
    """What lies in the memory of a step.

    Parameters
    ----------
    fields : Fields
    step : Step
    names : mapping
        The variable of each array of the program.
    """

    def __init__(self, fields: Fields, step: Step, names: Mapping[str, str]) -> None:
        self.fields, self.places, self.step, self.program = fields, fields.places, step, step.program
        self.names = names
        self.states = {self.program.places[carry.previous].array: carry.value for carry in self.program.rec.carries}

    @cached_property
    def staying(self) -> frozenset[str]:
        """The arrays of numbers that are seen wherever they are read: these stay in their variables."""
        computes = [compute for stage in self.program.loop for loop in stage.loops for compute in loop.computes]
        summed = {place.array for compute in computes if isinstance(compute.equation.node, HeadSum) for place in compute.stores}
        return frozenset(n for n, array in self.program.arrays.items() if array.scalar and array.space == "scratch") - summed

    @cached_property
    def apart(self) -> frozenset[str]:
        """The states' arrays whose new values lie apart until the step has ended."""
        return frozenset(self.states) - self.step.overwritten

    def declared(self) -> dict[str, Memory]:
        """Return the arrays that a step makes: those of its own values, and those of new states that lie apart."""
        own = {n for n, array in self.program.arrays.items() if array.space == "scratch"} - self.staying
        return {n: self.memory(self.program.arrays[n]) for n in self.program.arrays if n in own | self.apart}

    def declarations(self) -> list[Statement]:
        return [declare_array(m.source.text, [self.places.size(axis) for axis in m.axes]) for m in self.declared().values()]

    def memory(self, array: Array) -> Memory:
        return Memory(name(self.names[array.name]), self.axes(array))

    def axes(self, array: Array) -> Shape:
        """Return the axes of an array: of the value that is all of it, if there is one."""
        if array.scalar:
            return ()
        rec = self.program.rec
        for value, place in self.program.places.items():
            if place.array == array.name and place.start == Size() and elements(axes := rec.axes(value)) == array.width:
                stride = elements(rec.types[value].shape) if rec.types[value].headed else None
                if place.stride == stride:
                    return axes
        return (array.width,)

    def at(self, value: str, place: Place) -> Lying | None:
        """Return where a value lies; None for a number that stays in its variable."""
        if place.array in self.staying:
            return None
        return Lying(self.whole(place), self.program.rec.types[value].shape, place.start, place.stride)

    def whole(self, place: Place) -> Memory:
        interface, array = self.fields.interface, self.program.arrays[place.array]
        if place.array in self.states and not (place.array in self.apart and place.shift):
            return self.fields.field("state", self.states[place.array])
        if place.array in interface.arguments:
            return Memory(name(interface.arguments[place.array].name), (array.width,))
        if place.array == self.step.output:
            return Memory(name("y"), (array.width,))
        return self.memory(array)

    def lies(self) -> dict[str, Lying]:
        """Return where all batched values lie that have a place."""
        found = {value: self.at(value, place) for value, place in self.program.places.items()}
        return {value: lying for value, lying in found.items() if lying is not None}
