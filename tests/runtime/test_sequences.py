"""Sequences of unequal length, sequences run backwards, and tapes that are computed again: each is what plain calls give."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, generated, leaves, package

from derive import Cell
from derive.cells import REGISTRY
from derive.verify.problem import Scales, sample

STEPS, BATCH, SIZES = 7, 5, {"d": 3, "n": 4}
LENGTHS = np.array([4, 7, 0, 1, 4])
HALF = Scales(0.5, 0.5, 0.5, 0.5)
FURTHER = (
    # a context whose gradient is a sum over steps, and is read at all steps at once
    Cell("h = tanh(W @ x + V @ v + U @ h_prev + v * h_prev)", name="conditioned", output="h", context=("v",), shapes={"v": "n"}),
    # a product of a previous state after the loop
    Cell("s = tanh(U @ s_prev + x)\na, b = split([V @ s_prev, s], 2)\nh = a * b", name="late", output="h"),
    Cell("h = tanh(U @ h_prev + b)", name="free", output="h", inputs=()),
    Cell("m = 0.5 * m_prev + s @ x\nh = m * (W @ x)", name="scalar_state", output="h", shapes={"s": "d", "m": ""}),
    # an input and a context without a gradient
    Cell("h = tanh(W @ x + U @ (m * h_prev)) * k", name="told", output="h", inputs=("x", "k"), context=("m",), fixed=("m", "k")),
    Cell("s = s_prev + pick(a, k)\nh = softmax(a) * s", name="picked", output="h", inputs=("a", "k"), shapes={"s": ""}),
)
CELLS = {cell.name: cell for cell in (*REGISTRY.values(), *FURTHER)}


def module_of(name: str) -> ModuleType:
    return generated(name) if name in REGISTRY else package(*FURTHER)[name]


class Given:
    """A module, and arguments and cotangents for it in float64; what lies past an end is NaN."""

    def __init__(self, name: str, lengths: np.ndarray | None = None) -> None:
        self.cell, self.module = CELLS[name], module_of(name)
        drawn = sample(self.cell, sizes=SIZES, steps=STEPS, batch=BATCH, seed=1, scales=HALF)
        p = drawn if lengths is None else drawn.ragged(lengths)
        self.given = {**p.inputs, **p.context}
        self.params, self.state = self.module.Params(**p.parameters), self.module.State(**p.states)
        self.dy, self.dfinal = p.dy, self.module.State(**p.dfinal)

    def forward(self, given: dict[str, np.ndarray], state: Any, function: str = "forward", **options: Any) -> Any:
        if not self.cell.inputs:
            return getattr(self.module, function)(None, self.params, state, **given, **options)
        first, *rest = self.cell.inputs
        further = {key: given[key] for key in (*rest, *self.cell.context)}
        return getattr(self.module, function)(given[first], self.params, state, **further, **options)

    def steps(self, count: int) -> dict[str, int]:
        return {} if self.cell.inputs else {"steps": count}

    def run(self, **options: Any) -> tuple[Any, ...]:
        """Return output, final state, gradients, and what `infer` gives."""
        options = {**options, **self.steps(STEPS)}
        y, final, tape = self.forward(self.given, self.state, **options)
        grads = self.module.backward(self.dy, tape, self.dfinal)
        return y, final, grads, self.forward(self.given, self.state, "infer", **{k: v for k, v in options.items() if k != "tape"})

    def alone(self, lengths: np.ndarray, *, reverse: bool) -> tuple[Any, ...]:
        """Return the same, each sequence by itself, cut to its length and turned round."""
        y, final = np.zeros_like(self.dy), self.module.State(*map(np.zeros_like, self.state))
        over_time = {key: np.zeros(np.shape(value)) for key, value in self.given.items()}
        initial, total = self.module.State(*map(np.zeros_like, self.state)), None
        for b, length in enumerate(lengths):
            one = slice(b, b + 1)
            place = (np.arange(length)[::-1] if reverse else np.arange(length), one)
            given = {key: value[place] if key in self.cell.inputs else value[one] for key, value in self.given.items()}
            state = self.module.State(*(v[one] for v in self.state))
            y_b, final_b, tape = self.forward(given, state, **self.steps(int(length)))
            grads = self.module.backward(self.dy[place], tape, self.module.State(*(v[one] for v in self.dfinal)))
            y[place] = y_b
            for out, value in ((final, final_b), (initial, grads.state)):
                for target, part in zip(out, value, strict=True):
                    target[one] = part
            for key, out in over_time.items():
                if getattr(grads, key) is not None:
                    out[place if key in self.cell.inputs else one] = getattr(grads, key)
            params = [np.zeros(0) if p is None else p for p in grads.params]
            total = params if total is None else [p + q for p, q in zip(total, params, strict=True)]
        return y, final, over_time, total, initial


def arrays(values: Any) -> list[np.ndarray]:
    return list(leaves(values).values())


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_sequences_of_unequal_length(name: str, reverse: bool) -> None:
    problem = Given(name, LENGTHS)
    y, final, grads, (y_inferred, final_inferred) = problem.run(lengths=LENGTHS, reverse=reverse)
    y_want, final_want, over_time, params, initial = problem.alone(LENGTHS, reverse=reverse)
    close(y, y_want)
    close(y_inferred, y_want)
    for got, inferred, want in zip(final, final_inferred, final_want, strict=True):
        close(got, want)
        close(inferred, want)
    for key, want in over_time.items():
        if getattr(grads, key) is not None:
            close(getattr(grads, key), want)
    for got, want in zip(grads.params, params, strict=True):
        close(np.zeros(0) if got is None else got, want)
    for got, want in zip(grads.state, initial, strict=True):
        close(got, want)


@pytest.mark.parametrize("name", ["lstm", "gru", "conditioned", "picked"])
def test_reversed_sequences_of_one_length(name: str) -> None:
    problem = Given(name)
    y, final, grads, _ = problem.run(reverse=True)
    turned = {key: value[::-1] if key in problem.cell.inputs else value for key, value in problem.given.items()}
    y_want, final_want, tape = problem.forward(turned, problem.state)
    want = problem.module.backward(problem.dy[::-1], tape, problem.dfinal)
    assert_same_bits(y, y_want[::-1])
    for key in problem.given:
        if getattr(want, key) is not None:
            close(getattr(grads, key), getattr(want, key)[::-1] if key in problem.cell.inputs else getattr(want, key))
    for got, wanted in zip(arrays((final, grads.params, grads.state)), arrays((final_want, want.params, want.state)), strict=True):
        close(got, wanted)


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"reverse": True}, {"lengths": LENGTHS, "reverse": True}], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_a_tape_that_is_computed_again(name: str, options: dict[str, Any]) -> None:
    problem = Given(name, options.get("lengths"))
    y, final, grads, _ = problem.run(**options)
    again = problem.run(tape="recompute", **options)
    # A loop over few features that adds them up takes vectors of another width where rows of a state lie close together in memory.
    if "added(" in Path(problem.module.__file__).read_text(encoding="utf-8"):
        close(y, again[0])
    else:
        assert_same_bits(y, again[0])
    for got, want in zip(arrays((again[1], again[2])), arrays((final, grads)), strict=True):
        close(got, want)


def test_recomputing_keeps_a_state_for_every_segment() -> None:
    module = generated("lstm")
    x = np.zeros((101, 2, 3))
    tape = module.forward(x, module.init(3, 4, dtype=np.float64), tape="recompute")[2]
    assert tape.saved.every == 11 and len(tape.saved.states) == 10


def test_lengths_that_are_all_whole_change_nothing() -> None:
    problem = Given("gru")
    got, want = problem.run(lengths=np.full(BATCH, STEPS)), problem.run()
    for a, b in zip(arrays(got), arrays(want), strict=True):
        close(a, b)
    assert_same_bits(got[0], want[0])


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("options", [{"lengths": np.zeros(2, int)}, {"reverse": True}, {"tape": "recompute"}], ids=str)
def test_no_step_and_one(steps: int, options: dict[str, Any]) -> None:
    module = generated("lstm")
    y, final, tape = module.forward(np.ones((steps, 2, 3)), module.init(3, 4, dtype=np.float64), **options)
    grads = module.backward(np.ones_like(y), tape, final)
    assert grads.x.shape == (steps, 2, 3) and all(np.isfinite(leaf).all() for leaf in arrays((y, final, grads)))


REFUSED = {
    "lengths as text": ({"lengths": "long"}, "lengths must be whole numbers of shape"),
    "lengths of another batch": ({"lengths": [1, 2, 3]}, r"of shape \(B,\) = \(2,\), got int64 of shape \(3,\)"),
    "lengths not whole": ({"lengths": [1.0, 2.0]}, "lengths must be whole numbers"),
    "lengths beyond the end": ({"lengths": [1, 5]}, r"lengths must lie in 0 … T = 4, got 1 … 5"),
    "negative lengths": ({"lengths": [-1, 2]}, r"lengths must lie in 0 … T = 4, got -1 … 2"),
    "reverse as text": ({"reverse": "yes"}, "reverse must be True or False, got 'yes'"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("function", ["forward", "infer"])
def test_refused(function: str, case: str) -> None:
    module = generated("gru")
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"^gru: .*{message}"):
        getattr(module, function)(np.zeros((4, 2, 3)), module.init(3, 5, dtype=np.float64), **options)


@pytest.mark.parametrize("name", CELLS)
def test_products_of_inputs_at_each_step_or_for_all_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Given(name)
    checked = importlib.import_module(f"{problem.module.__package__}.runtime.cpu.checked")
    results = []
    for inline in (True, False):
        monkeypatch.setattr(checked, "step_by_step", lambda *_, inline=inline: inline)
        results.append((problem.run(), problem.run(lengths=LENGTHS, reverse=True)))
    assert_same_bits(*results)
