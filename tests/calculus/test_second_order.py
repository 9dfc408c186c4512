"""Differentiation closes: the adjoint of the adjoint against PyTorch's double backward, and every rule against finite differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import sympy as sp
import torch
from helpers.texts import GRU, GRU_V3, LAYER_NORM, LSTM, SLSTM

from derive.calculus import functions as fn
from derive.calculus.adjoint import Adjoint, adjoint
from derive.calculus.chain import BACKWARD, FORWARD, Derivation
from derive.calculus.derivation import differentiate
from derive.calculus.ir import (
    Along,
    AxisSum,
    Carry,
    Clipped,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    Label,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Merge,
    Node,
    Outer,
    Part,
    Pick,
    Recurrence,
    Repeat,
    Slice,
    Spread,
    Total,
    Transpose,
    Type,
    validate,
)
from derive.calculus.rowfunctions import Across, Normalised, Softmax, Std
from derive.calculus.symbols import extent
from derive.calculus.vjp import RULES
from derive.cell import Cell
from derive.language.names import previous
from derive.language.sizes import Size, parse_shape
from derive.verify.evaluate import unroll
from derive.verify.interpret import Run, run
from derive.verify.problem import Array, Arrays, Scales, directions, sample

Values = dict[str, Array]
SIZES = {"d": 3, "n": 4, "k": 5}
T, B = 3, 2

SPLIT = Cell(
    """
    a, b, c = split(W @ [h_prev, x] + w, 3)
    h = softmax(a * (K @ v)) * tanh(b) + sigmoid(c) * h_prev
    """,
    name="split_attention",
    output="h",
    context=("v",),
    shapes={"v": "k"},
)
STATIC = Cell(
    """
    s = exp(-exp(nu))
    p = s * p_prev + B @ x
    h = h_prev + 0.1 * tanh((W - W.T - gamma * eye) @ h_prev + C @ p + sum(W) * b)
    """,
    name="static_expressions",
    output="h",
    shapes={"gamma": ""},
)
CELLS = (LSTM, GRU, GRU_V3, LAYER_NORM, SLSTM, SPLIT, STATIC)


# Second order


@dataclass(frozen=True)
class Problem:
    """Values of everything that a double backward pass starts from.

    `given` has parameters, inputs, contexts and previous states; `dy` and `dfinal` are the first cotangents; `second` has a cotangent of
    the gradient by each name of `given`.
    """

    cell: Cell
    given: Arrays
    dy: Array
    dfinal: Arrays
    second: Arrays


def problem(cell: Cell) -> Problem:
    p = sample(cell, sizes=SIZES, steps=T, batch=B, seed=3, scales=Scales(parameters=0.5, states=1.0))
    if cell is SLSTM:
        p = p.at("v_prev", np.abs(p.arrays["v_prev"]) + 0.5)  # a normaliser is positive
    return Problem(cell, p.arrays, p.dy, p.dfinal, directions(p, 4))


def torch_second_order(p: Problem) -> Values:
    """Return the gradients of Σ <second, gradient> by everything, by PyTorch through the cell's text."""
    leaves = {name: torch.from_numpy(value).requires_grad_() for name, value in p.given.items()}
    dy = torch.from_numpy(p.dy).requires_grad_()
    dfinal = {state: torch.from_numpy(value).requires_grad_() for state, value in p.dfinal.items()}
    cell = p.cell
    y, final = unroll(
        cell,
        {name: leaves[name] for name in cell.inputs},
        {name: leaves[name] for name in cell.parameters},
        {state: leaves[previous(state)] for state in cell.states},
        torch,
        context={name: leaves[name] for name in cell.context},
    )
    loss = (y * dy).sum() + sum((final[state] * dfinal[state]).sum() for state in cell.states)
    first = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
    outer = sum((g * torch.from_numpy(p.second[name])).sum() for name, g in zip(leaves, first, strict=True))
    wanted = {**leaves, "dy": dy, **{f"dfinal:{state}": value for state, value in dfinal.items()}}
    second = torch.autograd.grad(outer, list(wanted.values()), allow_unused=True)
    return {n: np.zeros(v.shape) if g is None else g.numpy() for (n, v), g in zip(wanted.items(), second, strict=True)}


def seeds_of(rec: Recurrence, adj: Adjoint) -> dict[str, str]:
    """Return, by each written value of `rec`, the name of the cotangent that `adj` takes for it at every step."""
    read = adj.recurrence
    return {read.labels[n].of: n for n in read.sequences if n not in rec.types and read.labels[n].kind == "seed"}


def keeping_for(rec: Recurrence, adj: Adjoint) -> Recurrence:
    """Return `rec` handing out all that its adjoint reads."""
    steps = {*(eq.name for eq in rec.body), *(carry.previous for carry in rec.carries)}
    statics = {eq.name for eq in (*rec.prologue, *rec.accumulators, *rec.epilogue)}
    written = (*rec.written, *(n for n in adj.recurrence.sequences if n in steps))
    results = (*rec.results, *(n for n in adj.recurrence.statics if n in statics))
    return replace(rec, written=tuple(dict.fromkeys(written)), results=tuple(dict.fromkeys(results)))


def derived_second_order(p: Problem) -> Values:
    """Return the same by three loops: the backward pass, its adjoint, and once more the adjoint of the forward pass."""
    derivation = differentiate(p.cell)
    forward, backward = derivation[FORWARD].recurrence, derivation[BACKWARD].recurrence
    kept = run(keeping_for(forward, adjoint(forward, seeds=forward.written)), p.given, SIZES, T, B).sequences
    known = {**p.given, **kept, derivation[BACKWARD].cotangent[p.cell.output]: p.dy}
    carried = {carry.previous: p.dfinal[state] for state, carry in zip(p.cell.states, backward.carries, strict=True)}
    twice = adjoint(backward)
    values, second = _run_adjoint_of_backward(p, derivation, twice, known, carried)
    return _combine(p, derivation, twice, values, second)


def _run_adjoint_of_backward(
    p: Problem, derivation: Derivation, twice: Adjoint, known: Mapping[str, Array], carried: Mapping[str, Array]
) -> tuple[Values, Run]:
    """Run the backward pass and its adjoint; return what has been computed so far, and the adjoint's results."""
    backward, rec = derivation[BACKWARD].recurrence, twice.recurrence
    kept = run(keeping_for(backward, twice), {**known, **carried}, SIZES, T, B)
    values = {**known, **kept.sequences, **kept.results}
    by_cotangent = {cotangent: name for name, cotangent in derivation[BACKWARD].cotangent.items() if name in p.given}
    seeds = seeds_of(backward, twice)
    for written in backward.written:
        values[seeds[written]] = p.second[by_cotangent[written]]
    for result in backward.results:
        values[twice.cotangent[result]] = p.second[by_cotangent[result]]
    for state, carry in zip(p.cell.states, rec.carries, strict=True):
        values[carry.previous] = p.second[previous(state)]
    return values, run(rec, values, SIZES, T, B)


def _combine(p: Problem, derivation: Derivation, twice: Adjoint, values: Values, second: Run) -> Values:
    """Add what reaches the inputs through the forward values that the backward pass read."""
    cell, forward = p.cell, derivation[FORWARD].recurrence
    through = adjoint(forward, seeds=forward.written)
    direct = {**second.sequences, **second.results}

    def by(name: str) -> Array | float:
        return direct.get(twice.cotangent.get(name, ""), 0.0)

    seeded = dict(values)
    for name, seed in seeds_of(forward, through).items():
        seeded[seed] = np.broadcast_to(by(name), (T, B, *(size.evaluate(SIZES) for size in forward.types[name].shape)))
    for state, carry in zip(cell.states, through.recurrence.carries, strict=True):
        seeded[carry.previous] = np.zeros_like(p.given[previous(state)])
    last = run(through.recurrence, seeded, SIZES, T, B)
    gradients = {**last.sequences, **last.results}
    total = {n: gradients[through.cotangent[n]] + by(n) for n in (*cell.parameters, *cell.inputs, *cell.context)}
    states = zip(cell.states, through.recurrence.carries, twice.recurrence.carries, strict=True)
    total["dy"] = np.zeros_like(p.dy) + by(derivation[BACKWARD].cotangent[cell.output])
    for state, before, after in states:
        total[previous(state)] = last.carries[before.previous]
        total[f"dfinal:{state}"] = second.carries[after.previous]
    return total


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_adjoint_of_the_adjoint_is_double_backward(cell: Cell) -> None:
    p = problem(cell)
    found, expected = derived_second_order(p), torch_second_order(p)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(value).max() > 1e-6, f"{name}: the test would see nothing"
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-10 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_directions_alternate_and_nothing_leaves_the_set(cell: Cell) -> None:
    backward = differentiate(cell)[BACKWARD].recurrence
    twice = adjoint(backward).recurrence
    assert (backward.reverse, twice.reverse) == (True, False)
    third = adjoint(twice).recurrence
    assert {type(eq.node) for rec in (backward, twice, third) for eq in rec.equations()} <= RULES.keys()


# Every rule against finite differences


def recurrence(
    equations: Mapping[str, tuple[Node, str]],
    *,
    static: Mapping[str, str] | None = None,
    context: Mapping[str, str] | None = None,
    read: Mapping[str, str] | None = None,
    carries: Mapping[str, str] | None = None,
    prologue: tuple[str, ...] = (),
    sums: Mapping[str, tuple[Node, str]] | None = None,
    after: Mapping[str, tuple[Node, str]] | None = None,
    written: tuple[str, ...] = (),
    results: tuple[str, ...] = (),
    index: str = "",
) -> Recurrence:
    """Return a recurrence from nodes and shapes; `carries` maps a previous value to the value after the step."""
    sums, after, carries = sums or {}, after or {}, carries or {}
    shapes = {name: (shape, name not in prologue) for name, (_, shape) in equations.items()}
    shapes |= {name: (shape, False) for name, (_, shape) in (sums | after).items()}
    shapes |= {name: (shape, False) for name, shape in (static or {}).items()}
    shapes |= {name: (shape, True) for name, shape in ((context or {}) | (read or {})).items()}
    shapes |= {name: shapes[value] for name, value in carries.items()}
    types = {name: Type(parse_shape(shape), batched, name == index) for name, (shape, batched) in shapes.items()}

    def listed(source: Mapping[str, tuple[Node, str]]) -> tuple[Equation, ...]:
        return tuple(Equation(name, node) for name, (node, _) in source.items())

    return validate(
        Recurrence(
            name="rule",
            reverse=False,
            types=types,
            labels={name: Label("own") for name in types},
            statics=tuple(static or {}),
            contexts=tuple(context or {}),
            sequences=tuple(read or {}),
            carries=tuple(Carry(name, value) for name, value in carries.items()),
            prologue=listed({n: e for n, e in equations.items() if n in prologue}),
            body=listed({n: e for n, e in equations.items() if n not in prologue}),
            accumulators=listed(sums),
            epilogue=listed(after),
            written=written,
            results=results,
        )
    )


def expr(text: str) -> Map:
    return Map(sp.sympify(text, locals={"tanh": fn.tanh, "exp": fn.exp, "maximum": fn.maximum, **{n: sp.Symbol(n) for n in "SQINE"}}))


N, D = Size.of("n"), Size.of("d")
RECURRENCES: dict[str, Recurrence] = {
    "map": recurrence(
        {"y": (expr("tanh(a * x + s) * h_prev / (2 + v**2) + b"), "n"), "r": (expr("exp(q) * q**3"), "")},
        static={"a": "", "b": "n"},
        context={"v": "n"},
        read={"x": "n", "s": "", "q": ""},
        carries={"h_prev": "y"},
        written=("y", "r"),
    ),
    "matrix vector": recurrence(
        {"u": (MatVec("W", "x", "b"), "n"), "v": (MatVecT("W", "u", "x"), "d"), "h": (MatVec("P", "h_prev", "u"), "n")},
        static={"W": "n, d", "P": "n, n", "b": "n"},
        read={"x": "d"},
        carries={"h_prev": "h"},
        written=("v", "h"),
    ),
    "sums": recurrence(
        {"u": (expr("tanh(x)"), "d"), "h": (expr("tanh(h_prev + w)"), "n")},
        static={"b": "n"},
        context={"w": "n"},
        read={"x": "d"},
        carries={"h_prev": "h"},
        sums={"M": (Outer("h", "u"), "n, d"), "K": (Outer("b", "u"), "n, d"), "c": (Total("h"), "n"), "e": (Total("u"), "d")},
        after={"z": (expr("M * K + 1"), "n, d"), "f": (FeatureSum("M"), ""), "R": (Outer("c", "e"), "n, d")},
        results=("z", "f", "R"),
    ),
    "normalised": recurrence(
        {
            "t": (FeatureSum("x"), ""),
            "m": (Map(sp.Symbol("t") / extent(D)), ""),
            "q": (expr("(x - m)**2"), "d"),
            "e": (FeatureSum("q"), ""),
            "s": (Std(fn.sqrt(sp.Symbol("e") / extent(D) + sp.Rational(1, 10)), "x", "u"), ""),
            "u": (Normalised((sp.Symbol("x") - sp.Symbol("m")) / sp.Symbol("s"), "x", "s"), "d"),
            "y": (expr("u * tanh(w) * s"), "d"),
            "o": (FeatureSum("w"), ""),
            "b": (Map(sp.Symbol("o") / extent(D)), ""),
            "z": (expr("w * u"), "d"),
            "l": (FeatureSum("z"), ""),
            "k": (Map(sp.Symbol("l") / extent(D)), ""),
            "r": (Across(expr("(w - b - u * k) / s").expr, "w", "u", "k", "s"), "d"),
        },
        read={"x": "d", "w": "d"},
        written=("y", "u", "r"),
    ),
    "softmax": recurrence(
        {
            "l": (LogSumExp("x"), ""),
            "p": (Softmax(fn.exp(sp.Symbol("x") - sp.Symbol("l")), "x"), "d"),
            "y": (expr("p * tanh(w) + l * p**2"), "d"),
        },
        read={"x": "d", "w": "d"},
        written=("y", "p"),
    ),
    "features": recurrence(
        {
            "s": (FeatureSum("x"), ""),
            "l": (LogSumExp("x"), ""),
            "p": (expr("exp(x - l)"), "d"),
            "t": (FeatureSum("A"), ""),
            "e": (LogSumExp("b"), ""),
            "y": (expr("p * s * t + e * l"), "d"),
        },
        static={"A": "n, d", "b": "n"},
        read={"x": "d"},
        prologue=("t", "e"),
        written=("y", "p"),
    ),
    "transpose": recurrence(
        {"Wt": (Transpose("W"), "n, n"), "A": (expr("W * Wt + W - Wt"), "n, n"), "h": (MatVec("A", "h_prev"), "n")},
        static={"W": "n, n"},
        carries={"h_prev": "h"},
        prologue=("Wt", "A"),
        written=("h",),
    ),
    "parts": recurrence(
        {
            "J": (Concat(("W", "V")), "n + n, d"),
            "L": (Slice("J", Size((), 1), N), "n, d"),
            "u": (MatVec("J", "x"), "n + n"),
            "a": (Slice("u", Size(), N), "n"),
            "b": (Slice("u", Size((), 2), N), "n"),
            "v": (Concat(("a", "h_prev", "x", "a")), "n + n + d + n"),
            "w": (Slice("v", N, N + D), "n + d"),
            "h": (expr("a * b"), "n"),
            "g": (MatVec("L", "x"), "n"),
        },
        static={"W": "n, d", "V": "n, d"},
        read={"x": "d"},
        carries={"h_prev": "h"},
        prologue=("J", "L"),
        written=("w", "h", "g"),
    ),
    "matrices": recurrence(
        {
            "va": (Along("v", 0, D), "n, d"),
            "xa": (Along("x", 1, N), "n, d"),
            "P": (expr("a * S_prev * xa"), "n, d"),
            "u": (AxisSum("P", 1), "n"),
            "ua": (Along("u", 0, D), "n, d"),
            "S": (expr("a * S_prev + (va - ua) * xa + A"), "n, d"),
            "w": (AxisSum("S", 0), "d"),
            "s": (FeatureSum("S"), ""),
            "y": (expr("tanh(w) * s"), "d"),
        },
        static={"v": "n", "A": "n, d", "a": ""},
        read={"x": "d"},
        carries={"S_prev": "S"},
        written=("y", "u"),
    ),
    "index": recurrence(
        {"p": (Pick("x", "j"), ""), "q": (expr("p * tanh(p)"), ""), "y": (Spread("q", "j", D), "d"), "z": (expr("y * x"), "d")},
        read={"x": "d", "j": ""},
        written=("p", "z"),
        index="j",
    ),
}


def inputs_of(rec: Recurrence) -> Values:
    rng = np.random.default_rng(11)
    values: Values = {}
    for name in rec.inputs:
        kind = rec.types[name]
        lead = (T, B) if name in rec.sequences else (B,) if kind.batched else ()
        shape = (*lead, *(size.evaluate(SIZES) for size in kind.shape))
        values[name] = rng.integers(0, SIZES["d"], shape) if kind.integer else rng.standard_normal(shape)
    return values


def outputs_of(rec: Recurrence, values: Mapping[str, Array]) -> Values:
    result = run(rec, values, SIZES, T, B)
    return {**result.sequences, **result.results, **{f"final:{name}": value for name, value in result.carries.items()}}


def differences(rec: Recurrence, values: Values, weights: Values) -> Values:
    """Return the derivative of Σ <weight, output> by each entry of each input: central differences of order four."""

    def objective(name: str, at: tuple[int, ...], by: float) -> float:
        moved = values[name].copy()
        moved[at] += by
        return float(sum((weights[k] * v).sum() for k, v in outputs_of(rec, {**values, name: moved}).items()))

    found, e = {}, 2e-3
    for name in (n for n in values if not rec.types[n].integer):
        gradient = np.zeros(values[name].shape)
        for at in np.ndindex(gradient.shape):
            near, far = (objective(name, at, k * e) - objective(name, at, -k * e) for k in (1, 2))
            gradient[at] = (8 * near - far) / (12 * e)
        found[name] = gradient
    return found


@pytest.mark.parametrize("name", RECURRENCES)
def test_rule_against_finite_differences(name: str) -> None:
    rec = RECURRENCES[name]
    check_gradient(rec, adjoint(rec))


@pytest.mark.parametrize("name", RECURRENCES)
def test_rule_of_the_adjoint_against_finite_differences(name: str) -> None:
    """The adjoint is a recurrence like any other: its own adjoint is held against differences of it."""
    rec = adjoint(RECURRENCES[name]).recurrence
    check_gradient(rec, adjoint(rec))


def check_gradient(rec: Recurrence, adj: Adjoint) -> None:
    """Hold the adjoint of `rec` against finite differences for every input."""
    values, rng = inputs_of(rec), np.random.default_rng(12)
    weights = {name: rng.standard_normal(value.shape) for name, value in outputs_of(rec, values).items()}
    expected = differences(rec, values, weights)
    read = adj.recurrence
    kept = run(keeping_for(rec, adj), values, SIZES, T, B)
    given = {**values, **kept.sequences, **kept.results}
    given |= {seed: weights[value] for value, seed in seeds_of(rec, adj).items()}
    given |= {adj.cotangent[result]: weights[result] for result in rec.results}
    given |= {into.previous: weights[f"final:{carry.previous}"] for into, carry in zip(read.carries, rec.carries, strict=True)}
    result = run(read, given, SIZES, T, B)
    found = {**result.sequences, **result.results}
    gradients = {name: found[adj.cotangent[name]] for name in (*rec.statics, *rec.contexts, *rec.sequences) if name in expected}
    gradients |= {carry.previous: result.carries[into.previous] for into, carry in zip(read.carries, rec.carries, strict=True)}
    assert gradients.keys() == expected.keys()
    normalised = {eq.node.normalised for eq in rec.equations() if isinstance(eq.node, Across)} & expected.keys()
    for known in (gradients, expected):  # a normalised value has mean 0, whatever changes: what is common to all its features is free
        known.update({name: known[name] - known[name].mean(axis=-1, keepdims=True) for name in normalised})
    for key, value in expected.items():
        np.testing.assert_allclose(gradients[key], value, rtol=1e-7, atol=1e-7 * max(1.0, np.abs(value).max()), err_msg=key)


def test_every_rule_is_covered() -> None:
    covered = {type(eq.node) for rec in RECURRENCES.values() for eq in rec.equations()}
    others = {Clipped, Repeat, HeadSum, Merge, Part}  # see tests/calculus/test_changed_gradients.py and test_heads.py
    assert covered == set(RULES) - others
