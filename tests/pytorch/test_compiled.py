"""Layers in code that PyTorch compiles: the same numbers, one graph, and no derivative that is silently left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from conftest import ordinary
from test_drop_in import B, D, N, T, assert_close, gradients, pair
from torch import func, nn

import generated.torch as ours
from generated.runtime.torch import operators
from generated.runtime.torch.drop_in import passes

OPTIONS = {
    "LSTM": ("LSTM", {}),
    "GRU, both ways": ("GRU", {"bidirectional": True}),
    "RNN, two layers": ("RNN", {"num_layers": 2, "batch_first": True}),
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Begin with nothing compiled; PyTorch's compiler leaves subclasses of its recurrent layers alone unless it is told otherwise."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield


@pytest.mark.parametrize("name", OPTIONS)
def test_one_graph_with_gradients(name: str) -> None:
    kind, options = OPTIONS[name]
    theirs, own = pair(kind, **options)
    x = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    got, want = torch.compile(own, fullgraph=True)(x), theirs(x)
    assert_close(got, want)
    assert_close(gradients(own, [x], got), gradients(theirs, [x], want), 1e-11)
    with torch.no_grad():
        assert_close(torch.compile(own, fullgraph=True)(x), theirs(x))


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_a_step_is_one_graph(kind: str) -> None:
    theirs, own = pair(kind)
    x = torch.randn(B, D, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        before = theirs(x)
    for hx in (None, before):
        got, want = torch.compile(own, fullgraph=True)(x, hx), theirs(x, hx)
        assert_close(got, want)
        assert_close(gradients(own, [x], got), gradients(theirs, [x], want), 1e-11)


def test_any_number_of_steps() -> None:
    theirs, own = pair("LSTM")
    compiled = torch.compile(own, fullgraph=True, dynamic=True)
    for steps in (3, 5, 8):
        x = torch.randn(steps, B, D, dtype=torch.float64)
        assert_close(compiled(x), theirs(x))


def test_lengths() -> None:
    layer = ours.layer("lstm_peephole", D, N, bidirectional=True, dtype=torch.float64)
    x = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    lengths = [4, 4, 3, 2, 1, 1]
    got, want = torch.compile(lambda x: layer(x, lengths=lengths))(x), layer(x, lengths=lengths)
    assert_close(got, want)
    assert_close(gradients(layer, [x], got), gradients(layer, [x], want), 1e-12)


def test_packed_sequences_break_the_graph() -> None:
    """How many sequences there are is in the data: what is compiled runs around the layer."""
    theirs, own = pair("LSTM")
    packed = nn.utils.rnn.pack_sequence([torch.randn(steps, D, dtype=torch.float64) for steps in (5, 3, 3)])
    got, want = torch.compile(lambda packed: own(packed)[0].data * 2)(packed), theirs(packed)[0].data * 2
    assert_close(got, want)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_exported(kind: str) -> None:
    theirs, own = pair(kind)
    x = torch.randn(T, B, D, dtype=torch.float64)
    program = torch.export.export(own.eval(), (x,))
    assert any("forward" in str(node.target) for node in program.graph.nodes)
    assert_close(program.module()(x), theirs(x))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 4, 1]])
def test_operators_are_what_they_say(lengths: Any, reverse: bool) -> None:
    own, how = pair("LSTM")[1], passes("lstm", True, reverse, True)
    values = [torch.randn(T, 3, D, dtype=torch.float64), *own.parameters(), *torch.randn(2, 3, N, dtype=torch.float64)]
    values = [value.detach().requires_grad_() for value in values]
    given = (values, how.key, None if lengths is None else torch.tensor(lengths), reverse, None)
    torch.library.opcheck(operators.forward, (*given, how.results))
    found = [value.detach() for value in operators.forward(*given, how.results)]
    torch.library.opcheck(operators.backward, (found[:3], [value.detach() for value in values], found[3:], *given[1:]))


TRANSFORMED: dict[str, Callable[..., Any]] = {
    "jvp": lambda f, x: func.jvp(f, (x,), (x.cos(),))[1],
    "grad": lambda f, x: func.grad(lambda x: f(x).pow(3).sum())(x),
    "vmap": lambda f, x: func.vmap(f)(torch.stack([x, 2 * x])),
    "hessian": lambda f, x: func.hessian(lambda x: f(x).pow(3).sum())(x),
}


@pytest.mark.parametrize("what", TRANSFORMED)
def test_transformations_are_refused_in_one_graph(what: str) -> None:
    layer, x = pair("LSTM")[1], torch.randn(T, B, D, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="neither forward mode nor the transformations"):
        torch.compile(lambda x: TRANSFORMED[what](lambda x: layer(x)[0], x), fullgraph=True)(x)


@pytest.mark.parametrize("what", ordinary(TRANSFORMED, {"grad"}))
@pytest.mark.filterwarnings("ignore")  # the compiler looks at gradients of tensors that have none
def test_transformations_in_parts(what: str) -> None:
    layer, x = pair("LSTM")[1], torch.randn(T, B, D, dtype=torch.float64)

    def call(x: Any) -> Any:
        return TRANSFORMED[what](lambda x: layer(x)[0], x)

    assert_close(torch.compile(call)(x), call(x), 1e-11)


def test_double_backward_is_refused_by_the_compiler() -> None:
    layer, x = pair("LSTM")[1], torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    loss = torch.compile(layer)(x)[0].pow(3).sum()
    with pytest.raises(RuntimeError, match=r"double backward|create_graph=False"):
        (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        grad.sum().backward()
