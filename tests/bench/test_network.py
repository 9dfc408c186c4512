"""A network around a cell: that every contender makes the same step of training."""

from __future__ import annotations

import importlib
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import generated

from derive.bench import network, pytorch_network
from derive.bench.compare import Settings, compare
from derive.bench.contender import Array, Trainer, sizes_of
from derive.bench.measure import Clock, Limits
from derive.bench.network import Network, absence
from derive.bench.peers import NO_LAYER, PEERS
from derive.bench.phases import MODEL, TRAINING
from derive.bench.pytorch import looped
from derive.bench.record import Timing
from derive.cell import Cell
from derive.cells import REGISTRY
from derive.verify.problem import initial

B, T, D, N = 2, 4, 3, 5
CAN_COMPILE = shutil.which("g++") is not None and (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file()
BUILT_IN, WRITTEN = ("lstm", "gru", "rnn"), ("lstm", "mut1", "lmu", "lstm_layernorm")


def around(name: str, dtype: str = "float64") -> Network:
    cell, module = REGISTRY[name], generated(name)
    return network.network(initial(module, cell, sizes=sizes_of(cell, D, N), steps=T, batch=B, dtype=dtype))


def stepped(trainer: Trainer) -> tuple[float, dict[str, Array]]:
    """Return the loss of one step of training, and what has become of the parameters."""
    loss = float(trainer.step())
    return loss, {name: np.array(value) for name, value in trainer.parameters().items()}


def agree(name: str, peer: str) -> None:
    """Compare the loss and all parameters after a step with ours."""
    given = around(name)
    loss, own = stepped(pytorch_network.ours(given, generated(name)))
    other_loss, other = stepped(PEERS[peer].train(given))
    assert loss == pytest.approx(other_loss, rel=1e-12)
    assert own.keys() == other.keys() == {*given.dense, *given.p.cell.parameters} - {*given.p.cell.fixed}
    for key, value in own.items():
        np.testing.assert_allclose(value, other[key], rtol=1e-10, atol=1e-13, err_msg=key)
        assert not np.array_equal(value, {**given.dense, **given.p.parameters}[key]), key


@pytest.mark.parametrize("name", BUILT_IN)
def test_layers_of_pytorch_make_the_same_step(name: str) -> None:
    agree(name, "torch.nn")


@pytest.mark.parametrize("name", WRITTEN)
def test_eager_pytorch_makes_the_same_step(name: str) -> None:
    agree(name, "eager")


@pytest.mark.parametrize("peer", ["jax", "jax-kernels"])
@pytest.mark.parametrize("name", ["gru", "lmu"])
def test_jax_makes_the_same_step(name: str, peer: str) -> None:
    pytest.importorskip("jax")
    agree(name, peer)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's compiler about itself
@pytest.mark.skipif(not CAN_COMPILE, reason="torch.compile needs a C++ compiler and Python's headers")
@pytest.mark.exhaustive
@pytest.mark.parametrize("peer", ["scan", "nn-compile"])
def test_compiled_pytorch_makes_the_same_step(peer: str) -> None:
    agree("rnn", peer)


def test_steps_go_down_and_leave_the_given_numbers_alone() -> None:
    given = around("gru")
    before = {name: value.copy() for name, value in (given.dense | given.p.parameters).items()}
    trainer = pytorch_network.ours(given, generated("gru"))
    losses = [float(trainer.step()) for _ in range(5)]
    assert losses == sorted(losses, reverse=True) and len({*losses}) == 5
    for name, value in (given.dense | given.p.parameters).items():
        assert np.array_equal(value, before[name])


def test_a_generated_layer_has_the_gradients_of_the_written_one() -> None:
    """Of its input too, which the layer before it needs."""
    given = around("lstm")
    x = torch.tensor(given.p.arrays["x"], requires_grad=True)
    layers = pytorch_network.generated(given.p, generated("lstm")), looped(given.p)
    got, want = (torch.autograd.grad(layer.run([x]).square().sum(), x)[0] for layer in layers)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_our_steps_are_made_on_the_threads_of_pytorch_where_they_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = importlib.import_module("generated.runtime.threads")
    asked = list[str]()

    @contextmanager
    def pool(name: str) -> Iterator[None]:
        asked.append(f"in {name}")
        yield
        asked.append("out")

    monkeypatch.setattr(threads, "pool", pool)
    trainer = pytorch_network.ours(around("rnn"), generated("rnn"))
    trainer.step()
    trainer.step()
    assert asked == ["in torch", "out"] * 2


# Rows


def rows(name: str, *phases: str) -> list[Any]:
    settings = Settings("float64", ("torch.nn", "eager"), phases, Limits(2), Clock())
    return list(compare(REGISTRY[name], generated(name), (B, T, D, N), settings))


def test_a_row_of_a_model() -> None:
    training, model = rows("mut1", TRAINING, MODEL)
    assert model.phase == MODEL and (model.d, model.n) == (N, N)
    assert model.operations == training.operations + 2 * B * T * (2 + 3) * N * N  # no gradient by the first layer's input
    assert model.peers["torch.nn"] == NO_LAYER and isinstance(model.peers["eager"], Timing)


def test_there_is_no_row_where_the_cell_is_no_layer() -> None:
    assert rows("softmax_cross_entropy", MODEL) == []


def test_what_is_no_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [absence(REGISTRY[name]) for name in (*BUILT_IN, *WRITTEN)] == [""] * 7
    assert "one input" in absence(REGISTRY["softmax_cross_entropy"])
    one = Cell("h = tanh(U @ h_prev + V @ k + W @ x)", name="conditioned", output="h", context=("k",), shapes={"k": "m"})
    assert "one input" in absence(one)
    picked = Cell("h = tanh(U @ h_prev + pick(b, x))", name="picked", output="h", shapes={"x": ""})
    assert "no vector of numbers" in absence(picked)
    scalar = Cell("s = s_prev + sum(x)", name="total", output="s")
    assert "output" in absence(scalar)
    assert "no parameters" in absence(Cell("h = tanh(x + h_prev)", name="bare", output="h"))
    monkeypatch.setattr(network.importlib.util, "find_spec", lambda name: None)
    assert absence(REGISTRY["lstm"]) == "torch is not installed"
