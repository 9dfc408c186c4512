"""The cells that come with the toolkit: one module a family, whose `CELLS` are its cells in the order of listing.

A new family is a new module and an entry in `FAMILIES`.
"""

from __future__ import annotations

from types import ModuleType

from ..cell import Cell
from ..language.errors import nearest
from . import (
    attention,
    delta,
    diagonal,
    fast,
    gated,
    gru,
    highway,
    learners,
    liquid,
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
    selective,
    spiking,
    timed,
    torch_weights,
    transformed,
    xlstm,
)

FAMILIES: tuple[ModuleType, ...] = (
    *(rnn, lstm, gru),
    *(peephole, lstm_variants, gated, mutants, normalised, highway, memory, oscillators, fast, diagonal, timed, spiking),
    *(attention, delta, xlstm, selective, learners, liquid),
    *(readouts, losses),
)

REGISTRY: dict[str, Cell] = {cell.name: cell for family in FAMILIES for cell in family.CELLS}
"""Every cell of the literature by its name, in the order of listing."""

MADE: tuple[ModuleType, ...] = (transformed, torch_weights)
"""Families of what is made of some of them: by transformations, and with the weights of PyTorch's layers."""

SHIPPED: dict[str, Cell] = {**REGISTRY, **{cell.name: cell for family in MADE for cell in family.CELLS}}
"""Every cell that `generated` has."""

SOURCES: dict[str, str] = {cell.name: f"{family.__name__.replace('.', '/')}.py" for family in (*FAMILIES, *MADE) for cell in family.CELLS}
"""The file that each cell is defined in, by its name."""

SECOND: tuple[str, ...] = (
    *(
        "rnn",
        "rnn_relu",
        "lstm",
        "lstm_peephole",
        "lstm_layernorm",
        "gru",
        "gru_v3",
        "slstm",
        "lru",
        "mgu",
        "indrnn",
        "cornn",
        "lif",
        "lsnn",
    ),
    *("linear", "softmax_readout", "squared_error", "softmax_cross_entropy"),
    *(cell.name for cell in torch_weights.CELLS),
)
"""The cells whose modules in `generated` have second order; any other's is made by `derive generate --order 2`."""


def get(name: str) -> Cell:
    """Return the cell called `name`.

    Raises
    ------
    LookupError
        If there is none; it proposes the most similar name.
    """
    if name not in SHIPPED:
        raise LookupError(f"there is no cell `{name}`{nearest(name, SHIPPED)}; `derive list` names them all")
    return SHIPPED[name]


__all__ = ["FAMILIES", "MADE", "REGISTRY", "SECOND", "SHIPPED", "SOURCES", "get"]
