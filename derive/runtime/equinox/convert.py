"""Weights of Equinox's cells, and the other way."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
from jax import numpy as jnp

from ..jax.layers import Layout, stacked, taken
from .layer import RNN

# By the name of ours: the type of theirs, and the parameters in each of its arrays, which hold rows.
TABLE: dict[str, tuple[Any, Layout]] = {
    "lstm": (
        eqx.nn.LSTMCell,
        {
            "weight_ih": ("W_i", "W_f", "W_g", "W_o"),
            "weight_hh": ("U_i", "U_f", "U_g", "U_o"),
            "bias": ("b_i", "b_f", "b_g", "b_o"),
        },
    ),
    "gru": (
        eqx.nn.GRUCell,
        {
            "weight_ih": ("W_r", "W_z", "W_n"),
            "weight_hh": ("U_r", "U_z", "U_n"),
            "bias": ("b_r", "b_z", "b_in"),
            "bias_n": ("b_hn",),
        },
    ),
}
TABLE |= {
    f"{name}_nobias": (kind, {array: names for array, names in layout.items() if array.startswith("weight")})
    for name, (kind, layout) in TABLE.items()
}


def from_equinox(cell: Any) -> RNN:
    """Return a layer with the weights of one of Equinox's cells.

    Parameters
    ----------
    cell : eqx.nn.LSTMCell or eqx.nn.GRUCell

    Raises
    ------
    ValueError
        If it is none of these.
    """
    found = [name for name, (kind, layout) in TABLE.items() if type(cell) is kind and cell.use_bias == ("bias" in layout)]
    if not found:
        raise ValueError(f"needs one of Equinox's cells LSTMCell, GRUCell, got {type(cell).__name__}")
    values = taken(TABLE[found[0]][1], lambda name: getattr(cell, name))
    dtype = jnp.result_type(*values.values())
    layer = RNN(found[0], cell.input_size, cell.hidden_size, dtype=dtype, key=jax.random.key(0))
    return eqx.tree_at(lambda layer: layer.params, layer, layer.function.Params(**values))


def to_equinox(layer: RNN) -> Any:
    """Return one of Equinox's cells with the weights of a layer.

    Parameters
    ----------
    layer : RNN
        Of the cell `lstm`, `gru`, `lstm_nobias` or `gru_nobias`.

    Raises
    ------
    ValueError
        If there is no such cell.
    """
    name = layer.function.__name__
    if name not in TABLE:
        raise ValueError(f"{name}: Equinox has no cell of its equations; it has those of {', '.join(TABLE)}")
    kind, layout = TABLE[name]
    values = stacked(layout, lambda of: getattr(layer.params, of))
    make = partial(kind, layer.input_size, layer.hidden_size, use_bias="bias" in layout)
    cell = eqx.filter_eval_shape(lambda: make(key=jax.random.key(0)))  # whose arrays all come from the layer
    return eqx.tree_at(lambda cell: [getattr(cell, name) for name in values], cell, list(values.values()))
