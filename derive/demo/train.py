"""Next-step prediction of piano rolls with generated kernels: a recurrent cell, a linear readout, sigmoid cross-entropy over the keys.

Every gradient comes from a kernel's `backward`; what is written here is the chain of three modules and the loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from generated import linear, sigmoid_cross_entropy
from generated.training import Adam, clip_by_global_norm, tree_leaves

from .data import KEYS, Batch, Split, batches

Module = Any
"""A generated module of a recurrent cell."""


class Params(NamedTuple):
    cell: Any
    readout: Any


class Settings(NamedTuple):
    """The same for every cell; only the hidden size follows from the cell, by `hidden_size`."""

    parameters: int = 20_000
    batch_size: int = 16
    epochs: int = 200
    learning_rate: float = 2e-2
    max_norm: float = 1.0
    seed: int = 0


class Epoch(NamedTuple):
    """Mean nats a step, summed over the keys."""

    train: float
    """Over the epoch's batches as they were trained on, with the parameters of that moment."""
    validation: float
    """After the epoch."""


class Result(NamedTuple):
    """What training one cell gave; losses are mean nats a step."""

    n: int
    parameters: int
    epochs: list[Epoch]
    train_end: float
    """On the training set, with the last parameters."""
    best_epoch: int
    """Counted from 1: the epoch with the least validation loss. The three losses below are with its parameters."""
    train: float
    validation: float
    test: float


class Trained(NamedTuple):
    """What a descent went through."""

    params: Params
    """The last ones."""
    best: Params
    """Those of the least validation loss, after epoch `best_epoch`, counted from 1."""
    best_epoch: int
    epochs: list[Epoch]


Report = Callable[[Epoch], None]
"""What is told of every epoch."""

Fit = Callable[[Module, Split, Settings, Report], Result]
"""Trains one cell on some data."""

Gradients = Callable[[Module, Params, Batch], tuple[float, Params]]
"""Of a cell, its parameters with those of the readout, and a batch: mean nats a step, and the gradient to go down along."""


def init(cell: Module, n: int, seed: int) -> Params:
    """Parameters of a cell with hidden size n and of its readout, float32."""
    return Params(cell.init(KEYS, n, seed=seed, dtype=np.float32), linear.init(n, KEYS, seed=seed + 1, dtype=np.float32))


def count(params: Params) -> int:
    """Number of scalars in the parameters."""
    return sum(leaf.size for leaf in tree_leaves(params))


def hidden_size(cell: Module, parameters: int) -> int:
    """The n whose count of parameters, readout included, is nearest to `parameters`."""
    n = 1
    while count(init(cell, n + 1, 0)) <= parameters:
        n += 1
    return min(n, n + 1, key=lambda n: abs(count(init(cell, n, 0)) - parameters))


def gradients(cell: Module, params: Params, batch: Batch) -> tuple[float, Params]:
    """Mean nats a step of one batch and its gradient.

    The padding stands at the end of a sequence, so that it cannot change an output that counts;
    a zero cotangent keeps it out of the gradient.
    """
    h, _, cell_tape = cell.forward(batch.x, params.cell)
    logits, _, readout_tape = linear.forward(h, params.readout)
    nats, _, loss_tape = sigmoid_cross_entropy.forward(logits, sigmoid_cross_entropy.Params(), y=batch.target)
    dlogits = sigmoid_cross_entropy.backward(batch.mask / np.float32(batch.steps), loss_tape).a
    readout_grads = linear.backward(dlogits, readout_tape)
    cell_grads = cell.backward(readout_grads.x, cell_tape, only=["params"])  # data need no gradient
    return _total(nats, batch) / batch.steps, Params(cell_grads.params, readout_grads.params)


def evaluate(cell: Module, params: Params, data: Sequence[Batch]) -> float:
    """Mean nats a step over all steps of `data`."""
    return sum(_nats(cell, params, batch) for batch in data) / sum(batch.steps for batch in data)


def _nats(cell: Module, params: Params, batch: Batch) -> float:
    h, _ = cell.infer(batch.x, params.cell)
    logits, _ = linear.infer(h, params.readout)
    nats, _ = sigmoid_cross_entropy.infer(logits, sigmoid_cross_entropy.Params(), y=batch.target)
    return _total(nats, batch)


def _total(nats: Any, batch: Batch) -> float:
    return float(np.sum(nats * batch.mask, dtype=np.float64))


def fit(
    cell: Module,
    data: Split,
    settings: Settings,
    report: Report = lambda epoch: None,
) -> Result:
    """Train one cell: Adam, gradients clipped at a joint norm, batches in a new order every epoch.

    Parameters
    ----------
    cell : generated module
        Of a recurrent cell with input size d and hidden size n.
    data : Split
        Rolls.
    settings : Settings
    report : function
        Called after every epoch.

    Returns
    -------
    Result
        The same for the same arguments.

    Raises
    ------
    ValueError
        If a part of the data has no step to predict, or `settings.epochs` is less than 1.
    """
    train, validation, test = batches_of(data, settings)
    n = hidden_size(cell, settings.parameters)
    run = descend(cell, init(cell, n, settings.seed), train, validation, settings, report=report)
    losses = (evaluate(cell, run.best, part) for part in (train, validation, test))
    return Result(n, count(run.params), run.epochs, evaluate(cell, run.params, train), run.best_epoch, *losses)


def batches_of(data: Split, settings: Settings) -> list[list[Batch]]:
    """Return the batches of training, validation and test set; ValueError if one has no step to predict."""
    found = [batches(rolls, settings.batch_size) for rolls in data]
    if not all(found):
        raise ValueError("training, validation and test set each need a piece of at least two steps")
    return found


def best_of(epochs: Sequence[Epoch]) -> int:
    """Return the number, counted from 1, of the first epoch with the least validation loss."""
    return 1 + min(range(len(epochs)), key=lambda k: epochs[k].validation)


def descend(
    cell: Module,
    params: Params,
    train: Sequence[Batch],
    validation: Sequence[Batch],
    settings: Settings,
    gradients: Gradients = gradients,
    report: Report = lambda epoch: None,
) -> Trained:
    """Train from given parameters, by gradients that may be those of another loss; ValueError if `settings.epochs` is less than 1."""
    if settings.epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {settings.epochs}")
    optimiser = Adam(settings.learning_rate)
    rng = np.random.default_rng(settings.seed)
    best = params
    epochs: list[Epoch] = []
    for _ in range(settings.epochs):
        params, loss = _epoch(cell, params, optimiser, [train[i] for i in rng.permutation(len(train))], settings.max_norm, gradients)
        epochs.append(Epoch(loss, evaluate(cell, params, validation)))
        report(epochs[-1])
        if best_of(epochs) == len(epochs):
            best = params
    return Trained(params, best, best_of(epochs), epochs)


def _epoch(
    cell: Module, params: Params, optimiser: Adam, data: Sequence[Batch], max_norm: float, gradients: Gradients
) -> tuple[Params, float]:
    nats = 0.0
    for batch in data:
        loss, grads = gradients(cell, params, batch)
        clipped, norm = clip_by_global_norm(grads, max_norm)
        if np.isfinite(norm):  # else no factor would help: leave this batch out
            params = optimiser.update(params, clipped)
        nats += loss * batch.steps
    return params, nats / sum(batch.steps for batch in data)
