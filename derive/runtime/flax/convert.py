"""Weights of Flax's cells, and the other way."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from flax import nnx
from jax import numpy as jnp

from ..jax.layers import Layout, stacked, taken
from .layer import RNN


@dataclass(frozen=True)
class Weights:
    """Where the parameters of one of our cells lie in one of Flax's.

    Attributes
    ----------
    cell : str
        Ours.
    layout : Layout
        By the path of an array of Flax's, which holds columns, the parameters in it.
    without : tuple of str
        Parameters that Flax's cell has not: they are zero, and not trained.
    """

    cell: str
    layout: Layout
    without: tuple[str, ...] = ()


TABLE: dict[type, Weights] = {
    nnx.OptimizedLSTMCell: Weights(
        "lstm",
        {
            "dense_i.kernel": ("W_i", "W_f", "W_g", "W_o"),
            "dense_h.kernel": ("U_i", "U_f", "U_g", "U_o"),
            "dense_h.bias": ("b_i", "b_f", "b_g", "b_o"),
        },
    ),
    nnx.LSTMCell: Weights(
        "lstm",
        {
            **{"ii.kernel": ("W_i",), "if_.kernel": ("W_f",), "ig.kernel": ("W_g",), "io.kernel": ("W_o",)},
            **{"hi.kernel": ("U_i",), "hf.kernel": ("U_f",), "hg.kernel": ("U_g",), "ho.kernel": ("U_o",)},
            **{"hi.bias": ("b_i",), "hf.bias": ("b_f",), "hg.bias": ("b_g",), "ho.bias": ("b_o",)},
        },
    ),
    nnx.GRUCell: Weights(
        "gru",
        {
            "dense_i.kernel": ("W_r", "W_z", "W_n"),
            "dense_i.bias": ("b_r", "b_z", "b_in"),
            "dense_h.kernel": ("U_r", "U_z", "U_n"),
        },
        without=("b_hn",),
    ),
    nnx.SimpleCell: Weights("rnn", {"dense_i.kernel": ("W",), "dense_i.bias": ("b",), "dense_h.kernel": ("U",)}),
}
PLAIN = ("gate_fn", "activation_fn", "residual", "carry_init", "promote_dtype")  # arguments that must be as they are by default


def from_flax(cell: Any) -> RNN:
    """Return a layer with the weights of one of Flax's cells.

    Parameters
    ----------
    cell : nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell or nnx.SimpleCell; or an nnx.RNN of one
        Of `nnx.RNN` the options are taken over.

    Raises
    ------
    ValueError
        It says what the cell has that the layer would not: functions of another kind, a residual connection.
    """
    options = {}
    if type(cell) is nnx.RNN:
        options = {name: getattr(cell, name) for name in ("time_major", "return_carry", "reverse", "keep_order")}
        cell = cell.cell
    weights = _checked(cell)
    values = taken(weights.layout, lambda path: reduce(getattr, path.split("."), cell)[...].T)
    dtype = next(iter(values.values())).dtype
    sizes = cell.in_features, cell.hidden_features
    layer = RNN(weights.cell, *sizes, fixed=weights.without, param_dtype=dtype, rngs=nnx.Rngs(0), **options)
    for name in layer.function.Params._fields:
        getattr(layer, name)[...] = values.get(name, 0)
    return layer


def to_flax(layer: RNN, kind: Any = None) -> Any:
    """Return one of Flax's cells with the weights of a layer.

    Parameters
    ----------
    layer : RNN
        Of the cell `lstm`, `gru` or `rnn`.
    kind : type, optional
        Of the cell to make, where there are several: `nnx.LSTMCell`, or, by default, `nnx.OptimizedLSTMCell`.

    Raises
    ------
    ValueError
        If Flax's cell has no place for a parameter, or there is no such cell.
    """
    name = layer.function.__name__
    kinds = [each for each, weights in TABLE.items() if weights.cell == name]
    if not kinds or (kind is not None and kind not in kinds):
        known = ", ".join(f"{each.__name__} for {weights.cell}" for each, weights in TABLE.items())
        raise ValueError(f"{name}: Flax has no cell of its equations{f' that is a {kind.__name__}' if kind else ''}; it has {known}")
    weights = TABLE[kind or kinds[0]]
    for field in weights.without:
        if jnp.any(getattr(layer, field)[...] != 0):
            raise ValueError(f"{name}: {field} must be zero, since {kinds[0].__name__} has none; `fixed={weights.without}` keeps it there")
    dtype = layer.param_dtype
    make = partial(kind or kinds[0], layer.in_features, layer.hidden_features, dtype=dtype, param_dtype=dtype)
    cell = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))  # whose arrays all come from the layer
    for path, value in stacked(weights.layout, lambda of: getattr(layer, of)[...]).items():
        reduce(getattr, path.split("."), cell).set_value(value.T)
    return cell


def _checked(cell: Any) -> Weights:
    """Return where a cell's weights belong, if it computes what our cell does."""
    kind = type(cell)
    if kind not in TABLE:
        raise ValueError(f"needs one of Flax's cells {', '.join(each.__name__ for each in TABLE)}, or an RNN of one, got {kind.__name__}")
    known = inspect.signature(kind.__init__).parameters
    for name in PLAIN:
        if name in known and (got := getattr(cell, name)) != known[name].default:
            raise ValueError(f"{kind.__name__}: {name} must be what it is by default, got {got!r}: write a Cell that says it")
    dtype = jnp.dtype(cell.param_dtype)
    if cell.dtype is not None and jnp.dtype(cell.dtype) != dtype:
        raise ValueError(f"{kind.__name__}: dtype must be that of its parameters, {dtype}, got {jnp.dtype(cell.dtype)}")
    return TABLE[kind]
