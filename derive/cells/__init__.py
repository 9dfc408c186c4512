"""The cells that come with the toolkit: one module a family, whose `CELLS` are its cells in the order of listing.

A new family is a new module and an entry in `FAMILIES`.
"""

from __future__ import annotations

from types import ModuleType

from ..cell import Cell
from ..language.errors import nearest
from . import (
    diagonal,
    fast,
    gated,
    gru,
    highway,
    losses,
    lstm,
    lstm_variants,
    memory,
    mutants,
    normalised,
    oscillators,
    peephole,
    readouts,
    rnn,
)

FAMILIES: tuple[ModuleType, ...] = (
    *(rnn, lstm, gru),
    *(peephole, lstm_variants, gated, mutants, normalised, highway, memory, oscillators, fast, diagonal),
    *(readouts, losses),
)

REGISTRY: dict[str, Cell] = {cell.name: cell for family in FAMILIES for cell in family.CELLS}
"""Every cell by its name, in the order of listing."""

SOURCES: dict[str, str] = {cell.name: f"{family.__name__.replace('.', '/')}.py" for family in FAMILIES for cell in family.CELLS}
"""The file that each cell is defined in, by its name."""

SECOND: tuple[str, ...] = (
    *("rnn", "rnn_relu", "lstm", "lstm_peephole", "lstm_layernorm", "gru", "gru_v3", "slstm", "lru", "mgu", "indrnn", "cornn"),
    *("linear", "softmax_readout", "squared_error", "softmax_cross_entropy"),
)
"""The cells whose modules in `generated` have second order; any other's is made by `derive generate --order 2`."""


def get(name: str) -> Cell:
    """Return the cell called `name`.

    Raises
    ------
    LookupError
        If there is none; it proposes the most similar name.
    """
    if name not in REGISTRY:
        raise LookupError(f"there is no cell `{name}`{nearest(name, REGISTRY)}; `derive list` names them all")
    return REGISTRY[name]


__all__ = ["FAMILIES", "REGISTRY", "SECOND", "SOURCES", "get"]
