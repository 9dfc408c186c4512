"""What a gradient penalty buys on Bach's chorales, with inputs as they are and disturbed, beside two ways that need no second order.

An LSTM, as `derive demo` trains it, learns with a penalty on the gradient by its input (Drucker and LeCun 1992), with noise on its input
(Bishop 1995, Neural Computation 7(1):108-116: for little noise, nearly a penalty), with weight decay, and as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from generated import lstm
from generated.training import tree_map

from ..demo import second
from ..demo.comparison import SPLIT_SEED
from ..demo.data import KEYS, Batch, batches, chorales, split
from ..demo.train import Gradients, Params, Settings, descend, evaluate, gradients, hidden_size, init
from ..plotting import BLUE, GREEN, RED
from .appearance import INK, Data, below

SETTINGS = Settings(epochs=100)
SEEDS = range(5)  # of initial parameters, the order of batches, and noise
STRENGTHS: dict[str, tuple[float, ...]] = {
    "nothing": (0.0,),
    "decay": (1e-4, 3e-4, 1e-3),
    "noise": (0.05, 0.1, 0.2),
    "penalty": (0.01, 0.03, 0.1),
}
LABELS = {"nothing": "as it is", "decay": "weight decay", "noise": "noise on the input", "penalty": "gradient penalty"}
COLOURS = {"nothing": INK, "decay": BLUE, "noise": GREEN, "penalty": RED}
NOISE, WRONG, WORST = 0.2, 0.2, 0.3


def way(name: str, strength: float, seed: int) -> Gradients:
    """Return how the gradients of a way of training are computed."""
    random = np.random.default_rng((seed, 6))

    def decay(cell: Any, params: Params, batch: Batch) -> tuple[float, Params]:
        loss, grads = gradients(cell, params, batch)
        return loss, tree_map(lambda g, p: g + g.dtype.type(strength) * p, grads, params)

    def noise(cell: Any, params: Params, batch: Batch) -> tuple[float, Params]:
        return gradients(cell, params, noisy(batch, strength, random))

    def penalty(cell: Any, params: Params, batch: Batch) -> tuple[float, Params]:
        loss, _, grads = second.penalised(cell, params, batch, strength)
        return loss, grads

    return {"nothing": gradients, "decay": decay, "noise": noise, "penalty": penalty}[name]


def noisy(batch: Batch, size: float, random: np.random.Generator) -> Batch:
    """Return a batch with normal noise of standard deviation `size` on every key of every step."""
    return batch._replace(x=batch.x + random.standard_normal(batch.x.shape).astype(batch.x.dtype) * batch.x.dtype.type(size))


def mistaken(batch: Batch, share: float, random: np.random.Generator) -> Batch:
    """Return a batch in which a share of the notes are played a semitone too high or too low."""
    t, b, key = np.nonzero(batch.x)
    off = (random.random(len(key)) < share) * random.choice([-1, 1], len(key))
    x = np.zeros_like(batch.x)
    x[t, b, np.clip(key + off, 0, KEYS - 1)] = 1
    return batch._replace(x=x)


def worst(cell: Any, params: Params, batch: Batch, length: float) -> Batch:
    """Return a batch with the input of every step moved by `length` along the gradient of the piece's loss with respect to it."""
    by_x = second.backward(cell, second.forward(cell, params, batch))[0].x
    norms = np.linalg.norm(by_x, axis=-1, keepdims=True)
    return batch._replace(x=batch.x + by_x.dtype.type(length) * by_x / np.where(norms > 0, norms, 1))


def disturbances(params: Params) -> dict[str, Callable[[Batch], Batch]]:
    """Return what is done to the inputs of the test set, the same for all that are compared but for the last, which looks at `params`."""
    random = np.random.default_rng(7)
    return {
        "clean": lambda batch: batch,
        "noise": lambda batch: noisy(batch, NOISE, random),
        "wrong notes": lambda batch: mistaken(batch, WRONG, random),
        "worst": lambda batch: worst(lstm, params, batch, WORST),
    }


def tested(params: Params, test: Sequence[Batch]) -> dict[str, float]:
    """Return the test loss under every disturbance."""
    return {name: evaluate(lstm, params, [disturb(batch) for batch in test]) for name, disturb in disturbances(params).items()}


def measure() -> Data:
    """Train in every way, with every strength and seed; return validation and test losses with the parameters of the best epoch.

    Needs the extra `demo`.  As for the learning curves, training is in float32: the same on one machine, another path on another.
    """
    train, validation, test = (batches(rolls, SETTINGS.batch_size) for rolls in split(chorales(), SPLIT_SEED))
    n = hidden_size(lstm, SETTINGS.parameters)
    ways: Data = {}
    for name, strengths in STRENGTHS.items():
        for strength in strengths:
            runs = []
            for seed in SEEDS:
                settings = SETTINGS._replace(seed=seed)
                run = descend(lstm, init(lstm, n, seed), train, validation, settings, way(name, strength, seed))
                losses = {"best_epoch": run.best_epoch, "validation": evaluate(lstm, run.best, validation), **tested(run.best, test)}
                runs.append(losses)
            ways.setdefault(name, {})[f"{strength:g}"] = {key: [run[key] for run in runs] for key in runs[0]}
    return {"n": n, "settings": SETTINGS._asdict(), "disturbances": {"noise": NOISE, "wrong notes": WRONG, "worst": WORST}, "ways": ways}


def draw(data: Data, figure: Any) -> None:
    """Draw disturbed test losses over the clean one: a line for each way, a point for each strength."""
    panels = {"wrong notes": "a fifth of the notes a semitone off", "worst": "moved by 0.3 in the worst direction"}
    for axes, (kind, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for name, strengths in STRENGTHS.items():
            runs = [data["ways"][name][f"{strength:g}"] for strength in strengths]
            places = [[float(np.mean(run[key])) for run in runs] for key in ("clean", kind)]
            axes.plot(*places, "-o", color=COLOURS[name], markersize=5, label=LABELS[name])
        axes.set(title=title, xlabel="test loss", ylabel="test loss, disturbed")
        below(axes, 2)
