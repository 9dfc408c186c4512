"""What is given for each step: a block brings it near before the step is computed, and reads it ahead for the one that follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ....calculus.naming import Names
from ....language.sizes import Size
from ...source import PRODUCT, SUM, Block, Source, Statement, Tree, assign, block, code, name, store
from ..factory import PLAN, Binding, bind, bound, item
from ..kernel import widened
from .division import Division
from .rows import AHEAD, rows_of


@dataclass(frozen=True)
class Given:
    """What is given for each step: where it is kept near, where it is, and where it is for the next step."""

    slot: Source
    now: Source
    soon: Source


@dataclass(frozen=True)
class Bundle:
    """What is given of one size and in one dtype, that of storage or the one that is computed with."""

    size: Size
    stored: bool


@dataclass(frozen=True)
class Registers:
    """A kernel's names of the registers of a thread that a bundle is brought in, of their number, and of how many features it has."""

    name: str
    room: str
    ahead: str


class Staging:
    """What is given for each step, in bundles."""

    def __init__(self, names: Names, division: Division, reverse: bool) -> None:
        self.names, self.division, self.reverse = names, division, reverse
        self.given: dict[Bundle, list[Given]] = {}
        self._registers: dict[Bundle, Registers] = {}
        self._ahead: dict[Size, str] = {}

    def add(self, bundle: Bundle, given: Given) -> None:
        """Have a value brought near."""
        group = self.given.setdefault(bundle, [])
        group += [given] if given not in group else []

    def registers(self, bundle: Bundle) -> Registers:
        if bundle not in self._registers:
            size = _identifier(bundle.size)
            called = self.names.fresh(f"{size}_{'stored' if bundle.stored else 'real'}")
            if bundle.size not in self._ahead:
                self._ahead[bundle.size] = self.names.fresh(f"{size}_ahead")
            self._registers[bundle] = Registers(called, self.names.fresh(f"{called}_room"), self._ahead[bundle.size])
        return self._registers[bundle]

    def taken(self) -> list[Binding]:
        """Return what binds how much is brought ahead, as the plan has it."""
        found: list[Binding] = []
        for bundle, group in self.given.items():
            registers = self.registers(bundle)
            ahead = name(registers.ahead)
            found.append(item(registers.ahead, code("{}.ahead", PLAN), str(bundle.size)))
            found.append(bind(registers.room, code("max({} * {}, 1)", len(group), ahead)))
        return found

    def rooms(self) -> list[Tree]:
        """Return what makes the registers."""
        found = [(self.registers(bundle), name("bits" if bundle.stored else "real")) for bundle in self.given]
        return [assign(r.name, code("cuda.local.array({}, {})", name(r.room), dtype, uses=("cuda",))) for r, dtype in found]

    def statements(self) -> list[Tree]:
        """Return the loops that bring near what was given for a step, and begin to bring what is given for the next one.

        Others may not have finished the step before.  What is read ahead takes its time to come: registers wait for it, no thread does.
        """
        return [line for bundle, group in self.given.items() for line in self._brought(bundle, group)]

    def _brought(self, bundle: Bundle, group: list[Given]) -> list[Tree]:
        counter, t = name("step" if self.reverse else "t"), name("t")
        soon = code("{} - 1" if self.reverse else "{} + 1", t, binding=SUM)
        registers, features = self.registers(bundle), self.division.features(bundle.size)
        ahead = name(registers.ahead)
        places = [self._place(registers, number) for number in range(len(group))]
        pairs = list(zip(group, places, strict=True))
        came = [store(given.slot, widened(bundle.stored, register)) for given, register in pairs]
        coming = [store(register, given.soon) for given, register in pairs]
        now = [store(given.slot, widened(bundle.stored, given.now)) for given in group]
        return [
            block(code("if {} > 0 and {} > 0:", counter, ahead), [self._by_thread(bundle.size, registers, came)]),
            block(Source("else:"), [features.over(now)]),
            block(
                code("if {} + 1 < steps and {} > 0:", counter, ahead, uses=("steps",)),
                [*bound(rows_of(soon, AHEAD), coming), self._by_thread(bundle.size, registers, coming)],
            ),
        ]

    def _place(self, registers: Registers, number: int) -> Source:
        """Return the register of a thread's feature `i` of one value of a bundle."""
        ahead, i = name(registers.ahead), name("i")
        before = ahead if number == 1 else code("{} * {}", number, ahead, binding=PRODUCT)
        return code("{}[{}]", name(registers.name), code("{} + {}", before, i) if number else i)

    def _by_thread(self, size: Size, registers: Registers, body: Iterable[Statement]) -> Block:
        """Return a loop over a thread's features of a row, `i` of which is counted: as many in every thread, for numbers in registers."""
        features = self.division.features(size)
        running = block(code("if k < {}:", self.division.running(size), uses=("k",)), [*features.named, *body])
        count = assign("k", code("lane + i * LANES", uses=("lane", "i", "LANES")))
        return block(code("for i in range({}):", name(registers.ahead)), [count, running], defines=("i",))


def _identifier(size: Size) -> str:
    """Return a size as part of a name: 2*n + 1 is n2_1."""
    terms = [named if count == 1 else f"{named}{_numeral(count)}" for named, count in size.terms]
    return "_".join([*terms, *([_numeral(size.constant)] if size.constant else [])])


def _numeral(number: int) -> str:
    return f"{'m' if number < 0 else ''}{abs(number)}"
