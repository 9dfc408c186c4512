"""On which given values each value of a pass depends: where they are zero, so is it."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_close

from derive.calculus.ir import Concat
from derive.cell import Cell
from derive.cells import SECOND, get
from derive.package import memory
from derive.program.dependence import dependence, of_arrays
from derive.program.pipeline import Stored, compile_cell
from derive.verify.problem import directions, sample
from derive.verify.second import grads_of
from derive.verify.witnesses import arguments

# A matrix that multiplies a state and what is constant in time, whose gradient is a sum of two; other states depend on other things.
SEVERAL = Cell(
    "h = W @ h_prev\nm = W @ c + 0.5 * m_prev\ns = r @ q + 0.5 * s_prev + mean(x)",
    name="several",
    output="h",
    context=("c",),
    shapes={"c": "n", "r": "n, p", "q": "p"},
)


def linear(link: Stored) -> list[str]:
    """Return the cotangents that a link is given."""
    given = set(link.link.recurrence.inputs) & set(link.link.cotangent.values())
    return [*given, *(carry.previous for carry in link.program.rec.carries)]


def test_a_copy_of_a_value_depends_on_what_the_value_does() -> None:
    link = compile_cell(SEVERAL, 2)["backward_backward"]
    (state,) = (carry.previous for carry in link.program.rec.carries if carry.value.startswith("ddh"))
    found = dependence(link.program, linear(link))
    assert found[f"{state}_copy"] == found[state]
    assert found[link.link.cotangent["W"]] > {state}


@pytest.mark.parametrize("name", SECOND)
def test_an_array_depends_on_all_that_its_values_do(name: str) -> None:
    for link in compile_cell(get(name), 2):
        if link.name in ("forward", "backward"):
            continue
        values = dependence(link.program, linear(link))
        arrays = of_arrays(link.program, values)
        for carry in link.program.rec.carries:
            assert values[carry.value] <= values[carry.previous]
            assert arrays[link.program.places[carry.previous].array] >= values[carry.previous]
        for eq in link.program.rec.equations():
            assert values[eq.name] >= frozenset().union(*(values.get(operand, frozenset()) for operand in eq.node.operands()))


def test_a_stack_of_what_is_given_and_what_is_not_is_never_zero() -> None:
    """The tangent of a product of matrices multiplies W and Ẇ with one vector, at once."""
    cell = Cell("h = V @ (W @ c) + 0.5 * h_prev", name="stacked", output="h", inputs=(), context=("c",), shapes={"W": "n, m", "c": "m"})
    link = compile_cell(cell, 2)["tangent"]
    given = linear(link)
    found = dependence(link.program, given)
    stacks = [eq for eq in link.program.rec.equations() if isinstance(eq.node, Concat)]
    assert [found[eq.name] for eq in stacks] == [frozenset(given)]
    module, p = memory.compile(cell, order=2), sample(cell, steps=3, batch=2, seed=1)
    positional, named = arguments(module, p)
    tape = module.forward(*positional, **named)[2]
    direction = directions(p)
    zeros = {key: np.zeros_like(value) for key, value in direction.items()}
    for name in ("V", "W", "c"):
        some = {name: direction[name]}
        assert_close(module.tangent(grads_of(module, p, some), tape), module.tangent(grads_of(module, p, zeros | some), tape))
