"""Arrays by name: layers of PyTorch and parameters of cells among those of a model, told by their names.

A name is a prefix, such as `encoder.`, what the array is, and a place in a stack, such as `_l1_reverse`.  Arrays that have prefix and
place in common are a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..cell import Cell
from .errors import ConvertError
from .forms import USUAL, Form
from .layer import Layer, picked
from .layouts import CELLS, PEEPHOLE, TORCH, Array
from .weights import Weights, checked

NAME = re.compile(r"(?P<prefix>(?:.*\.)?)(?P<base>[^.]+?)(?P<place>(?:_l\d+(?:_reverse)?)?)")
KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}
"""PyTorch's layers by how many gates lie one below the other."""


@dataclass(frozen=True)
class Group:
    """Arrays that belong together: the name of all, and each by what is left of its own."""

    name: str
    arrays: Mapping[str, Array]
    reverse: bool


def real(array: Array) -> Array:
    """Return numbers of half precision as float32, which has all of them; others as they are, in the machine's byte order."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array.astype(array.dtype.newbyteorder("="), copy=False)


def groups(arrays: Mapping[str, Array]) -> list[Group]:
    """Return the groups of arrays, in the order in which they begin."""
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for name, array in arrays.items():
        if match := NAME.fullmatch(name):
            found.setdefault((match["prefix"], match["place"]), {})[match["base"]] = array
    return [Group(_name(*key), each, key[1].endswith("_reverse")) for key, each in found.items()]


def _name(prefix: str, place: str) -> str:
    return f"{prefix}{place.removeprefix('_')}".rstrip(".") or "cell"


def torch_layers(arrays: Mapping[str, Array]) -> list[Layer]:
    """Return the layers among arrays that have the names of `torch.nn`'s."""
    return [_layer(group) for group in groups(arrays) if {"weight_ih", "weight_hh"} <= group.arrays.keys()]


def _layer(group: Group) -> Layer:
    try:
        layout = TORCH[_kind(group.arrays)]
        parts = layout.parts(group.arrays)
    except ConvertError as error:
        return Layer(group.name, reverse=group.reverse, refusal=str(error))
    functions = None if layout.kind == "rnn" else USUAL[layout.kind]  # of an RNN, only its module has the function
    return Layer(group.name, Form(layout.kind, layout.reset, functions), parts, group.reverse)


def _kind(arrays: Mapping[str, Array]) -> str:
    """Return the layer of `torch.nn` that has such arrays: told by how many gates lie one below the other."""
    given, recurrent = arrays["weight_ih"], arrays["weight_hh"]
    narrow = arrays.get("weight_hr", recurrent)  # the projection (p, n), where there is one: the recurrent weights are (4n, p) then
    if given.ndim == recurrent.ndim == narrow.ndim == 2 and len(given) == len(recurrent) and narrow.shape[1]:
        gates, rest = divmod(len(recurrent), narrow.shape[1])
        if not rest and gates in KINDS:
            return KINDS[gates]
    raise ConvertError(f"weight_ih has shape {given.shape}, weight_hh {recurrent.shape}: this is no LSTM, GRU or RNN of PyTorch")


def of_cell(arrays: Mapping[str, Array], cell: Cell, layer: str, path: str) -> Weights | None:
    """Return parameters that lie under the cell's own names, all arrays or a group of them; None if there is no layer of such.

    Raises
    ------
    ConvertError
        If there are several, or they have shapes of another cell.
    """
    if not layer and arrays.keys() == set(cell.parameters):
        return Weights(cell, arrays)
    found = [group for group in groups(arrays) if cell.parameters and group.arrays.keys() >= set(cell.parameters)]
    if not found:
        return None
    group = found[picked([group.name for group in found], layer, path)]
    params = {name: group.arrays[name] for name in cell.parameters}
    return Weights(cell, params, group.reverse, group.name)


def refuse(arrays: Mapping[str, Array], cell: Cell, path: str) -> ConvertError:
    """Return why arrays are not a cell's parameters."""
    try:
        checked(cell, arrays)
    except ConvertError as error:
        return ConvertError(f"`{path}`: {error}")
    return ConvertError(f"`{path}` has no layer of `{cell.name}`")


def stacked(weights: Weights) -> dict[str, Array]:
    """Return the state of a layer of PyTorch: of `torch.nn`, where that has one that computes the same; else of `generated.torch.layer`."""
    layout = CELLS.get(weights.cell.name)
    theirs = next((each for each in TORCH.values() if layout and (each.kind, each.reset) == (layout.kind, layout.reset)), None)
    if layout is None or theirs is None or PEEPHOLE in layout.names:
        return {f"{name}_l0": array for name, array in weights.params.items()}
    parts = layout.parts(weights.params)
    return {f"{name}_l0": array for name, array in theirs.fitted(parts).arrays(parts).items()}
