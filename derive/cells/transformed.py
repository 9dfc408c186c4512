"""Transformations of the RNN, the LSTM and the GRU: zoneout, recurrent dropout, masks, resets, residual connections."""

from __future__ import annotations

from ..language.transform import TRANSFORMATIONS
from .gru import gru
from .lstm import lstm
from .rnn import rnn

CELLS = tuple(transformation(cell) for cell in (rnn, lstm, gru) for transformation in TRANSFORMATIONS.values())
