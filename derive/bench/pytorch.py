"""PyTorch's contenders: its own layers, and the cell's step as a Python program, eager or compiled."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..verify.problem import Problem
from .contender import Array, Contender
from .transcript import transcribe


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


def built_in(p: Problem) -> Contender:
    """Return the layer of `torch.nn` with the cell's parameters."""
    torch, gates, like = _torch(), LAYERS[p.cell.name], tensor(p.dy)
    layer = getattr(torch.nn, gates.layer)(p.sizes["d"], p.sizes["n"], dtype=like.dtype, device=like.device)
    blocks = _blocks(gates)
    layer.load_state_dict({key: torch.cat([_block(p, name) for name in names]) for key, names in blocks.items()})
    states = [name for name in ("h_prev", "c_prev") if name in p.arrays]
    x = tensor(p.arrays["x"], requires_grad=True)
    first = [tensor(p.arrays[name][None], requires_grad=True) for name in states]
    weights = dict(layer.named_parameters())
    wanted = [x, *first, *(weights[key] for key in blocks)]

    def named(found: Sequence[Any]) -> dict[str, Array]:
        x_grad, *rest = map(numbers, found)
        grads = {"x": x_grad} | {name: grad[0] for name, grad in zip(states, rest, strict=False)}
        for names, grad in zip(blocks.values(), rest[len(states) :], strict=True):
            grads |= dict(zip(names, np.split(grad, len(names)), strict=True))
        return {name: grads[name] for name in p.differentiable}

    def run() -> Any:
        layer.train(torch.is_grad_enabled())  # cuDNN keeps what a backward pass needs unless it is told that there will be none
        return layer(x, tuple(first) if len(first) > 1 else first[0])[0]

    return _contender(p, run, wanted, named)


def _blocks(gates: Gates) -> dict[str, tuple[str, ...]]:
    return {
        "weight_ih_l0": tuple(f"W{gate}" for gate in gates.matrices),
        "weight_hh_l0": tuple(f"U{gate}" for gate in gates.matrices),
        "bias_ih_l0": gates.first,
        "bias_hh_l0": gates.second,
    }


def _block(p: Problem, name: str) -> Any:
    return tensor(p.arrays[name]) if name else tensor(p.dy).new_zeros(p.sizes["n"])


def eager(p: Problem) -> Contender:
    """Return the cell's step in a Python loop over time."""
    return _looped(p, lambda step: step)


def compiled(p: Problem) -> Contender:
    """Return the same with the step compiled by `torch.compile`."""
    torch = _torch()
    torch.compiler.reset()  # what was compiled for another size is no longer needed, and would count against a limit
    return _looped(p, lambda step: torch.compile(step, dynamic=False))


def _looped(p: Problem, make: Callable[[Any], Any]) -> Contender:
    torch, cell = _torch(), p.cell
    leaves = {name: tensor(value, requires_grad=name in p.differentiable) for name, value in p.arrays.items()}
    program = transcribe(cell, {name: value[0] if name in cell.inputs else value for name, value in _detached(leaves).items()})
    step = make(program.step)
    still = [leaves[name] for name in (*cell.parameters, *cell.context)]
    inputs, first = [leaves[name] for name in cell.inputs], [leaves[f"{s}_prev"] for s in cell.states]

    def run() -> Any:
        fixed, state, outputs = program.prepare(*still), first, []
        sequences = [x.unbind(0) for x in inputs]  # an index at every step would make a gradient of the whole sequence at every step
        for t in range(p.steps):
            y, state = step(*(x[t] for x in sequences), *state, *fixed)
            outputs.append(y)
        return torch.stack(outputs)

    names = p.differentiable

    def named(found: Sequence[Any]) -> dict[str, Array]:
        pairs = zip(names, found, strict=True)
        return {name: np.zeros(p.arrays[name].shape) if grad is None else numbers(grad) for name, grad in pairs}

    return _contender(p, run, [leaves[name] for name in names], named)


def _detached(leaves: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.detach() for name, value in leaves.items()}


def _contender(p: Problem, run: Callable[[], Any], wanted: list[Any], named: Callable[[Any], Mapping[str, Array]]) -> Contender:
    torch = _torch()
    dy = tensor(p.dy)

    def infer() -> Any:
        with torch.inference_mode():
            return run()

    return Contender(infer, lambda: torch.autograd.grad(run(), wanted, dy, allow_unused=True), named)


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
