"""Several processes that train one network: who takes what of a batch, and what they tell one another.

Each has all the data, and takes its share of every batch; `DistributedDataParallel` makes the gradients of all into one.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import distributed, nn

from .data import Batch

T = TypeVar("T")
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}  # by the kind of device


class Share(NamedTuple):
    """What a process has of a batch."""

    batch: Batch
    steps: int
    """Of the whole batch, over which its loss is a mean."""


@dataclass(frozen=True)
class Processes:
    """Those that train together, as one of them sees it.

    Attributes
    ----------
    rank, count : int
        Which one it is, and of how many.
    device : str
        Where it computes, as `torch.device` takes it.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether it is the one that prints and writes."""
        return self.rank == 0

    def share(self, batch: Batch) -> Share:
        """Return every `count`-th sequence of a batch, without the padding that only longer ones need.

        Neighbours in a batch are of like length, so all have about as much to do. A process for which no sequence is left takes one whose
        steps count nothing: it has to take part in every sum.
        """
        x, target, mask = (part[:, self.rank :: self.count] for part in batch)
        if not mask.shape[1]:
            x, target, mask = batch.x[:, :1], batch.target[:, :1], 0 * batch.mask[:, :1]
        length = max(1, int(mask.any(axis=1).sum()))
        return Share(Batch(x[:length], target[:length], mask[:length]), batch.steps)

    def joined(self, network: nn.Module) -> nn.Module:
        """Return a network whose gradients, after `backward`, are the means of those of all processes."""
        return nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True) if self.count > 1 else network

    def total(self, value: float) -> float:
        """Return the sum of the values of all processes."""
        if self.count == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(found)
        return float(found)

    def same(self, make: Callable[[], T]) -> T:
        """Return, in all processes, what the first of them makes."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.first else None]
        distributed.broadcast_object_list(made, device=torch.device(self.device))
        found: T = made[0]
        return found


@contextmanager
def together(device: str = "cpu") -> Iterator[Processes]:
    """Join the processes that `torchrun` has started with this one; without it, there is this one alone.

    Parameters
    ----------
    device : str
        The kind: "cpu", with gloo between processes, or "cuda", with NCCL, where each process has the device of its number on its machine.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Processes(device=device)
        return
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    if device == "cuda":
        torch.cuda.set_device(own)
    store, rank, count = next(distributed.rendezvous("env://"))
    distributed.init_process_group(BACKENDS[device], store=_of_this_life(store), rank=rank, world_size=count)
    try:
        yield Processes(rank, count, own)
    finally:
        leave()


def leave() -> None:
    """Leave the processes that this one has joined.

    A network that is joined is part of a circle of references, and while it is there, so is the group: its threads would meet an
    interpreter that is about to end, and abort.
    """
    gc.collect()
    distributed.destroy_process_group()


def _of_this_life(store: Any) -> Any:
    """Return the part of a store that processes meet by which `torchrun` has started together.

    It keeps one store for all lives (unless `TORCH_DISABLE_SHARE_RDZV_TCP_STORE` is 1), in which a process that is started again may find
    where another one was in the life before, and wait for it. Launchers on several machines may differ in what they have counted.
    """
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    return distributed.PrefixStore(f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
