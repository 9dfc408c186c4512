"""Models with our layers in place of those of `torch.nn`, and the other way."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from .cells import GRUCell, LSTMCell, RNNCell
from .drop_in import GRU, LSTM, RNN

KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.RNN: RNN,
    nn.GRU: GRU,
    nn.LSTM: LSTM,
    nn.RNNCell: RNNCell,
    nn.GRUCell: GRUCell,
    nn.LSTMCell: LSTMCell,
}


def convert(model: Any, *, back: bool = False) -> Any:
    """Return a copy of a model with our layers in place of those of `torch.nn`, and the same weights.

    Parameters
    ----------
    model : torch.nn.Module
        Subclasses of PyTorch's layers, which may run something else, stay as they are.
    back : bool
        Put PyTorch's layers in place of ours instead.
    """
    kinds = {ours: theirs for theirs, ours in KINDS.items()} if back else KINDS
    made = copy.deepcopy(model)
    for layer in made.modules():
        if type(layer) in kinds:
            layer.__class__ = kinds[type(layer)]  # they have the same attributes: only what runs is another
    return made
