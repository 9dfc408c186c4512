"""How much work a call is: the operations of its matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from ..calculus.chain import FORWARD
from ..language.definition import Definition
from ..program.imperative import Stage
from ..program.pipeline import compile_cell


def operations(cell: Definition, sizes: Mapping[str, int], steps: int, batch: int) -> int:
    """Return the operations of all matrix products of a forward pass; a multiplication and its addition are two.

    Counted are the products of the compiled program, wherever it makes them: at a step, for all steps at once, or once a sequence.
    """
    program = compile_cell(cell)[FORWARD].program

    def elements(stages: Iterable[Stage]) -> int:
        products = [product for stage in stages for product in stage.products]
        return sum(prod(size.evaluate(sizes) for size in program.shape(product.matrix)) for product in products)

    every = elements((*program.before, *program.loop, *program.after))
    return 2 * batch * (steps * every + elements(program.once))
