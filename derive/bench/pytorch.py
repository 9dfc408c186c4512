"""PyTorch's contenders: a layer over a whole sequence, its own or the cell's step in a loop, and what is measured of it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..verify.problem import Problem
from .contender import Array, Contender
from .transcript import transcribe

Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Layer:
    """A cell over a whole sequence.

    Attributes
    ----------
    run : callable
        From the inputs, in the cell's order, to the output at every step.
    data : mapping
        The leaves for inputs, contexts and initial states, by the cell's names.
    weights : mapping
        The leaves that are trained, by the layer's own names.
    named : callable
        From arrays by the layer's names, of values or of gradients, to those of the cell's parameters.
    function : callable, optional
        From tensors in place of all leaves, by name, to the output at every step; a layer that is compiled has none.
    """

    run: Callable[[Sequence[Any]], Any]
    data: Mapping[str, Any]
    weights: Mapping[str, Any]
    named: Callable[[Mapping[str, Array]], Mapping[str, Array]] = dict
    function: Callable[[Mapping[str, Any]], Any] | None = None

    def wanted(self, p: Problem) -> dict[str, Any]:
        """Return the leaves that gradients are asked for by: those of the data that can have one, and all weights."""
        return {name: leaf for name, leaf in self.data.items() if name in p.differentiable} | dict(self.weights)

    def gradients(self, p: Problem, found: Sequence[Any]) -> dict[str, Array]:
        """Return gradients by what is `wanted` as arrays by the cell's names; None is zero."""
        leaves = self.wanted(p)
        grads = {
            name: numbers(_torch().zeros_like(leaf) if grad is None else grad)
            for (name, leaf), grad in zip(leaves.items(), found, strict=True)
        }
        of_data = {name: grads.pop(name).reshape(p.arrays[name].shape) for name in self.data if name in grads}
        return of_data | dict(self.named(grads))


@dataclass(frozen=True)
class Gates:
    """How a layer of `torch.nn` holds the parameters of a cell: gate by gate, with two biases; an empty name is a bias of zeros."""

    layer: str
    matrices: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]


LAYERS = {
    "rnn": Gates("RNN", ("",), ("b",), ("",)),
    "gru": Gates("GRU", ("_r", "_z", "_n"), ("b_r", "b_z", "b_in"), ("", "", "b_hn")),
    "lstm": Gates("LSTM", ("_i", "_f", "_g", "_o"), ("b_i", "b_f", "b_g", "b_o"), ("",) * 4),
}
"""The layers that compute the same as a cell, by the cell's name."""


def set_threads(threads: int) -> str:
    """Let PyTorch use `threads` threads; return what is to be said about it."""
    # Else `torch.compile` starts helper processes, which come to rest at their own time.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    _torch().set_num_threads(threads)
    return ""


def contender(p: Problem, layer: Layer) -> Contender:
    """Return what is measured of a layer alone."""
    torch, dy = _torch(), tensor(p.dy)
    inputs = [layer.data[name] for name in p.cell.inputs]
    wanted = [*layer.wanted(p).values()]
    plain = [x.detach() for x in inputs]  # the compiler has another program for an LSTM whose input could have a gradient

    def infer() -> Any:
        with torch.inference_mode():
            return layer.run(plain)

    def train() -> Any:
        return torch.autograd.grad(layer.run(inputs), wanted, dy, allow_unused=True)

    return Contender(infer, train, lambda found: layer.gradients(p, found))


def module(p: Problem) -> Any:
    """Return the layer of `torch.nn` with the cell's parameters."""
    torch, gates, like = _torch(), LAYERS[p.cell.name], tensor(p.dy)
    layer = getattr(torch.nn, gates.layer)(p.sizes["d"], p.sizes["n"], dtype=like.dtype, device=like.device)
    layer.load_state_dict({key: torch.cat([_block(p, name) for name in names]) for key, names in _blocks(gates).items()})
    return layer


def built_in(p: Problem, make: Change = lambda layer: layer, kind: Change = lambda layer: layer) -> Layer:
    """Return the layer of `torch.nn` with the cell's parameters, of another kind or its own, as `make` leaves it."""
    torch, blocks, layer = _torch(), _blocks(LAYERS[p.cell.name]), kind(module(p))
    states = [name for name in ("h_prev", "c_prev") if name in p.arrays]
    first = {name: tensor(p.arrays[name][None], requires_grad=True) for name in states}
    state, call = tuple(first.values()) if len(first) > 1 else first["h_prev"], make(layer)

    def named(found: Mapping[str, Array]) -> dict[str, Array]:
        parts = {key: np.split(found[key], len(names)) for key, names in blocks.items()}
        return {name: part for key, names in blocks.items() for name, part in zip(names, parts[key], strict=True) if name}

    def run(inputs: Sequence[Any]) -> Any:
        layer.train(torch.is_grad_enabled())  # cuDNN keeps what a backward pass needs unless it is told that there will be none
        return call(inputs[0], state)[0]

    def function(values: Mapping[str, Any]) -> Any:
        states = tuple(values[name] for name in first)
        weights = {key: values[key] for key in blocks}
        return torch.func.functional_call(layer, weights, (values["x"], states if len(states) > 1 else states[0]))[0]

    return Layer(run, {"x": tensor(p.arrays["x"], requires_grad=True), **first}, dict(layer.named_parameters()), named, function)


def _blocks(gates: Gates) -> dict[str, tuple[str, ...]]:
    return {
        "weight_ih_l0": tuple(f"W{gate}" for gate in gates.matrices),
        "weight_hh_l0": tuple(f"U{gate}" for gate in gates.matrices),
        "bias_ih_l0": gates.first,
        "bias_hh_l0": gates.second,
    }


def _block(p: Problem, name: str) -> Any:
    return tensor(p.arrays[name]) if name else tensor(p.dy).new_zeros(p.sizes["n"])


def looped(p: Problem, make: Callable[[Any], Any] = lambda step: step) -> Layer:
    """Return the cell's step, as `make` leaves it, in a Python loop over time."""
    torch, cell = _torch(), p.cell
    leaves, (prepare, step), *_ = written(p)
    made = make(step)

    def function(values: Mapping[str, Any]) -> Any:
        values = {**leaves, **values}
        fixed, state, outputs = prepare(*_still(cell, values)), _first(cell, values), []
        sequences = [values[name].unbind(0) for name in cell.inputs]  # an index would make a gradient of the whole sequence at every step
        for t in range(p.steps):
            y, state = made(*(x[t] for x in sequences), *state, *fixed)
            outputs.append(y)
        return torch.stack(outputs)

    return replace(layer_of(cell, leaves, lambda inputs: function(dict(zip(cell.inputs, inputs, strict=True)))), function=function)


def written(p: Problem) -> tuple[dict[str, Any], tuple[Any, Any], list[Any], list[Any]]:
    """Return all leaves of a cell; its program, what is computed once and the step; and of the leaves those that stay, and the states."""
    cell = p.cell
    leaves = {name: tensor(value, requires_grad=name in p.differentiable) for name, value in p.arrays.items()}
    program = transcribe(cell, {name: value.detach()[0] if name in cell.inputs else value.detach() for name, value in leaves.items()})
    return leaves, (program.prepare, program.step), _still(cell, leaves), _first(cell, leaves)


def _still(cell: Definition, values: Mapping[str, Any]) -> list[Any]:
    return [values[name] for name in (*cell.parameters, *cell.context)]


def _first(cell: Definition, values: Mapping[str, Any]) -> list[Any]:
    return [values[f"{s}_prev"] for s in cell.states]


def layer_of(cell: Any, leaves: Mapping[str, Any], run: Callable[[Sequence[Any]], Any]) -> Layer:
    """Return a layer whose leaves go by the cell's names."""
    data = {name: leaf for name, leaf in leaves.items() if name not in cell.parameters}
    return Layer(run, data, {name: leaves[name] for name in cell.parameters if leaves[name].requires_grad})


def tensor(value: Any, *, requires_grad: bool = False) -> Any:
    """Return a leaf with a value of its own: that of an array, or of a tensor, on the device that it lies on."""
    return _torch().as_tensor(value).detach().clone().requires_grad_(requires_grad)


def numbers(value: Any) -> Array:
    """Return a tensor as an array; NumPy has no bfloat16."""
    value = value.detach().cpu()
    found: Array = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    return found


def _torch() -> Any:
    return importlib.import_module("torch")
