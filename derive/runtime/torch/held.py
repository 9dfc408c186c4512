"""Weights that a caller promises to leave as they are: packed once, and not at every call."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .passes import Passes

Seen = list[tuple[int, int, Any]]


class Promise:
    """Parameters that stay as they are, and what was packed of them.

    It is of the parameters themselves, and nothing of it lies on a module: a copy of a model, or a weight that is put in a place later, is
    not promised.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        # An inference tensor does not count what is written to it. Who holds the parameters keeps their identities from being given anew.
        every = [parameter for model in models for parameter in model.parameters() if not parameter.is_inference()]
        self.parameters = {id(parameter): parameter for parameter in every}
        self.packed: dict[Any, tuple[Seen, Any]] = {}

    def of(self, passes: Passes, weights: Sequence[Tensor]) -> Any:
        """Return weights as they were packed, or None if they are not promised."""
        key = (passes.module, *map(id, weights))
        found = self.packed.get(key)
        if found is None and not (weights and all([id(weight) in self.parameters for weight in weights])):
            return None
        seen = [(weight._version, weight.data_ptr(), weight.dtype) for weight in weights]  # before they are packed: what is written
        if found is None or found[0] != seen:  # meanwhile is seen by the next call
            found = self.packed[key] = seen, passes.pack(weights)
        return found[1]


PROMISES: list[Promise] = []
"""Those that hold now, in whatever thread: replaced, and never altered, since another thread may be going through them."""
_CHANGING = threading.Lock()


@contextmanager
def packed(*models: nn.Module) -> Iterator[None]:
    """Promise that the weights of models stay as they are inside: layers of this package pack each once, at its first call without a graph.

    Parameters
    ----------
    *models : torch.nn.Module
        Layers, or what has layers of this package anywhere in it.

    Raises
    ------
    TypeError
        If one is no module.
    """
    for model in models:
        if not isinstance(model, nn.Module):
            raise TypeError(f"packed: needs modules of PyTorch, got {type(model).__name__}")
    promise = Promise(models)
    _change([promise], [])
    try:
        yield
    finally:
        _change([], [promise])


def promised(passes: Passes, weights: Sequence[Tensor]) -> Any:
    """Return weights as they were packed by a promise that holds, or None if there is none of them."""
    return next((found for promise in PROMISES if (found := promise.of(passes, weights)) is not None), None)


def _change(begun: list[Promise], ended: list[Promise]) -> None:
    global PROMISES
    with _CHANGING:
        PROMISES = [promise for promise in PROMISES if promise not in ended] + begun
