"""Weights that are promised to stay: packed once, the same bits, and what is written to them in PyTorch's sight is seen."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_leaves

import generated.torch as ours
from generated.runtime.torch import held
from generated.runtime.torch.passes import Passes
from generated.torch import packed

T, B, D, N = 4, 3, 5, 6


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The modules whose weights are packed, as that happens; after a test no promise is left."""
    found: list[str] = []
    pack = Passes.pack
    monkeypatch.setattr(Passes, "pack", lambda self, weights: (found.append(self.module.LAYER.name), pack(self, weights))[1])
    yield found
    assert held.PROMISES == []


def assert_same(got: Any, want: Any) -> None:
    for a, b in zip(tree_leaves(got), tree_leaves(want), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a is b is None


LAYERS: dict[str, Any] = {
    "RNN": lambda: ours.RNN(D, N, nonlinearity="relu"),
    "GRU": lambda: ours.GRU(D, N, bias=False),
    "LSTM": lambda: ours.LSTM(D, N, num_layers=2, bidirectional=True),
    "projected": lambda: ours.LSTM(D, N, proj_size=2),
    "float64": lambda: ours.LSTM(D, N, dtype=torch.float64),
    "any cell": lambda: ours.layer("lstm_peephole", D, N, num_layers=2, bidirectional=True),
    "any cell, once differentiable": lambda: ours.layer("ugrnn", D, N),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_same_bits(kind: str, made: list[str]) -> None:
    layer = LAYERS[kind]().eval()
    dtype = next(layer.parameters()).dtype
    x = torch.randn(T, B, D, dtype=dtype)
    calls: list[tuple[Any, dict[str, Any]]] = [(x, {})]
    if isinstance(layer, nn.RNNBase):
        calls.append((pack_sequence([torch.randn(steps, D, dtype=dtype) for steps in (4, 2, 1)]), {}))
    else:
        calls.append((x, {"lengths": [2, 4, 0]}))
    with torch.inference_mode():
        for given, options in calls:
            want = layer(given, **options)
            with packed(layer):
                for _ in range(4):  # the later ones are done as they were recorded
                    assert_same(layer(given, **options), want)
    places = getattr(layer, "num_layers", 1) * (1 + layer.bidirectional)
    assert len(made) == places * len(calls)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_in_a_model(kind: str, made: list[str]) -> None:
    model = nn.ModuleDict({"cell": getattr(ours, kind)(D, N), "head": nn.Linear(N, 2)}).requires_grad_(False)
    x = torch.randn(B, D)
    want = model["cell"](x)
    with packed(model):
        assert_same([model["cell"](x) for _ in range(3)], [want] * 3)
    assert len(made) == 1


def test_what_an_optimiser_writes_is_seen(made: list[str]) -> None:
    layer, x = ours.GRU(D, N), torch.randn(T, B, D)
    optimiser = torch.optim.Adam(layer.parameters(), 0.1)
    with packed(layer):
        for _ in range(3):
            with torch.no_grad():
                before = layer(x)
                assert_same(layer(x), before)
            layer(x)[0].square().sum().backward()
            optimiser.step()
            with torch.no_grad():
                after = layer(x)
            assert not torch.equal(after[0], before[0])
            assert_same(after, copy.deepcopy(layer)(x))
    assert len(made) == 4


@torch.no_grad()
def test_other_memory_and_another_dtype_are_seen() -> None:
    layer, x = ours.LSTM(D, N), torch.randn(T, B, D)
    other = ours.LSTM(D, N)
    with packed(layer):
        layer(x)
        layer.load_state_dict(other.state_dict())
        assert_same(layer(x), other(x))
        assert_same(layer.double()(x.double()), other.double()(x.double()))
        for own, theirs in zip(layer.parameters(), ours.LSTM(D, N, dtype=torch.float64).parameters(), strict=True):
            own.data = theirs.data
        assert_same(layer(x.double()), copy.deepcopy(layer)(x.double()))
        layer.weight_ih_l0 = nn.Parameter(torch.zeros_like(layer.weight_ih_l0))  # promised is a parameter, and not its place
        assert_same(layer(x.double()), copy.deepcopy(layer)(x.double()))


@torch.no_grad()
def test_what_is_not_seen_is_the_callers_promise() -> None:
    layer, x = ours.LSTM(D, N), torch.randn(T, B, D)
    with packed(layer):
        before = layer(x)
        layer.weight_ih_l0.data.zero_()
        assert_same(layer(x), before)
    assert not torch.equal(layer(x)[0], before[0])


def test_copies_are_their_own(made: list[str]) -> None:
    layer, x = ours.layer("gru", D, N), torch.randn(T, B, D)
    with torch.no_grad(), packed(layer):
        want = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert_same(other(x), want)
            for weight in other.parameters():
                weight.data.zero_()  # of a copy nothing was promised
            assert not torch.equal(other(x)[0], want[0])
    assert made == ["gru"]


def test_within_one_another_and_after_an_exception(made: list[str]) -> None:
    one, two, x = ours.GRU(D, N), ours.GRU(D, N), torch.randn(T, B, D)
    with torch.no_grad(), packed(one):
        want = one(x)
        with pytest.raises(ZeroDivisionError), packed(one, two):
            assert_same(one(x), want)
            two(x)
            raise ZeroDivisionError
        assert len(held.PROMISES) == 1
        assert_same(one(x), want)
        two(x)
    assert len(made) == 2


def test_calls_with_a_graph_are_as_before(made: list[str]) -> None:
    layer, x = ours.LSTM(D, N, dtype=torch.float64), torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    with packed(layer):
        assert torch.autograd.gradgradcheck(lambda x: layer(x)[0].square().sum(), x)
        torch.func.jvp(lambda x: layer(x)[0], (x.detach(),), (x.detach(),))
        stacked = torch.func.vmap(lambda x: layer(x)[0])(x.detach()[None])
        assert torch.equal(stacked[0], layer(x)[0])
        with torch.no_grad():
            weights = {name: 2 * value for name, value in layer.named_parameters()}
            assert not torch.equal(torch.func.functional_call(layer, weights, (x,))[0], layer(x)[0])
    assert len(made) == 1


@torch.no_grad()
def test_bfloat16_and_autocast() -> None:
    layer, x = ours.LSTM(D, N), torch.randn(T, B, D)
    narrow = copy.deepcopy(layer).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        want = layer(x)
        with packed(layer):
            assert_same([layer(x), layer(x)], [want, want])
    want = narrow(x.bfloat16())
    with packed(narrow):
        assert_same(narrow(x.bfloat16()), want)


@torch.inference_mode()
def test_weights_that_do_not_count_what_is_written(made: list[str]) -> None:
    layer, x = ours.GRU(D, N), torch.randn(T, B, D)
    want = layer(x)
    with packed(layer):
        assert_same(layer(x), want)
        layer.weight_ih_l0.zero_()
        assert not torch.equal(layer(x)[0], want[0])
    assert made == []


def test_threads(made: list[str]) -> None:
    """Promises of several threads come and go while others are used: every result is right."""
    layers, x = [ours.GRU(D, N) for _ in range(4)], torch.randn(T, B, D)
    wrong: list[int] = []

    @torch.no_grad()
    def work(k: int) -> None:
        want = layers[k](x)[0]
        for _ in range(100):
            with packed(layers[k], layers[0]):
                if not (torch.equal(layers[k](x)[0], want) and layers[0](x)[0].isfinite().all()):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(made) >= 4


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match="packed: needs modules of PyTorch, got list"), packed([ours.GRU(D, N)]):
        pass
