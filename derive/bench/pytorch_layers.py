"""Layers of `generated.torch` beside those of `torch.nn`: both are called from PyTorch, as programs call them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ..verify.problem import Problem
from . import pytorch, pytorch_network, pytorch_second
from .contender import Array, Calls
from .network import network
from .phases import BOTH, CELL, DOUBLE, GRAD, NO_GRAD, PACKED, PENALTY, STEP
from .pytorch import Change, Layer, numbers, tensor

DIRECTIONS, LAYERS = 2, 2  # of the model over sequences of unequal length
Made = tuple[Callable[[], Any], Callable[[Any], Mapping[str, Array]]]  # a call, and its results by name


def lengths(p: Problem) -> Array:
    """Return how long the sequences of a batch are: each of 1, …, T steps with the same probability."""
    return np.random.default_rng(0).integers(1, p.steps, p.batch, endpoint=True)


def ours(phase: str, p: Problem, module: ModuleType) -> Calls:
    """Return what is measured of our layers: those of `generated.torch`, or for a cell that `torch.nn` does not have that of its module."""
    if phase == CELL:
        return _written(lambda p: _any_cell(p, module), p)
    call, results = PHASES[phase](p, _package().convert)
    return Calls({phase: call}, {phase: results})


def written(make: Callable[[Problem], Layer]) -> Mapping[str, Callable[[Problem], Calls]]:
    """Return what is measured of a cell that is written in PyTorch: what `torch.nn` does not have."""
    return {CELL: partial(_written, make)}


def _written(make: Callable[[Problem], Layer], p: Problem) -> Calls:
    found = pytorch.contender(p, make(p))
    return Calls({CELL: found.train}, {CELL: found.gradients})


def _any_cell(p: Problem, module: ModuleType) -> Layer:
    """Return the layer of a generated module with the cell's parameters."""
    torch, cell = _torch(), p.cell
    sizes = {name: p.sizes[name] for name in module.LAYER.sizes}
    layer = _package().layer(module, **sizes, dtype=tensor(p.dy).dtype)
    layer.load_state_dict({key: torch.as_tensor(p.arrays[key.removesuffix("_l0")]) for key in layer.state_dict()})
    given = {name: value for name, value in p.arrays.items() if name not in cell.parameters}
    data = {name: tensor(value, requires_grad=name in p.differentiable) for name, value in given.items()}

    def run(inputs: Sequence[Any]) -> Any:
        state = module.State(*(data[f"{name}_prev"][None] for name in module.State._fields))
        others = {name: data[name] for name in cell.context}
        return layer(state=state, **dict(zip(cell.inputs, inputs, strict=True)), **others)[0]

    def named(found: Mapping[str, Array]) -> dict[str, Array]:
        return {key.removesuffix("_l0"): value for key, value in found.items()}

    trained = {key: leaf for key, leaf in layer.named_parameters() if key.removesuffix("_l0") in p.differentiable}
    return Layer(run, data, trained, named)


def _step(p: Problem, kind: Change) -> Made:
    """A step of training: Linear, the layer, Linear, and Adam.  What it moves by hides how large gradients are, so they are compared."""
    around = network(p)
    trainer = pytorch_network.trainer(around, pytorch.built_in(p, kind=kind), optimizer=_torch().optim.Adam)
    return trainer.step, lambda loss: {"loss": np.asarray(float(loss)), **trainer.gradients()}


def _packed(p: Problem, kind: Change) -> Made:
    """Two layers in both directions over sequences of unequal length, there and back."""
    torch, rnn = _torch(), importlib.import_module("torch.nn.utils.rnn")
    name, like = pytorch.LAYERS[p.cell.name].layer, tensor(p.arrays["x"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = getattr(torch.nn, name)(p.sizes["d"], p.sizes["n"], LAYERS, bidirectional=True, dtype=like.dtype)
        packed = rnn.pack_padded_sequence(like, torch.as_tensor(lengths(p)), enforce_sorted=False)
        dy = torch.randn(len(packed.data), DIRECTIONS * p.sizes["n"], dtype=like.dtype)
    layers, x = kind(layers), tensor(packed.data, requires_grad=True)
    return _there_and_back(lambda: layers(rnn.PackedSequence(x, *packed[1:]))[0].data, {"x": x, **dict(layers.named_parameters())}, dy)


def _there_and_back(forward: Callable[[], Any], leaves: Mapping[str, Any], dy: Any) -> Made:
    torch = _torch()

    def call() -> Any:
        y = forward()
        return y.detach(), *torch.autograd.grad(y, [*leaves.values()], dy)

    return call, lambda found: dict(zip(("output", *leaves), map(numbers, found), strict=True))


def _both(p: Problem, kind: Change) -> Made:
    layer, x = kind(pytorch.module(p)), tensor(p.arrays["x"], requires_grad=True)
    return _there_and_back(lambda: layer(x)[0], {"x": x, **dict(layer.named_parameters())}, tensor(p.dy))


def _forward(p: Problem, kind: Change, *, gradient: bool) -> Made:
    torch, layer, x = _torch(), kind(pytorch.module(p)), tensor(p.arrays["x"])

    def without() -> Any:
        with torch.no_grad():
            return layer(x)[0]

    return (lambda: layer(x)[0]) if gradient else without, lambda y: {"output": numbers(y)}


def _double(p: Problem, kind: Change) -> Made:
    found = pytorch_second.contender(p, {}, partial(pytorch.built_in, kind=kind))
    return found.calls[PENALTY], found.results[PENALTY]


PHASES: Mapping[str, Callable[[Problem, Change], Made]] = {
    STEP: _step,
    PACKED: _packed,
    NO_GRAD: partial(_forward, gradient=False),
    GRAD: partial(_forward, gradient=True),
    BOTH: _both,
    DOUBLE: _double,
}
"""From a problem, and what is made of a layer of `torch.nn`."""


def _built_in(phase: str, p: Problem) -> Calls:
    """Return what is measured of a layer of `torch.nn`; of an LSTM's penalty with oneDNN or without, whichever is faster."""
    call, results = PHASES[phase](p, lambda layer: layer)
    choices = dict[str, str]()
    if phase == DOUBLE and p.cell.name == "lstm":
        call = pytorch_second.either(call, phase, choices)
    return Calls({phase: call}, {phase: results}, choices)


BUILT_IN: Mapping[str, Callable[[Problem], Calls]] = {phase: partial(_built_in, phase) for phase in PHASES}


def _package() -> Any:
    return importlib.import_module("generated.torch")


def _torch() -> Any:
    return importlib.import_module("torch")
