"""JAX's contender of second order: `jax.jvp` of the scan and of its gradient, and the gradient of a gradient's square, compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ..verify.problem import Arrays, Problem
from .contender import Array
from .jax_scan import Compiled, arrays_of, numbers, scanned
from .phases import HVP, PENALTY, TANGENT
from .second import SecondOrder, of_product, penalized

UNROLLS = (1, 4)  # with 16 a gradient's derivative takes XLA long to compile, and no less time to run

Values = Mapping[str, Any]


def scan(p: Problem, v: Arrays) -> SecondOrder:
    """Return the cell as a scan, differentiated twice."""
    jax = importlib.import_module("jax")
    arrays = arrays_of(p, p.arrays)
    leaves = {name: arrays[name] for name in p.differentiable}
    rest, dy, along = (
        {name: value for name, value in arrays.items() if name not in leaves},
        arrays_of(p, {"dy": p.dy})["dy"],
        arrays_of(p, v),
    )

    def of(rest: Values, unroll: int) -> Callable[[Values], Any]:
        return lambda values: scanned(p, {**rest, **values}, unroll)

    def loss(rest: Values, dy: Any, unroll: int) -> Callable[[Values], Any]:
        return lambda values: (of(rest, unroll)(values) * dy).sum()

    def penalty(unroll: int) -> Callable[..., Any]:
        def square(values: Values, rest: Values, dy: Any) -> Any:
            inputs = {name: values[name] for name in penalized(p.cell)}
            return sum((grad**2).sum() for grad in jax.grad(loss({**rest, **values}, dy, unroll))(inputs).values())

        return jax.grad(square)

    def tangent(unroll: int) -> Callable[..., Any]:
        return lambda values, rest, along: jax.jvp(of(rest, unroll), (values,), (along,))

    def product(unroll: int) -> Callable[..., Any]:
        return lambda values, rest, dy, along: jax.jvp(jax.grad(loss(rest, dy, unroll)), (values,), (along,))

    run = Compiled({PENALTY: penalty, TANGENT: tangent, HVP: product}, p, UNROLLS)
    calls = {
        PENALTY: lambda: run(PENALTY, leaves, rest, dy),
        TANGENT: lambda: run(TANGENT, leaves, rest, along),
        HVP: lambda: run(HVP, leaves, rest, dy, along),
    }
    results: dict[str, Callable[[Any], Mapping[str, Array]]] = {
        PENALTY: numbers,
        TANGENT: lambda found: numbers(dict(zip(("output", "tangent"), found, strict=True))),
        HVP: lambda found: of_product(*map(numbers, found)),
    }
    return SecondOrder(calls, results, run.choices)
