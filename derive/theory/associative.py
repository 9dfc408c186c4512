"""Associative recall: keys are given values, some of them another one later, and then asked for; the last value counts.

After the multi-query associative recall of Arora et al. 2023 (arXiv:2312.04927), with a key and its value in one step, so that one layer
can do it, and keys that are given a value twice.  Beside it, what a memory of random keys holds without any training.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..plotting import BLUE, GREEN, RED
from ..runtime.common.training import Adam
from .appearance import INK, Data, below

KEYS = VALUES = 16
PAIRS, ASKED = 24, 8  # of a sequence: written, with repetitions, and asked for
BATCH, UPDATES, MEAN, RATE = 32, 1200, 30, 4e-3
HELD_OUT = 512  # sequences, for what is told in numbers
SIZES: dict[str, dict[str, int]] = {
    "lstm": {"n": 64},
    "linear_attention": {"H": 1, "d_k": 16, "d_v": 16},
    "deltanet": {"H": 1, "d_k": 16, "d_v": 16},
    "gated_deltanet": {"H": 1, "d_k": 16, "d_v": 16},
}
"""Sizes of the layers: an LSTM's state is 128 numbers, a memory's 256."""
COLOURS = dict(zip(SIZES, (INK, RED, BLUE, GREEN), strict=True))
WIDTHS, WRITTEN, DRAWS = (16, 64), (2, 4, 8, 16, 32, 64, 128), 64  # of the memories without training

Array = np.ndarray


def sequences(random: np.random.Generator, batch: int) -> tuple[Array, Array]:
    """Return inputs (T, B, KEYS + VALUES), one-hot, and the values that are asked for, (ASKED, B)."""
    keys, values = random.integers(KEYS, size=(PAIRS, batch)), random.integers(VALUES, size=(PAIRS, batch))
    chosen = np.argsort(random.random((PAIRS, batch)), axis=0)[:ASKED]
    asked = np.take_along_axis(keys, chosen, axis=0)
    same = keys[None] == asked[:, None]  # (ASKED, PAIRS, B)
    last = PAIRS - 1 - np.argmax(same[:, ::-1], axis=1)
    x = np.zeros((PAIRS + ASKED, batch, KEYS + VALUES), np.float32)
    x[:, :, :KEYS] = np.eye(KEYS, dtype=np.float32)[np.concatenate([keys, asked])]
    x[:PAIRS, :, KEYS:] = np.eye(VALUES, dtype=np.float32)[values]
    return x, np.take_along_axis(values, last, axis=0)


class Network:
    """A layer of a cell and a softmax of its outputs, trained by Adam."""

    def __init__(self, cell: str, seed: int = 0) -> None:
        self.module = importlib.import_module(f"generated.{cell}")
        self.layer = self.module.init(**{"d": KEYS + VALUES, **SIZES[cell]}, seed=seed)
        width = self.module.infer(np.zeros((1, 1, KEYS + VALUES), np.float32), self.layer)[0][0, 0].size
        self.readout = (np.random.default_rng(seed).standard_normal((width, VALUES)) / width**0.5).astype(np.float32)
        self.optimiser = Adam(RATE)

    def scores(self, x: Array) -> tuple[Array, Array, Any]:
        """Return the scores of values where they are asked for, the layer's output, and its tape."""
        y, _, tape = self.module.forward(x, self.layer)
        return y[PAIRS:].reshape(ASKED, x.shape[1], -1) @ self.readout, y, tape

    def update(self, x: Array, wanted: Array) -> float:
        """Take a step on a batch; return its loss, nats a question."""
        scores, y, tape = self.scores(x)
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        loss = -np.log(np.take_along_axis(p, wanted[..., None], axis=-1)).mean()
        p[np.arange(ASKED)[:, None], np.arange(x.shape[1]), wanted] -= 1
        p /= wanted.size
        dy = np.zeros_like(y)
        dy[PAIRS:] = (p @ self.readout.T).reshape(y[PAIRS:].shape)
        flat = y[PAIRS:].reshape(-1, len(self.readout))
        grads = (self.module.backward(dy, tape).params, flat.T @ p.reshape(-1, VALUES))
        self.layer, self.readout = self.optimiser.update((self.layer, self.readout), grads)
        return float(loss)

    def right(self, seed: int) -> float:
        """Return the share of questions that are answered rightly, of sequences that were not trained on."""
        x, wanted = sequences(np.random.default_rng(seed), HELD_OUT)
        return float((self.scores(x)[0].argmax(axis=-1) == wanted).mean())


def train(cell: str, updates: int = UPDATES) -> dict[str, Any]:
    """Return losses, means of `MEAN` updates, and the share of right answers after them."""
    network, random = Network(cell), np.random.default_rng(1)
    losses = [network.update(*sequences(random, BATCH)) for _ in range(updates)]
    return {"losses": np.reshape(losses, (-1, MEAN)).mean(axis=1).tolist(), "right": network.right(2)}


def capacity() -> dict[str, dict[str, list[float]]]:
    """Return, by the width of keys, the mean squared error of a value that is read back, over its own square, by the number of pairs.

    Keys and values are random; linear attention adds pairs up, the delta rule at rate 1 writes what is missing.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for width in WIDTHS:
        random = np.random.default_rng(width)
        errors: dict[str, list[float]] = {"sum": [], "delta": []}
        for count in WRITTEN:
            keys, values = random.standard_normal((2, DRAWS, count, width))
            keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
            for rule, target in errors.items():
                memory = np.zeros((DRAWS, width, width))
                for t in range(count):
                    known = memory @ keys[:, t, :, None] if rule == "delta" else 0.0
                    memory += (values[:, t, :, None] - known) * keys[:, t, None]
                error = memory @ keys.swapaxes(1, 2) - values.swapaxes(1, 2)
                target.append(float((error**2).mean() / (values**2).mean()))
        found[str(width)] = errors
    return found


def measure() -> Data:
    """Return losses and answers of each cell, and what memories hold; training is in float32, and its path that of one processor."""
    return {"runs": {cell: train(cell) for cell in SIZES}, "capacity": capacity()}


def draw(data: Data, figure: Any) -> None:
    """Draw the loss over the updates, and the error of what is read back over the number of pairs."""
    left, right = figure.subplots(1, 2)
    updates = MEAN * (np.arange(UPDATES // MEAN) + 0.5)
    left.axhline(np.log(VALUES), color=INK, linewidth=1, linestyle="--", label=f"a guess, ln {VALUES}")
    for cell, run in data["runs"].items():
        left.plot(updates, run["losses"], color=COLOURS[cell], linewidth=1.2, label=cell)
    left.set(title="recall, while it is learned", xlabel="update", ylabel="nats a question", xlim=(0, UPDATES), ylim=(0, 3))
    below(left, 2)
    for width, colour in zip(WIDTHS, (RED, BLUE), strict=True):
        errors = data["capacity"][str(width)]
        right.plot(WRITTEN, errors["sum"], color=colour, linewidth=1.2, marker="o", markersize=3, label=f"sum, $d_k$ = {width}")
        right.plot(WRITTEN, errors["delta"], color=colour, linewidth=1.2, marker="s", markersize=3, linestyle=":", label=f"delta, {width}")
        theory = [(n - 1) / width for n in WRITTEN]
        right.plot(WRITTEN, theory, color=INK, linewidth=0.8, linestyle="--", label="(pairs - 1) / $d_k$" if width == WIDTHS[-1] else "_")
    right.set(title="what a memory holds", xlabel="pairs written", ylabel="error, of a value's square", xscale="log", yscale="log")
    right.set(xlim=(2, 128), ylim=(0.01, 10))
    below(right, 2)
