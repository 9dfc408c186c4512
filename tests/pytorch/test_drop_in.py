"""Our layers where a program has those of `torch.nn`: the same numbers, shapes, names, and complaints."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence
from torch.utils._pytree import tree_leaves

import generated.torch as ours

D, N, T, B = 3, 5, 4, 6
KINDS = ("RNN", "LSTM", "GRU")
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {}) for kind in KINDS),
    *((kind, {"num_layers": 2, "bidirectional": True}) for kind in KINDS),
    *((kind, {"bias": False, "batch_first": True}) for kind in KINDS),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 2, "bias": False}),
]
IDS = [f"{kind} {' '.join(f'{name}={value}' for name, value in options.items())}".strip() for kind, options in OPTIONS]


def pair(kind: str, *sizes: int, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[Any, Any]:
    """Return PyTorch's layer and ours, made from the same seed."""
    found = []
    for package in (nn, ours):
        torch.manual_seed(1)
        found.append(getattr(package, kind)(*(sizes or (D, N)), dtype=dtype, **options))
    return found[0], found[1]


def assert_close(got: Any, want: Any, tolerance: float = 1e-12) -> None:
    """Compare tensors in whatever they lie."""
    got, want = ([leaf for leaf in tree_leaves(tree) if leaf is not None] for tree in (got, want))
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def states(kind: str, options: dict[str, Any], *batch: int, dtype: torch.dtype = torch.float64) -> Any:
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    h = torch.randn(layers, *batch, options.get("proj_size") or N, dtype=dtype)
    return (h, torch.randn(layers, *batch, N, dtype=dtype)) if kind == "LSTM" else h


def gradients(layer: Any, given: list[Any], result: Any) -> tuple[Any, ...]:
    """Return gradients of a loss of all results, by what is given and by all weights."""
    loss = sum((leaf * leaf.cos()).sum() for leaf in tree_leaves(result) if leaf is not None and leaf.is_floating_point())
    return torch.autograd.grad(loss, [*given, *layer.parameters()])


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=IDS)
@pytest.mark.parametrize("state", [False, True])
def test_results_and_gradients(kind: str, options: dict[str, Any], state: bool) -> None:
    theirs, own = pair(kind, **options)
    for (name, a), (other, b) in zip(theirs.state_dict().items(), own.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)
    x = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    hx = states(kind, options, T if options.get("batch_first") else B) if state else None
    given = [x, *tree_leaves(hx)] if state else [x]
    for value in given:
        value.requires_grad_()
    want, got = theirs(x, hx), own(x, hx)
    assert_close(got, want)
    assert_close(gradients(own, given, got), gradients(theirs, given, want), 1e-11)
    with torch.no_grad():
        assert_close(own(x, hx), want)


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=IDS)
@pytest.mark.parametrize("sort", [False, True])
def test_packed_sequences(kind: str, options: dict[str, Any], sort: bool) -> None:
    theirs, own = pair(kind, **options)
    lengths = [5, 3, 3, 1] if sort else [2, 5, 1, 3]
    x = torch.randn(4, 5, D, dtype=torch.float64, requires_grad=True)
    for hx in (None, states(kind, options, 4)):
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=sort)
        want, got = theirs(packed, hx), own(packed, hx)
        assert_close(got, want)
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=sort)
        assert_close(gradients(own, [x], got), gradients(theirs, [x], theirs(packed, hx)), 1e-11)


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=IDS)
def test_one_sequence_alone(kind: str, options: dict[str, Any]) -> None:
    theirs, own = pair(kind, **options)
    x = torch.randn(T, D, dtype=torch.float64)
    for hx in (None, states(kind, options)):
        assert_close(own(x, hx), theirs(x, hx))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_leaves_out_the_same(kind: str) -> None:
    theirs, own = pair(kind, dropout=0.5, num_layers=3)
    x = torch.randn(T, B, D, dtype=torch.float64)
    assert_close(own.eval()(x), theirs.eval()(x))
    own.train()
    torch.manual_seed(0)
    first = own(x)[0]
    assert not torch.equal(first, own(x)[0])
    torch.manual_seed(0)
    assert torch.equal(first, own(x)[0])


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (B,)])
def test_cells(kind: str, bias: bool, batch: tuple[int, ...]) -> None:
    theirs, own = pair(kind, bias=bias)
    x = torch.randn(*batch, D, dtype=torch.float64, requires_grad=True)
    h = [torch.randn(*batch, N, dtype=torch.float64) for _ in range(2)]
    for hx in (None, tuple(h) if kind == "LSTMCell" else h[0]):
        want, got = theirs(x, hx), own(x, hx)
        assert_close(got, want)
        assert_close(gradients(own, [x], got), gradients(theirs, [x], want), 1e-11)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_without_units(kind: str) -> None:
    theirs, own = pair(kind, D, 0)
    x = torch.randn(B, D, dtype=torch.float64)
    assert_close(own(x), theirs(x))
    assert_close(gradients(own, [], own(x)), gradients(theirs, [], theirs(x)))


# What a program does with a layer


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_files(kind: str) -> None:
    theirs, own = pair(kind, num_layers=2)
    x = torch.randn(T, B, D, dtype=torch.float64)
    want = own(x)
    for copied in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert type(copied) is type(own)
        assert_close(copied(x), want)
    file = io.BytesIO()
    torch.save(own.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file))
    own.load_state_dict(theirs.state_dict())
    assert repr(own) == repr(theirs) and own.all_weights[0][0] is own.weight_ih_l0
    own.flatten_parameters()
    assert_close(own.float()(x.float())[0], want[0].float(), 1e-5)


def test_models_are_converted_both_ways() -> None:
    class Odd(nn.LSTM):
        pass

    model = nn.ModuleDict({"a": nn.LSTM(3, 4), "b": nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 4)), "c": nn.RNNCell(3, 4), "d": Odd(3, 4)})
    made = ours.convert(model)
    assert [type(layer) for layer in made.modules() if isinstance(layer, (nn.RNNBase, nn.RNNCellBase))] == [
        ours.LSTM,
        ours.GRU,
        ours.RNNCell,
        Odd,
    ]
    assert type(model["a"]) is nn.LSTM
    x = torch.randn(T, B, 3)
    assert_close(made["a"](x), model["a"](x), 1e-6)
    back = ours.convert(made, back=True)
    assert [type(layer) for layer in back.modules()] == [type(layer) for layer in model.modules()]


def test_weights_that_are_computed() -> None:
    theirs, own = pair("LSTM")
    for layer in (theirs, own):
        nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", _Halved())
    x = torch.randn(T, B, D, dtype=torch.float64)
    got = own(x)[0]
    assert not torch.equal(got, pair("LSTM")[1](x)[0])
    own.parametrizations.weight_hh_l0.original.data.mul_(2)
    assert_close(own(x)[0], pair("LSTM")[1](x)[0])


class _Halved(nn.Module):
    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value / 2


@pytest.mark.parametrize("kind", KINDS)
def test_weights_altered_behind_the_back_are_read(kind: str) -> None:
    """A write through `.data` moves no version counter."""
    theirs, own = pair(kind)
    x = torch.randn(T, B, D, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(4):
            for layer in (theirs, own):
                layer.weight_hh_l0.data.mul_(1.1)
            assert_close(own(x), theirs(x))


@pytest.mark.parametrize("kind", [*KINDS, "RNNCell", "LSTMCell", "GRUCell"])
def test_bfloat16(kind: str) -> None:
    theirs, own = pair(kind, dtype=torch.bfloat16)
    x = torch.randn(*(() if "Cell" in kind else (T,)), B, D, dtype=torch.bfloat16)
    assert_close(own(x), theirs(x), 0.03)
    theirs, own = pair(kind, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        for given in (x, x.float()):
            assert_close(own(given), theirs(given), 0.03)


def test_training_lowers_a_loss() -> None:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(D, D), ours.LSTM(D, N), nn.Linear(N, 1)])
    x, target = torch.randn(T, B, D), torch.randn(T, B, 1)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (model[2](model[1](model[0](x))[0]) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


# What is refused

BAD: dict[str, Any] = {
    "one axis": lambda layer: layer(torch.zeros(D)),
    "another width": lambda layer: layer(torch.zeros(T, B, D + 1)),
    "another dtype": lambda layer: layer(torch.zeros(T, B, D, dtype=torch.float64)),
    "states of another batch": lambda layer: layer(torch.zeros(T, B, D), _state(layer, 1, B + 1, N)),
    "states of another width": lambda layer: layer(torch.zeros(T, B, D), _state(layer, 1, B, N + 1)),
    "states without a batch": lambda layer: layer(torch.zeros(T, B, D), _state(layer, 1, N)),
    "states with a batch": lambda layer: layer(torch.zeros(T, D), _state(layer, 1, B, N)),
}


def _state(layer: Any, *shape: int) -> Any:
    return (torch.zeros(shape),) * 2 if isinstance(layer, nn.LSTM) else torch.zeros(shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", BAD)
def test_it_complains_as_pytorch_does(kind: str, bad: str) -> None:
    said = []
    for layer in pair(kind, dtype=torch.float32):
        with pytest.raises((ValueError, RuntimeError)) as raised:
            BAD[bad](layer)
        said.append((raised.type, str(raised.value)))
    assert said[1] == said[0]


CELLS_BAD: dict[str, Any] = {
    "width": (torch.zeros(B, D + 1), torch.zeros(B, N)),
    "states of another batch": (torch.zeros(B, D), torch.zeros(B + 1, N)),
    "states of another width": (torch.zeros(B, D), torch.zeros(B, N + 1)),
    "states of three axes": (torch.zeros(B, D), torch.zeros(1, B, N)),
}


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bad", CELLS_BAD)
def test_cells_complain_as_pytorch_does(kind: str, bad: str) -> None:
    x, h = CELLS_BAD[bad]
    for hx in ((h, torch.zeros(B, N)), (torch.zeros(B, N), h)) if kind == "LSTMCell" else (h,):
        said = []
        for cell in pair(kind, dtype=torch.float32):
            with pytest.raises((ValueError, RuntimeError)) as raised:
                cell(x, hx)
            said.append((raised.type, str(raised.value)))
        assert said[1] == said[0]


def test_float16_is_refused() -> None:
    layer = ours.LSTM(D, N).half()
    with pytest.raises((TypeError, ValueError), match="float16"):
        layer(torch.zeros(T, B, D, dtype=torch.float16))


def test_lengths_of_packed_sequences_are_checked_by_pytorch() -> None:
    with pytest.raises(RuntimeError, match="greater than 0"):
        ours.LSTM(D, N)(pack_sequence([torch.zeros(2, D), torch.zeros(0, D)]))
