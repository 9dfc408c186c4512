"""Tapes that choose by their size what they keep: states before some steps where all would have more bytes than is said."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_same_bits, generated
from helpers.matrix_cells import DELTA

import derive
from derive.cells import REGISTRY
from derive.verify.problem import directions, sample
from derive.verify.second import kernels
from derive.verify.witnesses import arguments
from generated.runtime import tapes
from generated.torch import layer

STEPS, BATCH, SIZES = 9, 3, {"d": 5, "H": 2, "d_k": 3, "d_v": 4}
LENGTHS = np.array([4, 9, 0])
OPTIONS = [{}, {"lengths": LENGTHS}, {"reverse": True}, {"lengths": LENGTHS, "reverse": True}]
every_way = pytest.mark.parametrize("options", OPTIONS, ids=str)


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    yield
    tapes.set_limit(tapes.LIMIT)


class Given:
    """A module of gated DeltaNet, and what it is given."""

    def __init__(self, dtype: Any = np.float64) -> None:
        p = sample(REGISTRY["gated_deltanet"], sizes=SIZES, steps=STEPS, batch=BATCH)
        self.module = m = generated("gated_deltanet")
        self.x, self.dy = p.arrays["x"].astype(dtype), p.dy.astype(dtype)
        self.params = m.Params(*(value.astype(dtype) for value in p.parameters.values()))
        self.state = m.State(*(value.astype(dtype) for value in p.states.values()))

    def tape(self, **options: Any) -> Any:
        return self.module.forward(self.x, self.params, self.state, **options)[2]

    def run(self, **options: Any) -> tuple[Any, ...]:
        """Return output, final state and gradients, and whether all was kept."""
        y, final, tape = self.module.forward(self.x, self.params, self.state, **options)
        return y, final, self.module.backward(self.dy, tape, final), isinstance(tape.saved, self.module.Saved)

    def size(self, **options: Any) -> int:
        """Return how many bytes a full tape has, as its arrays say."""
        return sum(value.nbytes for value in self.tape(tape="full", **options).saved)


@every_way
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_is_kept_up_to_the_limit(dtype: Any, options: dict[str, Any]) -> None:
    given = Given(dtype)
    full, again = (given.run(tape=tape, **options) for tape in ("full", "recompute"))
    assert full[-1] and not again[-1]
    tapes.set_limit(given.size(**options))
    assert_same_bits(given.run(**options), full)
    assert_same_bits(given.run(tape="auto", **options), full)
    tapes.set_limit(given.size(**options) - 1)
    assert_same_bits(given.run(**options), again)


def test_calls_that_are_recorded_choose_anew() -> None:
    given = Given(np.float32)
    full, again = (given.run(tape=tape) for tape in ("full", "recompute"))
    for size, want in ((tapes.LIMIT, full), (0, again), (1 << 20, full), (100, again), (tapes.LIMIT, full)):
        tapes.set_limit(size)
        for _ in range(4):  # the second of a kind is recorded
            assert_same_bits(given.run(), want)


def test_packed_parameters() -> None:
    given = Given()
    tapes.set_limit(0)
    want = given.run()
    given.params = given.module.pack(given.params)
    assert_same_bits(given.run(), want)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_what_is_one_segment_is_kept(steps: int) -> None:
    given = Given()
    given.x = given.x[:steps]
    tapes.set_limit(0)
    assert isinstance(given.tape().saved, given.module.Saved)


def test_only_states_that_are_matrices_choose_unasked() -> None:
    tapes.set_limit(0)
    chosen = {}
    for name, cell in REGISTRY.items():
        chosen[name] = inspect.signature(generated(name).forward).parameters["tape"].default
        assert chosen[name] == ("auto" if any(len(cell.shapes[state]) == 2 for state in cell.states) else "full"), name
    assert chosen["slstm_heads"] == "full" and chosen["mamba"] == "auto"
    lstm = generated("lstm")
    x, params = np.zeros((STEPS, 2, 3)), lstm.init(3, 4, dtype=np.float64)
    assert isinstance(lstm.forward(x, params)[2].saved, lstm.Saved)
    assert len(lstm.forward(x, params, tape="auto")[2].saved.states) == 3


def test_second_order_runs_the_steps_again() -> None:
    module = derive.compile(DELTA, order=2)
    own = importlib.import_module(f"{module.__package__}.runtime.tapes")
    p = sample(DELTA, steps=STEPS, batch=BATCH)
    given, found = arguments(module, p)[0], []
    for size in (own.LIMIT, 0):
        own.set_limit(size)
        assert isinstance(module.forward(*given)[2].saved, module.Saved) == (size > 0)
        found.append(tuple(kernels(module, p, directions(p)).named().values()))
    own.set_limit(own.LIMIT)
    assert_same_bits(*found)


@pytest.mark.parametrize("size", [-1, 1.5, True, "1", None])
def test_a_limit_is_a_number_of_bytes(size: Any) -> None:
    with pytest.raises(ValueError, match="the limit of a tape must be a whole number of bytes, of at least 0, not "):
        tapes.set_limit(size)
    assert tapes.get_limit() == tapes.LIMIT


def test_a_limit_of_the_environment() -> None:
    code = "from generated.runtime import tapes; print(tapes.get_limit())"

    def printed(value: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, tapes.VARIABLE: value}, capture_output=True, text=True)
        return (done.stdout or done.stderr.splitlines()[-1]).strip()

    assert printed("4096") == "4096"
    assert printed("1 GiB") == "ValueError: DERIVE_TAPE_LIMIT must be a whole number of bytes, of at least 0, not '1 GiB'"


def test_docstrings_have_the_limit() -> None:
    assert tapes.LIMIT == 1 << 30
    assert "if all is over 1 GiB (`runtime.tapes`)" in generated("deltanet").forward.__doc__


# Layers of PyTorch


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}], ids=str)
@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_keep_what_the_module_would(bidirectional: bool, starts: bool, options: dict[str, Any]) -> None:
    made = layer("gated_deltanet", **SIZES, bidirectional=bidirectional, dtype=torch.float64)
    found, counts = [], []
    for size in (tapes.LIMIT, 0):
        tapes.set_limit(size)
        held: list[torch.Tensor] = []
        x = torch.linspace(-1, 1, STEPS * BATCH * 5, dtype=torch.float64).reshape(STEPS, BATCH, 5).requires_grad_()
        directions = 1 + bidirectional
        start = torch.linspace(-1, 1, directions * BATCH * 24, dtype=torch.float64).reshape(directions, BATCH, 2, 4, 3)
        with torch.autograd.graph.saved_tensors_hooks(lambda value, held=held: held.append(value) or value, lambda value: value):
            y, final = made(x, (start,) if starts else None, **options)
        loss = y.square().sum() + final.S.sum()
        found.append(torch.autograd.grad(loss, [x, *made.parameters()]))
        counts.append(sum(value.numel() for value in held))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)
    assert counts[1] < counts[0]


def test_layers_have_the_bits_of_a_module() -> None:
    given = Given()
    tapes.set_limit(0)
    y, final, grads, kept = given.run()
    made = layer("gated_deltanet", **SIZES, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in zip(made.parameters(), given.params, strict=True):
            parameter.copy_(torch.from_numpy(value))
    x, start = torch.from_numpy(given.x).requires_grad_(), torch.from_numpy(given.state.S)[None].requires_grad_()
    out, last = made(x, (start,))
    torch.autograd.backward([out, last.S], [torch.from_numpy(given.dy), last.S.detach()])
    assert not kept
    got = (out, last.S[0], x.grad, *(parameter.grad for parameter in made.parameters()), start.grad[0])
    assert_same_bits(tuple(value.detach().numpy() for value in got), (y, final.S, grads.x, *grads.params, grads.state.S))


def test_layers_are_differentiated_twice() -> None:
    module = derive.compile(DELTA, order=2)
    own = importlib.import_module(f"{module.__package__}.runtime.tapes")
    made, found = layer(module, d=5, k=3, v=4, dtype=torch.float64), []
    for size in (own.LIMIT, 0):
        own.set_limit(size)
        x = torch.linspace(-1, 1, STEPS * BATCH * 5, dtype=torch.float64).reshape(STEPS, BATCH, 5).requires_grad_()
        (first,) = torch.autograd.grad(made(x)[0].square().sum(), x, create_graph=True)
        found.append((first, *torch.autograd.grad(first.square().sum(), [x, *made.parameters()])))
    own.set_limit(own.LIMIT)
    for got, want in zip(*found, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_layers_say_what_is_wrong_with_arguments() -> None:
    made = layer("gated_deltanet", **SIZES)
    x = torch.zeros(STEPS, BATCH, 5, requires_grad=True)
    with pytest.raises(ValueError, match="gated_deltanet: lengths must lie in 0 … T = 9, got 4 … 12"):
        made(x, lengths=[4, 12, 5])
    with pytest.raises(ValueError, match=r"gated_deltanet: (x|params.W_q) has shape"):
        made(x[..., :2])
