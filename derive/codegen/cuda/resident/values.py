"""How a kernel that stays for all steps finds its numbers and where it leaves them: what it keeps near, and what others read."""

from __future__ import annotations

from ....calculus.naming import Names
from ....language.sizes import Size
from ....program.imperative import Array, Place, Product
from ...source import SUM, Source, Tree, block, code, name, store
from ..features import Features
from ..kernel import FIRST, Arguments, Host, J, column, narrowed, widened
from .division import Division, U
from .loop import Loop
from .members import Members
from .memory import START, Memory, Statics
from .operands import Operands
from .rows import AHEAD, row, row_to_store
from .staging import Bundle, Given, Staging

LANE, BEFORE, AFTER = name("lane"), name("before"), name("after")
ONE = Size((), 1)


class Values:
    """The numbers of a loop; what a kernel needs for them is collected by their kind."""

    def __init__(self, host: Host, loop: Loop, names: Names) -> None:
        self.loop, self.program, self.types = loop, loop.program, loop.program.rec.types
        self.arguments = Arguments(host, names)
        self.division = Division(names, loop.spread)
        self.members = Members(loop.spread)
        self.memory = Memory(names, self.division, loop)
        self.statics = Statics(host, self.arguments, self.memory)
        self.staging = Staging(names, self.division, loop.program.rec.reverse)
        self.operands = Operands(host, loop, names, self.arguments, self.division, self.memory)

    # What loops ask

    def features(self, size: Size) -> Features:
        return self.division.features(size)

    def number(self, size: str) -> Source:
        return self.division.number(size)

    def whole(self, size: Size) -> Source:
        return self.division.whole(size)

    def read(self, value: str) -> Source:
        kind = self.types[value]
        if not kind.batched:
            return self.statics.read(value)
        place = self.program.places[value]
        array = self.program.arrays[place.array]
        if array.name in self.loop.kept_near:
            return self.near(array, place, U if kind.shape else LANE)
        if not kind.shape:
            return self.far(array, place, FIRST)
        if array.name in self.loop.looped or array.integer or array.space == "once":
            return self.far(array, place, J)
        return self.brought(value, array, place)

    def picked(self, value: str, index: Source) -> Source:
        if not self.types[value].batched:
            return self.statics.read(value, index)
        place = self.program.places[value]
        array = self.program.arrays[place.array]
        return self.near(array, place, index) if array.name in self.loop.kept_near else self.far(array, place, index)

    def write(self, value: str, place: Place, source: Source) -> list[Tree]:
        array, shape = self.program.arrays[place.array], self.types[value].shape
        lines: list[Tree] = []
        if array.name in self.loop.kept_near:
            lines.append(store(self.memory.slot(array, self.copy(array, place), U if shape else LANE, place.start), source))
        if array.name not in self.loop.outs:
            lines += self.shown(array, place, J if shape else FIRST, source)
            lines += self.put(array, place.start, shape[0] if shape else ONE, source)
        return lines

    # Where numbers are

    def copy(self, array: Array, place: Place) -> Source | None:
        """Return which of its two copies of a state a place is: that before the step, or after it."""
        if array.name not in self.loop.states:
            return None
        return BEFORE if place.shift == self.loop.states[array.name] else AFTER

    def near(self, array: Array, place: Place, index: Source) -> Source:
        """Return the source of a number that a block keeps of its row; if products make it, of its sum."""
        return self.kept(array, self.copy(array, place), index, place.start)

    def kept(self, array: Array, copy: Source | None, index: Source, start: Size = START) -> Source:
        """Return the same for a copy of the array's rows; a state's products have been added to it."""
        if array.name in self.loop.outs and array.name not in self.loop.states:
            return self.added(array, copy, index, start)
        return self.memory.slot(array, copy, index, start)

    def added(self, array: Array, copy: Source | None, index: Source, start: Size = START) -> Source:
        """Return the source of what loops have left of a number, if they have, and of what products add to it."""
        terms = [self.memory.slot(array, copy, index, start)] if array.name in self.loop.looped else []
        for product in self.loop.outs[array.name]:
            terms.append(self.operands.total(product, self.memory.column(start - product.out.start, index)))
        return terms[0] if len(terms) == 1 else code(" + ".join(["{}"] * len(terms)), *terms, binding=SUM)

    def far(self, array: Array, place: Place, index: Source) -> Source:
        """Return the source of a number in the device's memory."""
        return widened(array.name in self.loop.stored, self.at(array, row(array, place.shift), place, index))

    def at(self, array: Array, row: Source, place: Place, index: Source) -> Source:
        """Return where a number is in the device's memory."""
        return code("{}[{}, {}]", self.arguments.array(array.name), row, column(place.start, index, self.whole))

    def brought(self, value: str, array: Array, place: Place) -> Source:
        """Return the source of a given value, and have it brought near before the step."""
        size = self.types[value].shape[0]
        slot = self.memory.brought(value, size)
        now, soon = (self.at(array, row(array, place.shift, suffix), place, J) for suffix in ("", AHEAD))
        self.staging.add(Bundle(size, array.name in self.loop.stored), Given(slot, now, soon))
        return slot

    # Where numbers are left

    def published(self, product: Product) -> Tree:
        """Return the loop that stores what products have made: a state, or what is kept, or what other products read."""
        array = self.program.arrays[product.out.array]
        state = array.name in self.loop.states
        copy = AFTER if state else None
        value = self.kept(array, copy, U)
        body: list[Tree] = [store(value, self.added(array, copy, U))] if state else []
        if array.name in self.loop.stored | self.loop.handed:
            body += self.shown(array, Place(array.name, shift=product.out.shift), J, value)
            body += self.put(array, START, array.width, value)
        return self.division.features(array.width).over(body)

    def shown(self, array: Array, place: Place, index: Source, value: Source) -> list[Tree]:
        """Return the statements that store a value in the device's memory, if it is read there."""
        operand = array.name in self.loop.operands
        rows_of_step = array.space in ("scratch", "carry")
        if rows_of_step and not operand:
            return []
        target = self.at(array, row_to_store(array, place.shift), place, index)
        line = store(target, narrowed(array.name in self.loop.stored, value))
        if rows_of_step:
            return self.members.several([line])
        condition = _condition(array, operand and self.loop.spread)
        return [block(code("if {}:", condition), [line])] if condition else [line]

    def put(self, array: Array, start: Size, size: Size, value: Source) -> list[Tree]:
        """Return the statements that put a value where a block alone in its group reads its operands."""
        return [line for put in self.operands.put(array.name, start, size, U, value) for line in self.members.alone(put)]


def _condition(array: Array, exchanged: bool) -> Source | None:
    """Return when a number is stored for what follows the loop, or for other members if it is `exchanged`; None for always."""
    lead = name("lead") if array.scalar else None
    if array.space != "tape":
        return lead
    kept = code("keep or MEMBERS > 1", uses=("keep", "MEMBERS")) if exchanged else name("keep")
    return kept if lead is None else code("{} and ({})", lead, kept)
