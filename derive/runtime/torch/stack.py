"""Layers one above the other, each in one direction or both: what lies between the calls of a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

REVERSE = "_reverse"
Call = Callable[[str, int, Sequence[Tensor]], tuple[Tensor, ...]]
"""Of a place, its number and inputs: output and final states, where there is one place alone with an axis for it."""


def places(layer: int, bidirectional: bool) -> list[str]:
    """Return what follows the names of weights in the directions of a layer, as in `torch.nn`."""
    return [f"_l{layer}{way}" for way in ("", REVERSE)[: 1 + bidirectional]]


def is_single(layers: int, bidirectional: bool) -> bool:
    """Say whether there is one place alone."""
    return layers == 1 and not bidirectional


def run_layers(
    call: Call, given: Sequence[Tensor], layers: int, *, bidirectional: bool, dropout: float, training: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return the output of the last layer, and the final states of all, each with an axis for layers and directions before its own."""
    finals: list[Any] = []
    for layer in range(layers):
        outputs: list[Tensor] = []
        for place in places(layer, bidirectional):
            y, *final = call(place, len(finals), given)
            outputs.append(y)
            finals.append(final)
        y = torch.cat(outputs, -1) if bidirectional else outputs[0]
        given = [functional.dropout(y, dropout, training) if dropout and layer < layers - 1 else y]
    if len(finals) == 1:
        return given[0], finals[0]
    return given[0], [torch.stack(parts) for parts in zip(*finals, strict=True)]
