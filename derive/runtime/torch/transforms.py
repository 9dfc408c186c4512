"""The masks that layers draw for transformed cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MASKS = {"zoneout": "zoneout_", "recurrent_dropout": "dropout_"}  # before a state's name, in what a transformed cell is given
SHARED = ("mask", "reset")  # what all layers of a stack are given
Probabilities = float | Mapping[str, float]


@dataclass(frozen=True)
class Noise:
    """Masks of zoneout and recurrent dropout, drawn by PyTorch's generator.

    Attributes
    ----------
    zoneout, recurrent_dropout : mapping from a state to a probability
    """

    zoneout: Mapping[str, float] = field(default_factory=dict)
    recurrent_dropout: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What the masks are called among a module's inputs and contexts."""
        kept, hidden = MASKS["zoneout"], MASKS["recurrent_dropout"]
        return [*(kept + state for state in self.zoneout), *(hidden + state for state in self.recurrent_dropout)]

    @classmethod
    def of(cls, table: Any, zoneout: Probabilities, recurrent_dropout: Probabilities) -> Noise:
        """Return the noise of a module's layer; a number is for all states that it can be for."""
        return cls(_by_state(table.inputs, "zoneout", zoneout), _by_state(table.context, "recurrent_dropout", recurrent_dropout))

    def drawn(self, shapes: Mapping[str, Sequence[int]], like: Tensor, training: bool) -> dict[str, Tensor]:
        """Return the masks of a call by the names of the module's inputs and contexts; without training, what is expected of them.

        Parameters
        ----------
        shapes : mapping from the name of an input or context to its shape, steps and sequences included
        like : tensor
            Of the masks' dtype and device.
        """
        found = {}
        for state, p in self.zoneout.items():
            name = MASKS["zoneout"] + state
            full = like.new_full(tuple(shapes[name]), p)
            found[name] = torch.bernoulli(full) if training else full
        for state, p in self.recurrent_dropout.items():
            name = MASKS["recurrent_dropout"] + state
            full = like.new_full(tuple(shapes[name]), 1 - p)
            found[name] = torch.bernoulli(full) / (1 - p) if training else torch.ones_like(full)
        return found


def _by_state(given: Sequence[str], what: str, probability: Probabilities) -> dict[str, float]:
    """Return a probability for each state that has a mask among the names that a cell is given."""
    if probability == 0:
        return {}
    prefix = MASKS[what]
    states = [name.removeprefix(prefix) for name in given if name.startswith(prefix)]
    found = dict(probability) if isinstance(probability, Mapping) else dict.fromkeys(states, probability)
    for state, p in found.items():
        if state not in states:
            raise ValueError(f"{what}: `{state}` is none of {', '.join(states)}")
        if not 0 <= p < 1:
            raise ValueError(f"{what} must be a probability below 1, got {p}")
    return {state: found.get(state, 0.0) for state in states}
