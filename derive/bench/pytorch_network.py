"""A network in PyTorch, with a layer of PyTorch or a generated module between its own: how a program with a generated cell is written."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any

from ..verify.problem import Problem
from .contender import Array, Trainer, threads_of
from .network import RATE, Network
from .pytorch import Layer, layer_of, numbers, tensor


def trainer(
    network: Network,
    layer: Layer,
    threads: Callable[[], AbstractContextManager[object]] = nullcontext,
    optimizer: Callable[[Sequence[Any]], Any] | None = None,
) -> Trainer:
    """Return plain training with `torch.nn.Linear` on either side of a layer, by `backward` and an optimizer, `torch.optim.SGD` by default.

    Each step is made within `threads`.
    """
    torch = importlib.import_module("torch")
    first, last = (_linear(network, name) for name in ("first", "last"))
    for leaf in layer.data.values():
        leaf.requires_grad_(False)
    own = {f"{name}.{key}": leaf for name, dense in (("first", first), ("last", last)) for key, leaf in dense.named_parameters()}
    of = [*own.values(), *layer.weights.values()]
    descent = optimizer(of) if optimizer else torch.optim.SGD(of, lr=RATE)
    x, target = layer.data[network.input], tensor(network.target)

    def step() -> Any:
        with threads():
            descent.zero_grad()
            loss = torch.nn.functional.mse_loss(last(layer.run([first(x)])), target)
            loss.backward()
            descent.step()
            return loss.detach()

    def named(value: Callable[[Any], Any]) -> dict[str, Array]:
        values = {name: numbers(value(leaf)) for name, leaf in layer.weights.items()}
        return {name: numbers(value(leaf)) for name, leaf in own.items()} | dict(layer.named(values))

    return Trainer(step, lambda: named(lambda leaf: leaf), gradients=lambda: named(lambda leaf: leaf.grad))


def _linear(network: Network, name: str) -> Any:
    torch = importlib.import_module("torch")
    values = {key: tensor(network.dense[f"{name}.{key}"]) for key in ("weight", "bias")}
    layer = torch.nn.Linear(*reversed(values["weight"].shape), dtype=values["weight"].dtype)
    layer.load_state_dict(values)
    return layer


def ours(network: Network, module: ModuleType) -> Trainer:
    """Return the same with a generated module between the layers, on PyTorch's own threads where they can be had."""
    threads = threads_of(module)
    return trainer(network, generated(network.p, module), lambda: threads.pool("torch"))


def generated(p: Problem, module: ModuleType) -> Layer:
    """Return a generated module as a layer; it has the tensors' own memory, and they have the memory of its results."""
    cell = p.cell
    leaves = {name: tensor(value, requires_grad=name in cell.parameters and name in p.differentiable) for name, value in p.arrays.items()}
    weights = [leaves[name] for name in cell.parameters]
    state = module.State(*(leaves[f"{name}_prev"].numpy() for name in module.State._fields))

    def run(inputs: Sequence[Any]) -> Any:
        return _function().apply(module, state, *inputs, *weights)

    return layer_of(cell, leaves, run)


@cache
def _function() -> Any:
    """Return a generated module as a function that PyTorch can differentiate."""
    torch = importlib.import_module("torch")
    base: Any = torch.autograd.Function

    class Generated(base):
        @staticmethod
        def forward(context: Any, module: ModuleType, state: Any, x: Any, *weights: Any) -> Any:
            params = module.Params(*(value.detach().numpy() for value in weights))
            y, _, context.tape = module.forward(x.detach().numpy(), params, state)
            context.module = module
            return torch.from_numpy(y)

        @staticmethod
        def backward(context: Any, dy: Any) -> Any:
            grads = context.module.backward(dy.numpy(), context.tape)
            by_weights = (getattr(grads.params, name, None) for name in context.module.Params._fields)
            found = (None if grad is None else torch.from_numpy(grad) for grad in (grads[0], *by_weights))
            return None, None, *found

    return Generated
