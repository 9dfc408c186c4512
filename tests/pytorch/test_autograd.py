"""All that PyTorch's automatic differentiation asks of a layer: reverse, twice, forward mode, mapped, and in each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from conftest import generated, ordinary
from torch import Tensor, func, nn
from torch.autograd import functional as autograd
from torch.autograd import gradcheck, gradgradcheck
from torch.utils.checkpoint import checkpoint

import generated.torch as ours
from derive.cells import SECOND

T, B, D, N = 3, 2, 2, 3
DTYPE = torch.float64


class Case:
    """A layer as a function of tensors, and the same by PyTorch alone."""

    def __init__(self, layer: Any, witness: Any, lengths: Any = None) -> None:
        torch.manual_seed(0)
        self.names = [name for name, _ in layer.named_parameters()]
        self.at = (torch.randn(T, B, D, dtype=DTYPE), *[p.detach().clone() for p in layer.parameters()])
        options = {} if lengths is None else {"lengths": lengths}
        self.own, self.witness = (self._function(of, options) for of in (layer, witness))

    def _function(self, layer: Any, options: dict[str, Any]) -> Callable[..., Tensor]:
        def call(x: Tensor, *weights: Tensor) -> Tensor:
            given = dict(zip(self.names, weights, strict=True))
            return func.functional_call(layer, given, (x,), options)[0]  # type: ignore[no-any-return]

        return call

    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(value.clone().requires_grad_() for value in self.at)

    def by_x(self, function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: function(x, *self.at[1:])


@cache
def case(name: str) -> Case:
    kind, *rest = name.split()
    options = {"bidirectional": True, "num_layers": 2} if rest else {}
    theirs = getattr(nn, kind)(D, N, dtype=DTYPE, **options)
    own = getattr(ours, kind)(D, N, dtype=DTYPE, **options)
    own.load_state_dict(theirs.state_dict())
    return Case(own, theirs)


ALL = ("LSTM", "GRU", "RNN", "LSTM both ways, twice", "RNN both ways, twice")
NAMES = ordinary(ALL, {"RNN"})  # whose passes of second order are compiled soonest


def cubed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *values: function(*values).pow(3).sum()


def assert_close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


# By differences


@pytest.mark.parametrize("name", NAMES)
def test_first_order(name: str) -> None:
    it = case(name)
    assert gradcheck(it.own, it.leaves(), check_batched_grad=True, check_forward_ad=True, check_batched_forward_grad=True)


@pytest.mark.parametrize("name", NAMES)
def test_second_order(name: str) -> None:
    it = case(name)
    assert gradgradcheck(it.own, it.leaves(), check_batched_grad=True, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", NAMES)
def test_reverse_over_forward(name: str) -> None:
    it, direction = case(name), tuple(torch.randn_like(value) for value in case(name).at)
    assert gradcheck(lambda *values: func.jvp(it.own, values, direction)[1], it.leaves())


@pytest.mark.exhaustive
@pytest.mark.parametrize("cell", sorted(SECOND))
@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_any_cell(cell: str, lengths: Any) -> None:
    torch.manual_seed(0)
    table = generated(cell).LAYER
    if len(table.sizes) > 2 or len(table.inputs) + len(table.context) != 1:
        pytest.skip("of another form: see test_any_layer")
    module = ours.layer(cell, *[D, N][: len(table.sizes)], dtype=DTYPE)
    names = [name for name, _ in module.named_parameters()]
    width = table.spec(T, B, module.sizes)["inputs"][next(iter(table.inputs))]
    leaves = [torch.randn(width, dtype=DTYPE, requires_grad=True)]
    leaves += [p.detach().clone().requires_grad_() for p in module.parameters()]

    def call(x: Tensor, *weights: Tensor) -> Tensor:
        return func.functional_call(module, dict(zip(names, weights, strict=True)), (x,), {"lengths": lengths})[0]  # type: ignore[no-any-return]

    assert gradcheck(call, leaves, check_forward_ad=True)
    assert gradgradcheck(call, leaves, check_fwd_over_rev=True)


# Beside PyTorch's own layers

ASKED: dict[str, Callable[[Case, Callable[..., Tensor]], Any]] = {
    "torch.func.grad": lambda it, f: func.grad(cubed(f), argnums=tuple(range(len(it.at))))(*it.at),
    "torch.func.vjp": lambda it, f: func.vjp(f, *it.at)[1](torch.ones_like(f(*it.at))),
    "torch.autograd.functional.hvp": lambda it, f: autograd.hvp(it.by_x(cubed(f)), it.at[0], torch.ones_like(it.at[0])),
    "torch.autograd.functional.vhp": lambda it, f: autograd.vhp(it.by_x(cubed(f)), it.at[0], torch.ones_like(it.at[0])),
    "torch.autograd.functional.jvp": lambda it, f: autograd.jvp(it.by_x(f), it.at[0], torch.ones_like(it.at[0])),
    "torch.autograd.functional.hessian": lambda it, f: autograd.hessian(it.by_x(cubed(f)), it.at[0]),
    "checkpoint": lambda it, f: torch.autograd.grad(
        cubed(lambda *v: checkpoint(f, *v, use_reentrant=False))(*(leaves := it.leaves())), leaves
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ASKED)
def test_as_pytorch_has_it(what: str, name: str) -> None:
    it = case(name)
    assert_close(ASKED[what](it, it.own), ASKED[what](it, it.witness))


JACOBIANS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "torch.func.jacrev": lambda f, x: func.jacrev(f)(x),
    "torch.func.jacfwd": lambda f, x: func.jacfwd(f)(x),
    "vectorised": lambda f, x: autograd.jacobian(f, x, vectorize=True),
    "vectorised, in forward mode": lambda f, x: autograd.jacobian(f, x, vectorize=True, strategy="forward-mode"),
}
HESSIANS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "torch.func.hessian": lambda f, x: func.hessian(f)(x),
    "jacrev of jacrev": lambda f, x: func.jacrev(func.jacrev(f))(x),
    "jacrev of jacfwd": lambda f, x: func.jacrev(func.jacfwd(f))(x),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", JACOBIANS)
def test_jacobians(what: str, name: str) -> None:
    it = case(name)
    assert_close(JACOBIANS[what](it.by_x(it.own), it.at[0]), autograd.jacobian(it.by_x(it.witness), it.at[0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", HESSIANS)
def test_hessians(what: str, name: str) -> None:
    it = case(name)
    assert_close(HESSIANS[what](it.by_x(cubed(it.own)), it.at[0]), autograd.hessian(it.by_x(cubed(it.witness)), it.at[0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", [0, 1])
def test_mapped_over_inputs_and_weights(which: int, name: str) -> None:
    it = case(name)

    def at(value: Tensor) -> list[Tensor]:
        return [*it.at[:which], value, *it.at[which + 1 :]]

    values = torch.stack([it.at[which], 2 * it.at[which]])
    got = func.vmap(lambda value: it.own(*at(value)))(values)
    assert_close(got, torch.stack([it.witness(*at(value)) for value in values]))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_sample(name: str) -> None:
    it = case(name)
    xs = torch.randn(4, T, B, D, dtype=DTYPE)
    got = func.vmap(func.grad(lambda w, x: cubed(it.own)(x, w, *it.at[2:])), in_dims=(None, 0))(it.at[1], xs)
    want = []
    for x in xs:
        w = it.at[1].clone().requires_grad_()
        want += torch.autograd.grad(cubed(it.witness)(x, w, *it.at[2:]), w)
    assert_close(got, torch.stack(want))


# What autograd promises


def test_hooks_and_accumulation() -> None:
    it, seen = case("RNN"), list[Tensor]()
    x, *weights = it.leaves()
    weights[0].register_hook(seen.append)
    for _ in range(2):
        it.own(x, *weights).sum().backward()
    assert len(seen) == 2
    assert_close(weights[0].grad, 2 * seen[0])


def test_a_value_that_was_altered_since_is_noticed() -> None:
    it = case("RNN")
    x, *weights = it.leaves()
    y = it.own(x, *weights)
    with torch.no_grad():
        weights[1].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_graph_is_used_once() -> None:
    y = case("RNN").own(*case("RNN").leaves()).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_modes() -> None:
    it = case("RNN")
    with torch.inference_mode():
        assert_close(it.own(*it.at), it.witness(*it.at))
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly(check_nan=True):
        it.own(*it.leaves()).sum().backward()


def test_no_gradient_where_none_is_asked_for() -> None:
    it = case("RNN")
    x, *weights = it.leaves()
    frozen = [weight.detach() for weight in weights]
    (grad,) = torch.autograd.grad(cubed(it.own)(x, *frozen), x)
    (want,) = torch.autograd.grad(cubed(it.witness)(x, *frozen), x)
    assert_close(grad, want)


@pytest.fixture
def _from_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module's functions be called where they can be seen, and not as light calls are."""
    monkeypatch.setattr("generated.runtime.torch.light._key", lambda *given: None)


@pytest.mark.usefixtures("_from_arrays")
@pytest.mark.parametrize("needed", [("x",), ("params",), ("x", "params")])
def test_products_for_gradients_that_nobody_needs_are_not_made(needed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    it, asked = case("RNN"), list[Any]()
    backward = generated("rnn_torch").backward
    monkeypatch.setattr(generated("rnn_torch"), "backward", lambda *given, only, **more: asked.append(only) or backward(*given, only=only))
    x, *weights = it.leaves()
    at = x.requires_grad_("x" in needed), *[weight.requires_grad_("params" in needed) for weight in weights]
    leaves = [value for value in at if value.requires_grad]
    found = torch.autograd.grad(cubed(it.own)(*at), leaves)
    assert asked == [None if needed == ("x", "params") else list(needed)]
    for one, other in zip(found, torch.autograd.grad(cubed(it.witness)(*at), leaves), strict=True):
        assert_close(one, other)


@pytest.mark.usefixtures("_from_arrays")
@pytest.mark.parametrize("create_graph", [False, True], ids=["", "create_graph"])
@pytest.mark.parametrize("through", [False, True], ids=["leaves", "results"])
@pytest.mark.parametrize("needed", [("x",), ("params",), ("x", "params")])
def test_nor_are_those_that_autograd_was_not_asked_for(
    needed: tuple[str, ...], through: bool, create_graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, asked = case("RNN"), list[Any]()
    backward = generated("rnn_torch").backward
    monkeypatch.setattr("generated.runtime.torch.functions.WORTH", 0)
    monkeypatch.setattr(
        generated("rnn_torch"),
        "backward",
        lambda *given, only=None, **more: asked.append(only) or backward(*given, only=only, **more),
    )

    def gradients(function: Callable[..., Tensor]) -> list[Tensor]:
        at = it.leaves()
        x, *weights = [value * 1.0 for value in at] if through else at
        wanted = [*([x] if "x" in needed else []), *(weights if "params" in needed else [])]
        found = torch.autograd.grad(cubed(function)(x, *weights), wanted, create_graph=create_graph)
        again = torch.autograd.grad(sum(grad.pow(2).sum() for grad in found), at) if create_graph else ()
        return [*found, *again]

    found = gradients(it.own)
    assert asked == [None if needed == ("x", "params") else list(needed), *[None] * create_graph]  # and then all are asked for
    for one, other in zip(found, gradients(it.witness), strict=True):
        assert_close(one, other)


@pytest.mark.usefixtures("_from_arrays")
@pytest.mark.parametrize("differentiated", [False, True], ids=["constant", "differentiated"])
def test_nor_is_the_gradient_by_a_cotangent_that_is_a_constant(differentiated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    it, asked = case("RNN"), list[Any]()
    twice = generated("rnn_torch").backward_backward
    monkeypatch.setattr(generated("rnn_torch"), "backward_backward", lambda *given, only: asked.append(only) or twice(*given, only=only))

    def gradients(function: Callable[..., Tensor]) -> list[Tensor]:
        x, *weights = it.leaves()
        y = function(x, *weights)
        dy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape).requires_grad_(differentiated)
        (grad,) = torch.autograd.grad(y, x, dy, create_graph=True)
        return [*torch.autograd.grad(grad.pow(2).sum(), [x, *weights, *([dy] if differentiated else [])])]

    found = gradients(it.own)
    assert asked == [None if differentiated else ("dfinal", "x", "params", "state")]
    for one, other in zip(found, gradients(it.witness), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("inputs", [slice(None), slice(1), slice(1, None), slice(2, 3)], ids=["all", "x", "weights", "one weight"])
def test_leaves_get_what_a_pass_is_told_to_give_them(inputs: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    it = case("RNN")
    monkeypatch.setattr("generated.runtime.torch.functions.WORTH", 0)
    own, witness = it.leaves(), it.leaves()
    for function, leaves in ((it.own, own), (it.witness, witness)):
        cubed(function)(*leaves).backward(inputs=leaves[inputs])
    for one, other in zip(own, witness, strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or assert_close(one.grad, other.grad) is None


# What is refused


def test_a_third_derivative_is_refused() -> None:
    it = case("RNN")
    leaves = it.leaves()
    first = torch.autograd.grad(cubed(it.own)(*leaves), leaves, create_graph=True)
    second = torch.autograd.grad(sum(value.pow(2).sum() for value in first), leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivative of a recurrent layer is not offered"):
        torch.autograd.grad(sum(value.pow(2).sum() for value in second), leaves)
    with pytest.raises(NotImplementedError, match="third derivative"):
        func.jacrev(func.hessian(it.by_x(cubed(it.own))))(it.at[0])


def test_forward_mode_of_forward_mode_is_refused() -> None:
    it = case("RNN")
    with pytest.raises(NotImplementedError, match="forward mode of forward mode"):
        func.jacfwd(func.jacfwd(it.by_x(cubed(it.own))))(it.at[0])


def test_a_module_without_second_order_says_how_to_get_it() -> None:
    layer = ours.layer("ran", D, N, dtype=DTYPE)
    x = torch.randn(T, B, D, dtype=DTYPE, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[0].pow(3).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="generated without second order: `derive generate --order 2`"):
        grad.sum().backward()
    with pytest.raises(NotImplementedError, match="generated without second order"):
        func.jvp(lambda x: layer(x)[0], (x.detach(),), (x.detach(),))
