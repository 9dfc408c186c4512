"""Files of Keras 3: whole models, which Keras itself reads and writes, and files of weights."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..package.folder import replacing
from .activations import KERAS as FUNCTIONS
from .activations import Activation, hard_sigmoid
from .arrays import real
from .contents import Contents
from .errors import ConvertError
from .forms import USUAL, Form, functions_of
from .layer import Layer
from .layouts import CELLS, KERAS, PEEPHOLE, PROJECTION, Array, Layout
from .needed import need
from .weights import Weights

BACKENDS = ("torch", "jax")  # the first has float64 without being told so
KINDS = {4: "LSTM", 3: "GRU(reset_after=False)", 1: "SimpleRNN"}
"""Keras's layers by how many gates lie side by side."""


def keras() -> Any:
    """Return Keras, on the backend that was chosen; else, on PyTorch or JAX."""
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        found = next((name for name in BACKENDS if importlib.util.find_spec(name)), None)
        if found is None:
            raise ImportError("Keras needs PyTorch or JAX: pip install torch, or pip install jax")
        os.environ["KERAS_BACKEND"] = found
    return need("keras")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nobody hear how Keras 3.15 asks for arrays, which NumPy 2 says should be done otherwise."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


# Files of weights, read without Keras


def read_weights(path: Path) -> Contents:
    """Return the layers of a file that `model.save_weights` has written: groups of arrays, without what they compute."""
    h5py = need("h5py")
    found: dict[str, list[Array]] = {}

    def visit(name: str, node: Any) -> None:
        if name.endswith("/vars") and isinstance(node, h5py.Group) and {"0", "1"} <= {*node}:
            found[name.removesuffix("/vars")] = [np.asarray(node[str(k)][()]) for k in range(len(node))]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise ConvertError(f"`{path}` cannot be read as HDF5: {error}") from error
    return Contents(tuple(layer for name, arrays in found.items() for layer in _weights_layer(name, arrays)))


def _weights_layer(name: str, arrays: list[Array]) -> Iterator[Layer]:
    """Yield the layer of a group, if it is a recurrent one: by the shapes of its arrays."""
    kernel, recurrent, *bias = arrays
    if "cell" not in name or kernel.ndim != 2 or recurrent.ndim != 2 or kernel.shape[1] != recurrent.shape[1]:
        return
    kind = KINDS.get(recurrent.shape[1] // max(len(recurrent), 1))
    if kind is None:
        return
    kind = "GRU(reset_after=True)" if bias and bias[0].ndim == 2 else kind
    layout = KERAS[kind]
    form = Form(layout.kind, layout.reset if bias else ("" if layout.kind != "gru" else None))
    short = name.removeprefix("layers/").replace("_layer/", "/").removesuffix("/cell").replace("/cell/cells/", "/")
    yield Layer(short, form, layout.parts(_named(kernel, recurrent, *bias)), short.endswith("backward"))


def _named(kernel: Array, recurrent: Array, *bias: Array) -> dict[str, Array]:
    """Return a cell's arrays by the names of the layouts."""
    found = {"kernel": kernel, "recurrent_kernel": recurrent}
    if bias and bias[0].ndim == 2:
        found |= {"bias[0]": bias[0][0], "bias[1]": bias[0][1]}
    elif bias:
        found["bias"] = bias[0]
    return {name: real(array) for name, array in found.items()}


# Whole models


def read_model(path: Path) -> Contents:
    """Return the recurrent layers of a model; one that has code in it (`Lambda`) is refused by Keras."""
    library, version = keras(), _version(path)
    with quiet():
        try:
            model = library.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # of Keras, h5py, zipfile, and whatever a layer's own configuration leads to
            said = f"it has no {error}" if isinstance(error, KeyError) else str(error)  # of h5py: a name alone
            raise ConvertError(f"`{path}` cannot be read by Keras: {said}") from error
        return Contents(tuple(_walk(library, model, "", version)))


def _version(path: Path) -> int:
    """Return the major version of the Keras that a model was written by; 3 if the file does not say."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return int(json.loads(file.read("metadata.json"))["keras_version"].partition(".")[0])
        with need("h5py").File(path, "r") as file:
            told = file.attrs.get("keras_version", "3")
            return int((told.decode() if isinstance(told, bytes) else told).partition(".")[0])
    except (OSError, KeyError, ValueError):
        return 3  # whatever is wrong with the file, Keras says


def _walk(library: Any, model: Any, prefix: str, version: int) -> Iterator[Layer]:
    """Yield the recurrent layers below a model or a wrapper, by their names with strokes between them."""
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, library.layers.Bidirectional):
            yield from _cells(library, layer.forward_layer, f"{name}/forward", version)
            yield from _cells(library, layer.backward_layer, f"{name}/backward", version)
        elif isinstance(layer, library.layers.RNN):
            yield from _cells(library, layer, name, version)
        elif hasattr(layer, "layers"):
            yield from _walk(library, layer, f"{name}/", version)


def _cells(library: Any, layer: Any, name: str, version: int) -> Iterator[Layer]:
    """Yield the cells of a layer, each as a layer."""
    several = isinstance(layer.cell, library.layers.StackedRNNCells)
    notes = ("Keras hands its output on from the last step to the first",) if layer.go_backwards and "/" not in name else ()
    for cell in layer.cell.cells if several else [layer.cell]:
        full = f"{name}/{cell.name}" if several else name
        try:
            yield _translated(library, cell, full, bool(layer.go_backwards), notes, version)
        except ConvertError as error:
            yield Layer(full, reverse=bool(layer.go_backwards), refusal=str(error))


def _translated(library: Any, cell: Any, name: str, reverse: bool, notes: tuple[str, ...], version: int) -> Layer:
    kinds = {library.layers.LSTMCell: "LSTM", library.layers.GRUCell: "GRU", library.layers.SimpleRNNCell: "SimpleRNN"}
    kind = kinds.get(type(cell))
    if kind is None:
        raise ConvertError(f"its cell is a {type(cell).__name__}; LSTMCell, GRUCell and SimpleRNNCell can be translated")
    layout = KERAS[f"GRU(reset_after={bool(cell.reset_after)})" if kind == "GRU" else kind]
    variables = [cell.kernel, cell.recurrent_kernel, *([cell.bias] if cell.use_bias else [])]
    parts = layout.parts(_named(*(library.ops.convert_to_numpy(each.value) for each in variables)))
    return Layer(name, Form(layout.kind, layout.reset, _activations(library, cell, layout, version)), parts, reverse, notes)


def _activations(library: Any, cell: Any, layout: Layout, version: int) -> tuple[Activation, ...]:
    """Return the functions of a cell: of the gates, the candidate, and an LSTM's memory."""
    if layout.kind == "rnn":
        return (_activation(library, cell.activation, version),)
    gate, other = (_activation(library, each, version) for each in (cell.recurrent_activation, cell.activation))
    return (gate, *[other] * (len(USUAL[layout.kind]) - 1))


def _activation(library: Any, function: Any, version: int) -> Activation:
    told = library.activations.serialize(function)
    name = told if isinstance(told, str) else type(function).__name__
    if name == "hard_sigmoid" and version < 3:
        return hard_sigmoid()  # which Keras 3 computes otherwise
    if name not in FUNCTIONS:
        raise ConvertError(f"the language has no counterpart of its activation {name}")
    return FUNCTIONS[name]


# Writing


def write_model(path: Path, weights: Weights) -> None:
    """Write a model of one layer, which hands on the output of every step."""
    _written(path, weights, "save")


def write_weights(path: Path, weights: Weights) -> None:
    """Write the weights of a model of one layer."""
    _written(path, weights, "save_weights")


def _written(path: Path, weights: Weights, method: str) -> None:
    with quiet(), replacing(path) as part:
        getattr(_model(weights), method)(part)


def _model(weights: Weights) -> Any:
    kind, options = _layer_for(weights)
    layout = CELLS[weights.cell.name]
    parts = layout.parts(weights.params)
    theirs = KERAS[kind].fitted(parts)
    arrays = theirs.arrays(parts)
    if "bias[0]" in arrays:
        arrays["bias"] = np.stack([arrays.pop("bias[0]"), arrays.pop("bias[1]")])
    library = keras()
    sizes = weights.sizes
    layer = getattr(library.layers, kind.partition("(")[0])(
        sizes["n"], return_sequences=True, use_bias="bias" in arrays, dtype=str(weights.dtype), **options
    )
    model = library.Sequential([library.Input((None, sizes["d"]), dtype=str(weights.dtype)), layer])
    layer.set_weights([*arrays.values()])
    if any(library.ops.convert_to_numpy(each.value).dtype != weights.dtype for each in layer.weights):
        raise ConvertError(f"Keras on {library.config.backend()} has no {weights.dtype} here: KERAS_BACKEND=torch has")
    return model


def _layer_for(weights: Weights) -> tuple[str, Mapping[str, Any]]:
    """Return the layer of Keras that computes what a cell does, and its options."""
    name = weights.cell.name
    layout = CELLS.get(name)
    kind = next((key for key, each in KERAS.items() if layout and (each.kind, each.reset) == (layout.kind, layout.reset)), None)
    if layout is None or kind is None or {PEEPHOLE, PROJECTION} & layout.names.keys():
        raise ConvertError(f"Keras has no layer for the cell `{name}`: an LSTM, a GRU or a simple recurrent network is needed")
    options: dict[str, Any] = {"activation": functions_of(name)[0].name} if layout.kind == "rnn" else {}
    return kind, options | ({"reset_after": layout.reset == "after"} if layout.kind == "gru" else {})
