"""Layers of cells without second order, whose steps PyTorch replays, beside automatic differentiation through the cell's own text."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import generated, ordinary
from torch import Tensor, func
from torch.autograd import functional as autograd
from torch.autograd import gradcheck, gradgradcheck

import generated.torch as ours
from derive import Cell
from derive.cells import REGISTRY, SECOND, SHIPPED
from derive.package import contents, memory
from derive.package.folder import complete
from derive.verify.evaluate import unroll
from generated.runtime.torch.functions import run
from generated.runtime.torch.passes import Passes

T, B, N = 3, 2, 3
DTYPE = torch.float64
CHOSEN = {"mut1", "gru_layernorm", "lmu", "gru_masked", "rnn_recurrent_dropout", "soft_cross_entropy", "fastrnn"}
WITHOUT = sorted({*SHIPPED} - {*SECOND})
HOW: list[dict[str, Any]] = [
    {},
    {"starts": False, "single": True},
    {"reverse": True},
    {"lengths": [1, 3]},
    {"lengths": [3, 2], "reverse": True},
]
Run = Callable[..., tuple[Tensor, ...]]


class Case:
    """A cell's pass as a function of tensors, and the same by PyTorch through the cell's text."""

    def __init__(self, cell: Cell, module: ModuleType, **how: Any) -> None:
        torch.manual_seed(0)
        self.cell, self.how = cell, how
        self.passes = Passes(module, steps=None if cell.inputs else T, replay=True, **how)
        self.names = [*cell.inputs, *cell.context, *cell.parameters, *(cell.states if self.passes.starts else ())]
        self.sizes = {size: N for size in cell.sizes}
        self.free = [name not in cell.without_gradient for name in self.names]
        self.at = [self._value(name) for name in self.names]

    def _shape(self, name: str) -> list[int]:
        return [size.evaluate(self.sizes) for size in self.cell.shapes[name]]

    def _value(self, name: str) -> Tensor:
        lead = (T, B) if name in self.cell.inputs else (B,) if name in self.cell.batched else ()
        shape = (*lead, *self._shape(name))
        return torch.randint(N, shape) if name in self.cell.integers else torch.randn(shape, dtype=DTYPE)

    def own(self, *values: Tensor) -> tuple[Tensor, ...]:
        return run(self.passes, values)

    def witness(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Each sequence alone, as long as it is."""
        found = [self._alone(dict(zip(self.names, values, strict=True)), b) for b in range(B)]
        ys, *finals = zip(*found, strict=True)
        final = [torch.cat(parts) for parts in finals]
        return torch.stack(ys, 1), *[value[None] if self.passes.single else value for value in final]

    def _alone(self, values: dict[str, Tensor], b: int) -> tuple[Tensor, ...]:
        cell, length = self.cell, self.how["lengths"][b] if "lengths" in self.how else T
        order = range(length - 1, -1, -1) if self.passes.reverse else range(length)
        inputs = {name: values[name][list(order), b : b + 1] for name in cell.inputs}
        context = {name: values[name][b : b + 1] for name in cell.context}
        first = {name: torch.full((1, *self._shape(name)), float(cell.init.get(name, 0)), dtype=DTYPE) for name in cell.states}
        state = {name: values[name][b : b + 1] if self.passes.starts else first[name] for name in cell.states}
        params = {name: values[name] for name in cell.parameters}
        y, final = unroll(cell, inputs, params, state, torch, context=context, steps=length)
        y = (y.flip(0) if self.passes.reverse else y)[:, 0]
        return torch.cat([y, y.new_zeros((T - length, *y.shape[1:]))]), *final.values()

    def leaves(self) -> list[Tensor]:
        return [value.clone().requires_grad_(free) for value, free in zip(self.at, self.free, strict=True)]

    def directions(self) -> tuple[Tensor, ...]:
        """Return tangents by what has a gradient; what has none is not moved."""
        generator = torch.Generator().manual_seed(1)
        return tuple(
            torch.randn(value.shape, generator=generator, dtype=DTYPE) for value, free in zip(self.at, self.free, strict=True) if free
        )

    def open(self, function: Run) -> Run:
        """Return a function of those values alone that have a gradient."""

        def call(*values: Tensor) -> tuple[Tensor, ...]:
            given = iter(values)
            return function(*[next(given) if free else value for value, free in zip(self.at, self.free, strict=True)])

        return call

    def open_at(self) -> list[Tensor]:
        return [value for value, free in zip(self.at, self.free, strict=True) if free]


def loss(results: Sequence[Tensor]) -> Tensor:
    return sum((value**3).sum() for value in results)  # type: ignore[return-value]


def penalised(it: Case, function: Run) -> tuple[Tensor, ...]:
    """Return the gradients of the sum of the squares of gradients."""
    leaves = it.leaves()
    free = [value for value in leaves if value.requires_grad]
    first = torch.autograd.grad(loss(function(*leaves)), free, create_graph=True)
    return torch.autograd.grad(sum((value**2).sum() for value in first), free)


ASKED: dict[str, Callable[[Case, Run], Any]] = {
    "double backward": penalised,
    "torch.func.jvp": lambda it, f: func.jvp(it.open(f), tuple(it.open_at()), it.directions())[1],
    "jvp of grad": lambda it, f: func.jvp(
        func.grad(lambda *values: loss(it.open(f)(*values)), tuple(range(len(it.open_at())))), tuple(it.open_at()), it.directions()
    )[1],
    "grad of jvp": lambda it, f: func.grad(
        lambda *values: loss(func.jvp(it.open(f), values, it.directions())[1]), tuple(range(len(it.open_at())))
    )(*it.open_at()),
}


def assert_close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ordinary(WITHOUT, CHOSEN))
def test_derivatives(name: str) -> None:
    for how in HOW:
        if how.get("lengths") and not SHIPPED[name].inputs:
            continue
        it = Case(SHIPPED[name], generated(name), **how)
        torch.testing.assert_close(it.own(*it.at), it.witness(*it.at), rtol=1e-12, atol=1e-12)
        for ask in ASKED.values():
            assert_close(ask(it, it.own), ask(it, it.witness))


@pytest.mark.parametrize("name", ordinary(WITHOUT, CHOSEN))
def test_hessians(name: str) -> None:
    it = Case(SHIPPED[name], generated(name))
    k = it.free.index(True)

    def by_first(function: Run) -> Callable[[Tensor], Tensor]:
        return lambda value: loss(function(*it.at[:k], value, *it.at[k + 1 :]))

    assert_close(func.hessian(by_first(it.own))(it.at[k]), autograd.hessian(by_first(it.witness), it.at[k]))


@pytest.mark.parametrize("name", ordinary(WITHOUT, {"mut1", "rnn_recurrent_dropout"}))
def test_by_differences(name: str) -> None:
    it = Case(SHIPPED[name], generated(name), lengths=[3, 1])
    leaves = it.leaves()
    assert gradcheck(it.own, leaves, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(it.own, leaves, check_fwd_over_rev=True, check_batched_grad=True)


# A package of others: with indices, with steps at kinks, and no steps before the first


OTHERS = (
    *(REGISTRY[name] for name in ("slstm", "lstm_layernorm", "softmax_cross_entropy")),
    Cell(
        "h = relu(W @ x) + where(h_prev > 0, sqrt(h_prev), hard_tanh(h_prev)) + e", name="kinks", output="h", fixed=("e",), init={"h": 0.5}
    ),
    Cell("h = tanh(U @ h_prev + b)", name="alone", output="h", inputs=()),
)


@pytest.fixture(scope="module")
def others(kernel_cache: Path) -> dict[str, ModuleType]:
    files = contents.files(OTHERS, cuda=False)
    name = f"_replayed_{contents.digest(*files.values())}"
    kernel_cache.mkdir(parents=True, exist_ok=True)
    complete(files, kernel_cache / name)
    memory.import_from(kernel_cache / name, name)
    return {cell.name: memory.imported(f"{name}.{cell.name}", kernel_cache / name) for cell in OTHERS}


@pytest.mark.parametrize("cell", ordinary(OTHERS, {OTHERS[-2]}), ids=lambda cell: cell.name)
def test_cells_of_another_package(others: dict[str, ModuleType], cell: Cell) -> None:
    for how in HOW:
        if cell.inputs or not how.keys() & {"lengths", "starts"}:
            it = Case(cell, others[cell.name], **how)
            torch.testing.assert_close(it.own(*it.at), it.witness(*it.at), rtol=1e-12, atol=1e-12)
            for ask in ASKED.values():
                assert_close(ask(it, it.own), ask(it, it.witness))


# Layers


def test_layers_above_each_other() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dtype": DTYPE}
    layer = ours.layer("ugrnn", 2, 3, replay=True, **options)
    names, weights = zip(*layer.named_parameters(), strict=True)
    leaves = [torch.randn(B, T, 2, dtype=DTYPE), *[weight.detach().clone() for weight in weights]]

    def call(x: Tensor, *given: Tensor) -> Tensor:
        y, final = func.functional_call(layer, dict(zip(names, given, strict=True)), (x,), {"lengths": [3, 2]})
        return torch.cat([y.flatten(), final[0].flatten()])

    assert gradgradcheck(call, [value.requires_grad_() for value in leaves], check_fwd_over_rev=True, fast_mode=True)


def test_first_order_is_the_kernels() -> None:
    """With it and without, results and gradients have the same bits; in float32 too."""
    torch.manual_seed(0)
    layer, x = ours.layer("mut1", 3, 3, replay=True), torch.randn(T, B, 3, requires_grad=True)
    plain = ours.layer("mut1", 3, 3)
    plain.load_state_dict(layer.state_dict())
    found = [torch.autograd.grad(of(x)[0].square().sum(), [x, *of.parameters()]) for of in (layer, plain)]
    assert all(map(torch.equal, *found))
    (grad,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32 and x.grad.isfinite().all()


def test_autocast_does_not_reach_a_replay() -> None:
    layer, x = ours.layer("mut1", 3, 3, replay=True), torch.randn(T, B, 3)
    want = func.jvp(lambda x: layer(x)[0], (x,), (x,))
    with torch.autocast("cpu"):
        assert all(map(torch.equal, func.jvp(lambda x: layer(x)[0], (x,), (x,)), want))


def test_copies_pickles_and_words() -> None:
    layer, x = ours.layer("mut1", 3, 3, replay=True), torch.randn(T, B, 3)
    want = func.jvp(lambda x: layer(x)[0], (x,), (x,))
    for made in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert all(map(torch.equal, func.jvp(lambda x, made=made: made(x)[0], (x,), (x,)), want))
    assert repr(layer) == "Recurrent(mut1, d=3, n=3, replay)"


def test_a_layer_of_an_older_pickle_has_no_replay() -> None:
    layer = ours.layer("mut1", 3, 3)
    state = layer.__getstate__()
    del state["replay"]
    layer.__setstate__(state)
    assert layer(torch.zeros(T, B, 3))[0].shape == (T, B, 3)


def test_a_module_of_second_order_has_no_need_of_it() -> None:
    layer, x = ours.layer("rnn", 2, 3, replay=True, dtype=DTYPE), torch.randn(T, B, 2, dtype=DTYPE)
    plain = copy.deepcopy(layer)
    plain.replay = False
    assert torch.equal(*(func.jvp(lambda x, of=of: of(x)[0], (x,), (x,))[1] for of in (layer, plain)))


def test_what_is_refused() -> None:
    module = memory.compile(Cell("h = tanh(W @ x + U @ h_prev)", name="own", output="h"))
    with pytest.raises(
        ValueError, match=r"own: replay=True needs its step in PyTorch, and `_derive_.*` has none: `derive generate` writes"
    ):
        ours.layer(module, 2, 3, replay=True)
    layer, x = ours.layer("mut1", 3, 3), torch.randn(T, B, 3)
    with pytest.raises(NotImplementedError, match=r"order 2` makes .* `layer\(…, order=2\)` compiles .* `layer\(…, replay=True\)` replays"):
        func.jvp(lambda x: layer(x)[0], (x,), (x,))
    found = ours.layer("mut1", 3, 3, replay=True)(x.requires_grad_())[0]
    with pytest.raises(NotImplementedError, match="third derivative"):
        for _ in range(3):
            (found,) = torch.autograd.grad(found.square().sum(), x, create_graph=True)
