"""Store and recall by spiking neurons: a value is seen, kept past others, and asked for (Bellec et al. 2018, arXiv:1803.09574).

The input is spikes of four groups of neurons, drawn anew for every batch: one for each of two values, one that says "store", one that
says "recall".  Time is divided into slots.  In each slot one value is shown, drawn at random; in one of them it is to be stored, and in a
later one the group "recall" fires and no value is shown.  The network names the stored value, by its readout summed over that slot.

All gradients are those of the kernels of the cells below, compiled in memory.  Nothing is downloaded, and nothing but NumPy and Numba used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from generated import softmax_cross_entropy
from generated.training import Adam, clip_by_global_norm

from ..cell import Cell
from ..package import memory

Reals = NDArray[np.floating[Any]]

PSEUDO = "0.5 * maximum(0, 1 - abs(v))"
WAYS: dict[str, dict[str, Any]] = {
    "true derivative": {"spike(v)": "step(v)", "sent(z)": "z"},
    "e-prop": {"spike(v)": ("step(v)", PSEUDO), "sent(z)": "detach(z)"},
    "surrogate": {"spike(v)": ("step(v)", PSEUDO), "sent(z)": "z"},
}
"""What is written for the derivative of a spike, and for that along what neurons send to one another."""
LIF = """
    u = decay * u_prev + W @ x + V @ sent(z_prev) - detach(z_prev)
    z = spike(u - 1)
    y = keep * y_prev + R @ z + b
"""
ADAPTIVE = """
    u = decay * u_prev + W @ x + V @ sent(z_prev) - detach(z_prev)
    a = slow * a_prev + (1 - slow) * z_prev
    z = spike(u - 1 - strength * a)
    y = keep * y_prev + R @ z + b
"""
NEURONS = {"LIF": LIF, "adaptive": ADAPTIVE}
CONSTANTS = {"decay": 0.9, "keep": 0.9, "slow": 0.985, "strength": 3.0}


def identifier(neurons: str, way: str) -> str:
    """Return what a network is called as a module."""
    return re.sub(r"\W", "_", f"{neurons}_{way}")


def network(neurons: str, way: str) -> Cell:
    """Return a network of `NEURONS` with a leaky readout, whose gradients are those of one of the `WAYS`."""
    text = NEURONS[neurons]
    return Cell(
        text,
        name=identifier(neurons, way),
        output="y",
        constants={name: value for name, value in CONSTANTS.items() if name in text},
        shapes={"y": "k"},
        init={"b": "zeros"},
        functions=WAYS[way],
    )


VALUES, STORE, RECALL, GROUPS = 2, 2, 3, 4  # how many values; the places of the other groups; how many groups
TESTED = 1000  # sequences


class Settings(NamedTuple):
    """Of the task, the network and its training."""

    slots: int = 8
    steps: int = 10
    """Of a slot."""
    inputs: int = 5
    """Neurons of a group."""
    rate: float = 0.4
    """Probability that a neuron of an active group spikes at a step."""
    n: int = 40
    batch_size: int = 64
    updates: int = 300
    learning_rate: float = 1e-2
    max_norm: float = 1.0
    seed: int = 0


class Batch(NamedTuple):
    x: Reals
    """(T, B, d): spikes, 0 and 1."""
    value: NDArray[np.intp]
    """(B,): what was stored."""
    asked: Reals
    """(T, B): 1 at the steps of the slot in which it is asked for."""


class Result(NamedTuple):
    losses: list[float]
    """Of every update: nats a step of the slots of recall."""
    wrong: float
    """Share of wrong answers on 1000 new sequences."""


def batch(settings: Settings, random: np.random.Generator, size: int) -> Batch:
    """Return `size` sequences, float32."""
    shown = random.integers(0, VALUES, (settings.slots, size))
    store = random.integers(0, settings.slots - 1, size)
    recall = random.integers(store + 1, settings.slots)
    each = np.arange(size)
    active = np.zeros((settings.slots, size, GROUPS))
    active[np.arange(settings.slots)[:, None], each, shown] = 1
    active[recall, each, :VALUES] = 0
    active[store, each, STORE] = active[recall, each, RECALL] = 1
    rates = np.repeat(np.repeat(active, settings.steps, axis=0), settings.inputs, axis=2) * settings.rate
    asked = np.repeat(active[..., RECALL], settings.steps, axis=0)
    return Batch((random.random(rates.shape) < rates).astype(np.float32), shown[store, each], asked.astype(np.float32))


def init(cell: Any, settings: Settings) -> Any:
    """Return parameters of a compiled cell, with inputs strong enough that neurons spike from the start."""
    params = cell.init(d=GROUPS * settings.inputs, n=settings.n, k=VALUES, seed=settings.seed)
    return params._replace(W=params.W * params.W.dtype.type(3))


def gradients(cell: Any, params: Any, data: Batch) -> tuple[float, Any]:
    """Return nats a step of the slots of recall, and its gradient by the parameters."""
    y, _, tape = cell.forward(data.x, params)
    k = np.broadcast_to(data.value, data.asked.shape)
    nats, _, loss_tape = softmax_cross_entropy.forward(y, softmax_cross_entropy.Params(), k=k)
    weight = data.asked / data.asked.sum()
    dy = softmax_cross_entropy.backward(weight, loss_tape).a
    return float(np.sum(weight * nats, dtype=np.float64)), cell.backward(dy, tape, only=["params"]).params


def wrong(cell: Any, params: Any, data: Batch) -> float:
    """Return the share of answers that are wrong: the larger of the readout's sums over the slot of recall is the answer."""
    y, _ = cell.infer(data.x, params)
    return float(np.mean(np.sum(y * data.asked[..., None], axis=0).argmax(axis=-1) != data.value))


def fit(cell: Any, settings: Settings, report: Callable[[float], None] = lambda loss: None) -> Result:
    """Train a compiled cell: Adam, gradients clipped at a joint norm, a new batch for every update."""
    random = np.random.default_rng((settings.seed, 1))
    params, optimiser = init(cell, settings), Adam(settings.learning_rate)
    losses: list[float] = []
    for _ in range(settings.updates):
        loss, grads = gradients(cell, params, batch(settings, random, settings.batch_size))
        params = optimiser.update(params, clip_by_global_norm(grads, settings.max_norm)[0])
        losses.append(loss)
        report(loss)
    return Result(losses, wrong(cell, params, batch(settings, np.random.default_rng((settings.seed, 2)), TESTED)))


def compiled() -> dict[tuple[str, str], Any]:
    """Return the kernels of all networks, by neurons and way."""
    pairs = [(neurons, way) for neurons in NEURONS for way in WAYS]
    modules = memory.compile_all(network(*pair) for pair in pairs)
    return {pair: modules[identifier(*pair)] for pair in pairs}


def compared(settings: Settings, report: Callable[[str], None] = print) -> None:
    """Train adaptive neurons by each of the ways; report a line for each."""
    report(f"{'':<16} nats, first 10   last 30 updates   wrong answers")
    modules = compiled()
    for way in WAYS:
        result = fit(modules["adaptive", way], settings)
        first, last = np.mean(result.losses[:10]), np.mean(result.losses[-30:])
        report(f"{way:<16} {first:14.3f} {last:17.3f} {result.wrong:15.1%}")
