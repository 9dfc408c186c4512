"""The kernels of this package as layers of PyTorch.

    RNN, LSTM, GRU                 in place of those of `torch.nn`: the same arguments, weights, shapes, errors
    RNNCell, LSTMCell, GRUCell     likewise
    layer(name, d, n, …)           any cell of this package, or a generated module
    convert(model)                 every recurrent layer of `torch.nn` in a model replaced by ours
    packed(model)                  inside which weights stay as they are, and are packed once

They are differentiated as PyTorch differentiates: backward, twice, in forward mode, and under the transformations of `torch.func`.
"""

from __future__ import annotations

from .anycell import Recurrent, layer
from .cells import GRUCell, LSTMCell, RNNCell
from .convert import convert
from .drop_in import GRU, LSTM, RNN
from .held import packed

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "convert", "layer", "packed"]
