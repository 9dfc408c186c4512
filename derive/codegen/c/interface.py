"""What the file of a cell offers: its types, its functions, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ...calculus.ir import Recurrence
from ...language.definition import Definition
from ...language.sizes import Shape, Size
from ..sizes import size_source
from ..source import Source, name
from .functions import DECLARED, HELPERS, words
from .names import LIBRARY, CNames, spelled

RESERVED = (*("params", "made", "state", "steps", "y", "t", "head", "j", "real", "R"), *LIBRARY, *HELPERS, *DECLARED)
"""What functions call things that are no values."""
HIDING = (*RESERVED, "i", "i_0", *sorted(words()))
"""What any function of the file calls things: what the whole file knows has another name."""


@dataclass(frozen=True)
class Record:
    """A struct of arrays: its type, what an argument of it is called, and a field and its axes for each value."""

    kind: str
    argument: str
    fields: Mapping[str, str]
    axes: Mapping[str, Shape]


@dataclass(frozen=True)
class Argument:
    """An array that a function is given: its name, the type of its numbers, and its axes at a step; none for a number."""

    name: str
    kind: str
    axes: Shape
    each_step: bool


@dataclass(frozen=True)
class Interface:
    """The names of a cell's file.

    Attributes
    ----------
    cell : Definition
    rec : Recurrence
        Of the step.
    made : tuple of str
        The static values that are made once and kept.
    """

    cell: Definition
    rec: Recurrence
    made: tuple[str, ...]

    @cached_property
    def prefix(self) -> str:
        return spelled(self.cell.name)

    @property
    def real(self) -> str:
        return f"{self.prefix}_real"

    @cached_property
    def macros(self) -> dict[str, str]:
        """The macro of each named size."""
        names = CNames()
        return {size: names.fresh(f"{self.prefix}_{size}".upper()) for size in self.cell.sizes}

    def macro_size(self, size: Size) -> Source:
        return size_source(size, lambda named: name(self.macros[named]))

    @cached_property
    def records(self) -> dict[str, Record]:
        """Those records of `params`, `made` and `state` in which there is something."""
        values = {"params": self.cell.parameters, "made": self.made, "state": self.cell.states}
        kinds = {"made": "static"}
        found = {}
        for argument, named in values.items():
            if named:
                names = CNames()
                axes = {value: self.rec.axes(value) for value in named}
                fields = {value: names.fresh(value) for value in named}
                found[argument] = Record(f"{self.prefix}_{kinds.get(argument, argument)}", argument, fields, axes)
        return found

    # What code calls things, in an order in which sizes have their own names first

    @cached_property
    def sizes(self) -> dict[str, str]:
        """What code calls each named size."""
        names = CNames(HIDING)
        return {size: names.fresh(size) for size in self.cell.sizes}

    @cached_property
    def constants(self) -> dict[str, str]:
        """What code calls each array constant."""
        names = CNames((*HIDING, *self.sizes.values()))
        return {value: names.fresh(value) for value in self.cell.constant_arrays}

    @cached_property
    def arguments(self) -> dict[str, Argument]:
        """The arrays that a step is given, inputs first."""
        names = CNames((*RESERVED, *self.sizes.values(), *self.constants.values()))
        given = [*((value, True) for value in self.cell.inputs), *((value, False) for value in self.cell.context)]
        kinds = {value: "int" if value in self.cell.integers else self.real for value, _ in given}
        return {value: Argument(names.fresh(value), kinds[value], self.cell.axes[value], each) for value, each in given}

    def scope(self) -> CNames:
        """Return the names of a function, none of which hides what it may read."""
        arguments = (argument.name for argument in self.arguments.values())
        return CNames((*RESERVED, *self.sizes.values(), *self.constants.values(), *arguments))

    # Functions

    def prototype(self, called: str, *, writes: Iterable[str], steps: bool = False, values: bool = False, exact: bool = False) -> str:
        """Return the head of a function, of the records that it takes and what else; `exact`, as it is defined: nothing overlaps."""
        restrict = "*restrict " if exact else "*"
        taken = {"prepare": ("params", "made"), "init_state": ("state",)}.get(called, ("params", "made", "state"))
        records = [self.records[record] for record in taken if record in self.records]
        found = [f"{'' if r.argument in writes else 'const '}{r.kind} {restrict}{r.argument}" for r in records]
        found += ["size_t steps"] if steps else []
        if values:
            found += [f"const {a.kind} {restrict}{a.name}" for a in self.arguments.values()]
            found += [f"{self.real} {restrict}y"]
        return f"void {self.prefix}_{called}({', '.join(found)})"

    def prototypes(self, *, exact: bool = False) -> dict[str, str]:
        """Return the heads of all functions that the file has."""
        found = {}
        if "made" in self.records:
            found["prepare"] = self.prototype("prepare", writes=("made",), exact=exact)
        if "state" in self.records:
            found["init_state"] = self.prototype("init_state", writes=("state",), exact=exact)
        found["step"] = self.prototype("step", writes=("state",), values=True, exact=exact)
        found["infer"] = self.prototype("infer", writes=("state",), steps=True, values=True, exact=exact)
        return found
