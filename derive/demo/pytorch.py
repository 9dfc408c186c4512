"""The same training by PyTorch: the cell is one of its layers, autograd makes the gradients, and several processes may share the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from generated.torch import layer

from . import checkpoint
from .checkpoint import CheckpointError, State
from .data import KEYS, Batch, Split
from .processes import Processes, Share
from .train import Epoch, Fit, Module, Report, Result, Settings, batches_of, best_of, hidden_size


class Network(nn.Module):
    """A cell and a linear readout: from the keys of all steps so far to the logits of the next one's."""

    def __init__(self, cell: Any, n: int, keys: int = KEYS, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.cell = layer(cell, keys, n, dtype=dtype)
        self.readout = nn.Linear(n, keys, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (T, B, keys) of `x` (T, B, keys)."""
        logits: Tensor = self.readout(self.cell(x)[0])
        return logits


def nats(network: nn.Module, batch: Batch) -> Tensor:
    """Return the loss of a batch: nats, the sum over all steps that count and all keys."""
    like = next(network.parameters())
    x, target, mask = (torch.from_numpy(part).to(like) for part in batch)
    return binary_cross_entropy_with_logits(network(x), target, mask[..., None], reduction="none").sum(dtype=torch.float64)


def gradients(network: nn.Module, share: Share, processes: Processes) -> float:
    """Leave with the parameters, in all processes, the gradients of the whole batch's mean nats a step; return the nats of the share.

    `DistributedDataParallel` takes the mean, over processes, of the gradients of what each calls its loss. The mean over steps is the sum,
    over processes, of nats / steps: so each calls count · nats / steps its loss, and shares may be of unequal size.
    """
    network.zero_grad()
    loss = nats(network, share.batch)
    (loss * (processes.count / share.steps)).backward()
    return loss.item()


def evaluate(network: nn.Module, shares: Sequence[Share], processes: Processes) -> float:
    """Return mean nats a step over all steps of the data, in all processes."""
    with torch.no_grad():
        own = sum(nats(network, share.batch).item() for share in shares)
    return processes.total(own) / sum(share.steps for share in shares)


class Descent:
    """The training of one cell: what it has come to, and how to go on.

    Parameters
    ----------
    cell : generated module
        Of a recurrent cell.
    settings : Settings
    processes : Processes
    state : State, optional
        Of `state()`, to go on from there.
    """

    def __init__(self, cell: Module, settings: Settings, processes: Processes, state: State | None = None) -> None:
        self.settings, self.processes = settings, processes
        self.n = hidden_size(cell, settings.parameters)
        torch.manual_seed(settings.seed)
        self.network = Network(cell, self.n).to(processes.device)
        self.best = deepcopy(self.network.state_dict())
        self.epochs: list[Epoch] = []
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.learning_rate)
        if state:
            self._go_on(state)
        self.joined = processes.joined(self.network)

    def _go_on(self, state: State) -> None:
        self.network.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = state["best"]
        self.epochs = [Epoch(*losses) for losses in state["epochs"]]
        torch.set_rng_state(state["generator"])

    def state(self) -> State:
        """Return a copy of all that is needed to go on."""
        found = {
            "model": self.network.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "generator": torch.get_rng_state(),
            "epochs": [list(epoch) for epoch in self.epochs],
        }
        return deepcopy(found)

    def epoch(self, train: Sequence[Share], validation: Sequence[Share]) -> Epoch:
        """Go once through the training set, in an order that follows from the seed and the number of the epoch."""
        order = np.random.default_rng((self.settings.seed, len(self.epochs))).permutation(len(train))
        own = sum(self._step(train[i]) for i in order)
        loss = self.processes.total(own) / sum(share.steps for share in train)
        self.epochs.append(Epoch(loss, evaluate(self.network, validation, self.processes)))
        if best_of(self.epochs) == len(self.epochs):
            self.best = deepcopy(self.network.state_dict())
        return self.epochs[-1]

    def _step(self, share: Share) -> float:
        loss = gradients(self.joined, share, self.processes)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_norm)
        if math.isfinite(norm):  # the same in all processes, as the gradients are
            self.optimiser.step()
        return loss


def fit(
    cell: Module,
    data: Split,
    settings: Settings,
    report: Report = lambda epoch: None,
    *,
    processes: Processes = Processes(),  # noqa: B008  a record that nobody alters
    state: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
) -> Result:
    """Train one cell as `train.fit` does, by `torch.optim.Adam`, each process with its share of every batch.

    Parameters
    ----------
    cell, data, settings, report
        As there; `report` is called with all epochs before, too.
    processes : Processes
    state : State, optional
        Of an earlier call with the same arguments, from which to go on.
    keep : function
        Called with the state after every epoch.
    """
    train, validation, test = ([processes.share(batch) for batch in part] for part in batches_of(data, settings))
    run = Descent(cell, settings, processes, state)
    for epoch in run.epochs:
        report(epoch)
    while len(run.epochs) < settings.epochs:
        report(run.epoch(train, validation))
        keep(run.state())
    end = evaluate(run.network, train, processes)
    run.network.load_state_dict(run.best)
    losses = (evaluate(run.network, part, processes) for part in (train, validation, test))
    count = sum(parameter.numel() for parameter in run.network.parameters())
    return Result(run.n, count, run.epochs, end, best_of(run.epochs), *losses)


def resumable(settings: Settings, data: Split, processes: Processes, path: Path | None) -> Fit:
    """Return `fit` for several cells, one after the other, whose states the first process keeps in a file, if there is to be one.

    Raises
    ------
    CheckpointError
        In all processes, if the file is not whole, or of another training.
    """
    this = checkpoint.made_with(settings, data)
    states = processes.same(lambda: _read(path, this))
    if isinstance(states, CheckpointError):
        raise states

    def fit_or_go_on(cell: Module, data: Split, settings: Settings, report: Report) -> Result:
        name = cell.LAYER.name

        def keep(state: State) -> None:
            states[name] = state
            if path and processes.first:
                checkpoint.write(path, this, states)

        return fit(cell, data, settings, report, processes=processes, state=states.get(name), keep=keep)

    return fit_or_go_on


def _read(path: Path | None, this: State) -> dict[str, State] | CheckpointError:
    """Return what the file has, or why it is refused, which the others are to be told."""
    try:
        return checkpoint.read(path, this) if path else {}
    except CheckpointError as error:
        return error
