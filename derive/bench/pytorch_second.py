"""PyTorch's contenders of second order: `torch.autograd.grad` of what it has made with `create_graph`, and `torch.func.jvp`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..verify.problem import Arrays, Problem
from . import pytorch, pytorch_compiled
from .contender import Array
from .phases import HVP, PENALTY, TANGENT
from .pytorch import Layer, numbers, tensor
from .second import Chosen, SecondOrder, of_product, penalized

ONE_DNN = {"oneDNN": True, "no oneDNN": False}
"""Ways to run an LSTM of `torch.nn`.  oneDNN's layer has a backward pass that cannot be differentiated: where it has to be, PyTorch makes
one of its own operations, which can be slower than its own loop from the start.  In forward mode the layer refuses."""


def built_in(p: Problem, v: Arrays) -> SecondOrder:
    """Return the layer of `torch.nn`; an LSTM as it comes, or without oneDNN where that is faster."""
    found = contender(p, v, pytorch.built_in)
    if p.cell.name != "lstm":
        return found
    choices = dict[str, str]()
    calls: dict[str, Callable[[], Any]] = {phase: either(found.calls[phase], phase, choices) for phase in (PENALTY, HVP)}
    return SecondOrder({**calls, TANGENT: partial(_with_one_dnn, False, found.calls[TANGENT])}, found.results, choices)


def looped(p: Problem, v: Arrays) -> SecondOrder:
    """Return the cell's step in a Python loop over time."""
    return contender(p, v, pytorch.looped)


def compiled(p: Problem, v: Arrays) -> SecondOrder:
    """Return the same with a compiled step, and for tangents with a compiled step and tangent of a step."""
    found = contender(p, v, pytorch_compiled.step)
    return SecondOrder({**found.calls, TANGENT: pytorch_compiled.tangent(p, v)}, found.results)


def contender(p: Problem, v: Arrays, make: Callable[[Problem], Layer]) -> SecondOrder:
    """Return what is measured of a layer."""
    torch, dy, layer = importlib.import_module("torch"), tensor(p.dy), make(p)
    inputs, leaves = [layer.data[name] for name in p.cell.inputs], layer.wanted(p)
    wanted, by_inputs = [*leaves.values()], [leaves[name] for name in penalized(p.cell)]
    values = {name: leaf.detach() for name, leaf in leaves.items()}
    # A layer for which the direction is the parameters has it as this one has them.
    along = {name: leaf.detach() for name, leaf in make(replace(p, arrays={**p.arrays, **v})).wanted(p).items()}

    def penalty() -> Any:
        grads = torch.autograd.grad(layer.run(inputs), by_inputs, dy, create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in grads), wanted, allow_unused=True)

    def product() -> Any:
        grads = torch.autograd.grad(layer.run(inputs), wanted, dy, create_graph=True, allow_unused=True)
        slope = sum((grad * along[name]).sum() for name, grad in zip(leaves, grads, strict=True) if grad is not None)
        return grads, torch.autograd.grad(slope, wanted, allow_unused=True)

    def tangent() -> Any:
        return torch.func.jvp(layer.function, (values,), (along,))

    results: dict[str, Callable[[Any], Mapping[str, Array]]] = {
        PENALTY: lambda found: layer.gradients(p, found),
        TANGENT: lambda found: dict(zip(("output", "tangent"), map(numbers, found), strict=True)),
        HVP: lambda found: of_product(*(layer.gradients(p, part) for part in found)),
    }
    return SecondOrder({PENALTY: penalty, TANGENT: tangent, HVP: product}, results)


def either(call: Callable[[], Any], phase: str, choices: dict[str, str]) -> Chosen:
    """Return a call of an LSTM that is made with oneDNN or without it, whichever is faster, and noted."""
    return Chosen({how: partial(_with_one_dnn, on, call) for how, on in ONE_DNN.items()}, phase, choices)


def _with_one_dnn(on: bool, call: Callable[[], Any]) -> Any:
    """Return what a call gives where PyTorch may use oneDNN, or may not."""
    backend: Any = importlib.import_module("torch.backends.mkldnn")
    with backend.flags(enabled=on, deterministic=None, allow_tf32=None):  # the rest stays; an assignment may be refused
        return call()
