"""What a block keeps on the chip: numbers of its rows, and static values."""

from __future__ import annotations

from collections.abc import Mapping

from ....calculus.ir import Type
from ....calculus.naming import Names
from ....language.sizes import Size
from ....program.imperative import Array
from ...source import ATOM, SUM, Source, Tree, assign, block, code, name, store
from ..factory import PLAN, Binding, item
from ..kernel import Arguments, Host, widened
from .division import NUMBERED, Division, U
from .loop import Loop

LANES = Size.of("lanes")  # of what every thread of a row keeps a copy
START = Size()


class Memory:
    """The memory that a block has for itself, in parts whose places the plan knows by name.

    Attributes
    ----------
    rows : mapping
        Arrays of which it has its rows: their size, and how many copies there are.
    near : mapping
        What is brought for each step: its size.
    statics : mapping
        Static vectors: their size.
    """

    def __init__(self, names: Names, division: Division, loop: Loop) -> None:
        self.names, self.division, self.states = names, division, loop.states
        self.rows: dict[str, tuple[Size, int]] = {}
        self.near: dict[str, Size] = {}
        self.statics: dict[str, Size] = {}
        self._parts = Names([*loop.program.arrays, *loop.program.rec.types])
        self._brought: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def taken(self) -> list[Binding]:
        """Return what binds the places of the parts."""
        return [item(local, code("{}.at", PLAN), part) for part, local in self._places.items()]

    def at(self, part: str) -> Source:
        """Return the variable of where a part begins."""
        if part not in self._places:
            self._places[part] = self.names.fresh(f"{part}_at")
        return name(self._places[part])

    def slot(self, array: Array, copy: Source | None, index: Source, start: Size = START) -> Source:
        """Return where a number of the thread's row is kept: in a `copy` of the array's rows, the first if that is None, after `start`."""
        copies = 2 if array.name in self.states else 1
        width = LANES if array.scalar else array.width
        self.rows[array.name] = (width, copies)
        b = code("({} * ROWS + b)", copy, uses=("ROWS", "b")) if copies == 2 and copy is not None else name("b")
        span = name("LANES") if array.scalar else self.division.here(width).within(ATOM)
        return code("own[{} + {} * {} + {}]", self.at(array.name), b, span, self.column(start, index), uses=("own",))

    def brought(self, value: str, size: Size) -> Source:
        """Return where a feature of a value that is brought for a step is kept."""
        if value not in self._brought:
            self._brought[value] = self._parts.fresh(f"{value}_near")
        part = self._brought[value]
        self.near[part] = size
        at, here = self.at(part), self.division.here(size).within(ATOM)
        return code("own[{} + b * {} + {}]", at, here, U, uses=("own", "b"))

    def static(self, value: str, index: Source) -> Source:
        """Return where an element of a static vector is kept."""
        return code("own[{} + {}]", self.at(value), index, uses=("own",))

    def column(self, start: Size, index: Source) -> Source:
        """Return the number of a block's feature, counted from where `start` begins."""
        return index if start == START else code("{} + {}", self.division.here(start), index, binding=SUM)


class Statics:
    """Static values as a block has them: numbers in variables, vectors in its memory."""

    def __init__(self, host: Host, arguments: Arguments, memory: Memory) -> None:
        self.host, self.arguments, self.memory = host, arguments, memory
        self.types: Mapping[str, Type] = host.program.rec.types
        self._numbers: dict[str, Source] = {}
        self._loaded: list[Tree] = []
        self.vectors: dict[Size, list[Tree]] = {}

    def read(self, value: str, index: Source = U) -> Source:
        """Return the source of a static value, or of an element of it."""
        if self.types[value].shape:
            self._keep(value)
            return self.memory.static(value, index)
        if value not in self._numbers:
            given = self.arguments.static(value, f"{value}_given")
            number = self.memory.names.fresh(value)
            self._loaded.append(assign(number, widened(self.host.static_stored(value), code("{}[0]", given))))
            self._numbers[value] = name(number)
        return self._numbers[value]

    def _keep(self, value: str) -> None:
        """Have a vector brought before the first step."""
        if value in self.memory.statics:
            return
        given, (size,) = self.arguments.static(value, f"{value}_given"), self.types[value].shape
        self.memory.statics[value] = size
        element = code("{}[{}]", given, self.memory.division.feature(size))
        line = store(self.memory.static(value, U), widened(self.host.static_stored(value), element))
        self.vectors.setdefault(size, []).append(line)

    def loads(self) -> list[Tree]:
        """Return what brings all of them."""
        lines = list(self._loaded)
        for size, stores in self.vectors.items():
            head = code("for k in range(thread, {}, ROWS * LANES):", self.memory.division.here(size), uses=("thread", "ROWS", "LANES"))
            lines.append(block(head, [NUMBERED, *stores], defines=("k",)))
        return lines
