"""What there is to know of a time loop before a kernel of it is written: whether one can run it, where values are, when members meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ....calculus.ir import FeatureSum, LogSumExp, Pick
from ....language.sizes import Size
from ....program.imperative import HeadLoop, Place, Product, Program, RowLoop, Scalars, Stage, VectorLoop
from ..crossing import crossed


@dataclass(frozen=True)
class Loop:
    """A time loop.

    Attributes
    ----------
    program : Program
    stored : set of str
        The arrays in the dtype of storage.
    stages : tuple of Stage
        The stages of a step, parted where a product reads what another makes.
    spread : bool
        Whether a row's features may be divided among blocks.
    states : mapping
        From each array of a state to the shift at which it has the state before a step.
    outs : mapping
        From each array that products make to these products.
    looped : set of str
        The arrays that loops store to.
    kept_near : set of str
        The arrays of which a block keeps its rows.
    operands : set of str
        The arrays that products read and a step writes.
    handed : set of str
        The arrays over all steps, which what follows the loop reads.
    """

    program: Program
    stored: frozenset[str]
    stages: tuple[Stage, ...]
    spread: bool
    states: Mapping[str, int]
    outs: Mapping[str, tuple[Product, ...]]
    looped: frozenset[str]
    kept_near: frozenset[str]
    operands: frozenset[str]
    handed: frozenset[str]

    @property
    def crossed(self) -> bool:
        """Whether a thread reads what others of its block have stored."""
        return any(crossed(self.program, stage.plain) for stage in self.stages)


@dataclass(frozen=True)
class Phase:
    """A stage, with what is done around it.

    Attributes
    ----------
    stage : Stage
    waits : bool
        Whether its products wait for what members have written.
    published : tuple of Product
        The last product of each array that is a state, or kept, or that other products read; others are added up where they are read.
    arrives : bool
        Whether a member says afterwards that it has written.
    """

    stage: Stage
    waits: bool
    published: tuple[Product, ...]
    arrives: bool


def residable(program: Program) -> bool:
    """Say whether one kernel can run the loop: no product reads a state after the step has written the next one in its place.

    One with heads, or with matrices at each step, it cannot.
    """
    stages = program.loop
    if any(isinstance(loop, HeadLoop | RowLoop) for stage in stages for loop in stage.loops):
        return False
    if any(product.out.stride is not None for stage in stages for product in stage.products):
        return False
    written: set[str] = set()
    for stage in parts(program):
        if any(product.vector.array in written and _of_step_before(program, product.vector) for product in stage.products):
            return False
        written |= {product.out.array for product in stage.products}
        written |= {array for loop in stage.plain for array in stored_by(loop)}
    return bool(program.loop)


def _of_step_before(program: Program, place: Place) -> bool:
    """Say whether a place is that of a state before the step."""
    return any(_rows(place) == _rows(program.places[carry.previous]) for carry in program.rec.carries)


def analysed(program: Program, stored: frozenset[str]) -> Loop:
    """Return the time loop of a program; `stored` are the arrays in the dtype of storage."""
    stages = parts(program)
    outs: dict[str, tuple[Product, ...]] = {}
    for product in (product for stage in stages for product in stage.products):
        outs[product.out.array] = (*outs.get(product.out.array, ()), product)
    states = {program.places[c.previous].array: program.places[c.previous].shift for c in program.rec.carries}
    looped = frozenset(array for stage in stages for loop in stage.plain for array in stored_by(loop))
    return Loop(
        program,
        stored,
        stages,
        spread=spread(program),
        states=states,
        outs=outs,
        looped=looped,
        kept_near=frozenset({*states, *outs, *(looped & read_again(program, stages))}),
        operands=read_by_products(stages) & {*looped, *outs},
        handed=frozenset(array.name for array in program.arrays.values() if array.space in ("sequence", "tape")),
    )


def parts(program: Program) -> tuple[Stage, ...]:
    """Return the stages of a step, parted where a product reads what another makes."""
    return tuple(part for stage in program.loop for part in parted(stage))


def parted(stage: Stage) -> list[Stage]:
    """Return a stage as several where a product of it reads what another makes, each product in the first that it can be in."""
    waves: list[list[Product]] = [[]]
    made: dict[tuple[str, int], int] = {}  # the wave that makes rows of an array: a state's before the step are not those after it
    for product in stage.products:
        number = made.get(_rows(product.vector), -1) + 1
        waves += [[]] if number == len(waves) else []
        waves[number].append(product)
        made[_rows(product.out)] = max(number, made.get(_rows(product.out), 0))
    return [*(Stage(tuple(wave), ()) for wave in waves[:-1]), Stage(tuple(waves[-1]), stage.loops)]


def _rows(place: Place) -> tuple[str, int]:
    """Return which rows of which array a place is in."""
    return place.array, place.shift


def read_by_products(stages: Iterable[Stage]) -> frozenset[str]:
    """Return the arrays that products read."""
    return frozenset(product.vector.array for stage in stages for product in stage.products)


def stored_by(loop: VectorLoop | Scalars) -> frozenset[str]:
    """Return the arrays that a loop stores to."""
    return frozenset(place.array for compute in loop.computes for place in compute.stores)


def read_again(program: Program, stages: Iterable[Stage]) -> frozenset[str]:
    """Return the arrays of vectors that a loop reads and does not make."""
    found: set[str] = set()
    for loop in (loop for stage in stages for loop in stage.plain):
        made = {c.equation.name for c in loop.computes}
        read = {o for c in loop.computes for o in c.equation.node.operands()} - made
        found |= {program.places[name].array for name in read if name in program.places and program.shape(name)}
    return frozenset(found)


def summed(program: Program, loop: VectorLoop | Scalars) -> list[Size]:
    """Return the sizes of the vectors that a loop reduces to a number."""
    nodes = [c.equation.node for c in loop.computes]
    return [program.shape(node.value)[0] for node in nodes if isinstance(node, FeatureSum | LogSumExp)]


def spread(program: Program) -> bool:
    """Say whether a step's features may be divided among blocks: every loop and product has its own, and none picks one of them."""
    sizes = [program.shape(p.equation.name)[0] for stage in program.loop for p in stage.products]
    for loop in (loop for stage in program.loop for loop in stage.plain):
        if any(isinstance(c.equation.node, Pick) for c in loop.computes):
            return False
        sizes += [*summed(program, loop), *([loop.size] if isinstance(loop, VectorLoop) else [])]
    return all(len(size.terms) == 1 and not size.constant for size in sizes)


def phases(loop: Loop) -> list[Phase]:
    """Return the stages of a step, in order, and when members meet: between writing an operand and reading it."""
    fresh = set(read_by_products(loop.stages) & loop.states.keys())  # operands that were written since members met
    found: list[Phase] = []
    for number, stage in enumerate(loop.stages):
        waits = loop.spread and not fresh.isdisjoint(read_by_products([stage]))
        if waits:
            fresh.clear()
        published = _published(loop, number)
        fresh |= {product.out.array for product in published} & loop.operands
        for each in stage.plain:
            fresh |= stored_by(each) & loop.operands
            if loop.spread and summed(loop.program, each):
                fresh.clear()  # members have met
        arrives = loop.spread and not fresh.isdisjoint(_read_next(loop.stages, number))
        found.append(Phase(stage, waits, published, arrives))
    return found


def _published(loop: Loop, number: int) -> tuple[Product, ...]:
    """Return the products of a stage that complete an array which others read."""
    later = {product.out.array for stage in loop.stages[number + 1 :] for product in stage.products}
    shown = {*loop.states, *loop.stored, *loop.handed} - later
    last = {product.out.array: product for product in loop.stages[number].products}
    return tuple(product for array, product in last.items() if array in shown)


def _read_next(stages: tuple[Stage, ...], number: int) -> frozenset[str]:
    """Return what the next products read, of this step or of the one that follows, if no other stage is between."""
    first = [stage for stage in stages if stage.products][:1]
    return read_by_products(stages[number + 1 : number + 2] or first)
