"""Layers of packages for spiking networks on PyTorch, as their users write them: their own modules in their own loops."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..verify.problem import Problem
from .contender import Array
from .pytorch import Layer, tensor

NORSE = {"tau_mem_inv": "tm", "tau_syn_inv": "ts", "tau_adapt_inv": "ta", "v_leak": "vl", "v_th": "vt", "v_reset": "vr", "beta": "beta"}
"""The cell's constants, by what Norse calls them."""


def norse(p: Problem) -> Layer:
    """Return Norse's `LSNNRecurrent` with the weights and constants of `lsnn`."""
    package = importlib.import_module("norse.torch")
    data = _data(p)
    weights = {"input_weights": _weight(p.arrays["W"]), "recurrent_weights": _weight(p.arrays["V"])}
    constants = {key: importlib.import_module("torch").tensor(float(p.cell.constants[name])) for key, name in NORSE.items()}
    parameters = package.LSNNParameters(**constants)
    layer = package.LSNNRecurrent(p.sizes["d"], p.sizes["n"], parameters, autapses=True, dt=float(p.cell.constants["dt"]), **weights)
    state = package.LSNNState(**{name: data[f"{name}_prev"] for name in package.LSNNState._fields})

    def named(found: Mapping[str, Array]) -> dict[str, Array]:
        return {"W": found["input_weights"], "V": found["recurrent_weights"]}

    return Layer(lambda inputs: layer(inputs[0], state)[0], data, weights, named)


def snntorch(p: Problem) -> Layer:
    """Return a `Linear` and snnTorch's `Leaky` with the weights of `lif`, whose β is learnt."""
    torch, package = importlib.import_module("torch"), importlib.import_module("snntorch")
    data, beta = _data(p), tensor(p.arrays["beta"])
    linear = torch.nn.Linear(p.sizes["d"], p.sizes["n"], dtype=beta.dtype)
    linear.load_state_dict({"weight": tensor(p.arrays["W"]), "bias": tensor(p.arrays["b"])})
    leaky = package.Leaky(beta, learn_beta=True, spike_grad=importlib.import_module("snntorch.surrogate").atan())

    def run(inputs: Sequence[Any]) -> Any:
        mem, spikes = data["u_prev"], []
        for x in inputs[0].unbind(0):
            spike, mem = leaky(linear(x), mem)
            spikes.append(spike)
        return torch.stack(spikes)

    return Layer(run, data, {"W": linear.weight, "b": linear.bias, "beta": leaky.beta})


def _data(p: Problem) -> dict[str, Any]:
    names = (*p.cell.inputs, *(f"{s}_prev" for s in p.cell.states))
    return {name: tensor(p.arrays[name], requires_grad=True) for name in names}


def _weight(value: Array) -> Any:
    return importlib.import_module("torch").nn.Parameter(tensor(value))
