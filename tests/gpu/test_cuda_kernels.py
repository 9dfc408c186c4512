"""Kernels for devices as they are printed: what they read is defined, and a cell's names give way to theirs."""

from __future__ import annotations

import builtins

import pytest
from fuzz.verify import verify

from derive import Cell
from derive.calculus.chain import FORWARD
from derive.cells import REGISTRY
from derive.codegen.cuda.module import CudaModule
from derive.codegen.cuda.resident.loop import residable
from derive.codegen.source import free, printed
from derive.program.pipeline import compile_cell

# Names that kernels make of those of sizes, products, operands, registers, functions.
AWKWARD = ("n_here", "n_first", "n_ahead", "n_real", "U_weights", "U_words", "load_U", "total_U", "x_near", "max", "forward_equations")


@pytest.mark.parametrize("name", REGISTRY)
def test_a_kernel_reads_what_it_defines(name: str) -> None:
    for code in CudaModule(REGISTRY[name], compile_cell(REGISTRY[name])).codes.values():
        known = set(vars(builtins)) | {f"make_{equations.name}" for equations in code.fused.values()}
        for factory in code.factories:
            assert free([factory]) <= known, printed([factory])[0]


@pytest.mark.parametrize("value", AWKWARD)
def test_names_give_way_to_those_of_a_kernel(value: str) -> None:
    cell = Cell(
        f"""
        {value} = sigmoid(x * p + sum(x * h_prev))
        h = tanh({value} + U @ h_prev)
        """,
        name="names",
        output="h",
        shapes={"x": "n", "p": "n"},
    )
    assert verify(cell, {"n": 4}, simulate=True) <= 1


@pytest.mark.parametrize("value", AWKWARD)
def test_parameters_give_way_too(value: str) -> None:
    cell = Cell(f"h = tanh(x * {value} + U @ h_prev)", name="names", output="h", shapes={"x": "n", value: "n"})
    assert verify(cell, {"n": 4}, simulate=True) <= 1


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("s = U.T @ s_prev\nh = tanh(V @ s_prev + 0.5 * h_prev + x)", True),
        ("s = U.T @ s_prev\nz = B @ tanh(s)\nh = tanh(V @ s_prev + x * z + 0.5 * h_prev)", True),
        ("s = U.T @ s_prev\nh = V @ s_prev + 0.5 * h_prev + x", False),  # a loop has to leave what the second product is added to
    ],
)
def test_products_of_a_previous_state_come_before_the_next_one_is_written(text: str, *, whole: bool) -> None:
    cell = Cell(text, name="late", output="h", shapes={"x": "n", "s": "n", "V": "n, n"})
    assert residable(compile_cell(cell)[FORWARD].program) is whole
    assert verify(cell, {"n": 4}, simulate=True) <= 1
