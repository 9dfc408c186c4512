"""The function of a step."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ...calculus.ir import Equation, MatVec, MatVecT
from ...program.imperative import Place, Product, RowLoop, own_loops
from ...program.streaming import Step
from ..source import Comment, Tree, code, do, name, read, store
from .lies import Fields, Working
from .memory import Lying, Memory
from .rows import Rows
from .static import multiplied
from .text import loop, without


def stepped(
    fields: Fields, step: Step, say: Callable[[Equation], list[Comment]], note: Callable[[Equation], list[Comment]]
) -> tuple[list[Tree], list[Memory]]:
    """Return the statements of a step, and the arrays that they work in; `say` comments a shown equation, `note` any."""
    names, program = fields.interface.scope(), step.program
    loops = own_loops(loop for stage in program.loop for loop in stage.loops)
    made = [compute.equation.name for loop in loops for compute in loop.computes]
    carried = {carry.previous: program.places[carry.previous].array for carry in program.rec.carries}
    overwritten = {previous: array for previous, array in carried.items() if array in step.overwritten}
    local = {value: names.fresh(value) for value in dict.fromkeys((*made, *overwritten))}
    row = name(names.fresh("i")) if any(isinstance(found, RowLoop) for found in loops) else name("j")
    arrays = {array: names.fresh(_called(array, made)) for array in program.arrays}
    working = Working(fields, step, arrays)
    lies = fields.statics | working.lies()
    rows = Rows(fields.places, lies, working.at, local, overwritten, row, say)
    body: list[Tree] = [*working.declarations()]
    for stage in program.loop:
        for product in stage.products:
            body += [*note(product.equation), _product(fields, lies, product, working.at)]
        for found in stage.loops:
            body += rows.loop(found)
    body += _ended(fields, working)
    unread = {memory.source.text for memory in working.declared().values()} - read(body)
    return without(body, unread), [memory for memory in working.declared().values() if memory.source.text not in unread]


def _called(array: str, made: Collection[str]) -> str:
    """Return what the array of a value is called: as the value, where no variable is; a new state as such."""
    value = array.removesuffix("_rows").removesuffix("_state")
    return f"{value}_next" if array.endswith("_state") else f"{value}_values" if value in made else value


def _product(fields: Fields, lies: dict[str, Lying], product: Product, at: Callable[[str, Place], Lying | None]) -> Tree:
    node, places = product.equation.node, fields.places
    assert isinstance(node, MatVec | MatVecT)
    out, vector = at(product.equation.name, product.out), at(fields.interface.rec.repeated.get(node.vector, node.vector), product.vector)
    assert out is not None and vector is not None
    made = multiplied(places, node, lies[product.matrix], vector, out)
    return loop("head", places.size(places.heads), [made]) if product.out.stride is not None else made


def _ended(fields: Fields, working: Working) -> list[Tree]:
    """Return the statements that let the new states that lie apart be the states."""
    lines: list[Tree] = []
    for array in sorted(working.apart):
        old, new = fields.field("state", working.states[array]).source, name(working.names[array])
        plain = not fields.interface.rec.axes(working.states[array])
        lines.append(store(old, new) if plain else do(code("memcpy({}, {}, sizeof {})", old, new, new, uses=("memcpy",))))
    return lines
