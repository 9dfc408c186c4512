"""Files of arrays by name: of PyTorch, safetensors and NumPy."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..package.folder import replacing
from .arrays import real, stacked, torch_layers
from .contents import Contents
from .errors import ConvertError
from .layouts import Array
from .needed import need
from .weights import Weights

CELL, TEXT, SIZES = "derive.cell", "derive.text", "derive.sizes"  # in the metadata of a file of safetensors


def _contents(arrays: Mapping[str, Array], origin: tuple[str, ...] = ()) -> Contents:
    found = {name: real(array) for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating)}
    return Contents(tuple(torch_layers(found)), found, origin)


def read_npz(path: Path) -> Contents:
    """Return the arrays of a file that `numpy.savez` has written; it can have no objects."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise ValueError("it has one array without a name")
        with found as file:
            return _contents({name: file[name] for name in file.files})
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConvertError(f"`{path}` cannot be read: {error}") from error


def write_npz(path: Path, weights: Weights) -> None:
    """Write parameters by name."""
    with replacing(path) as part:
        np.savez(part, allow_pickle=False, **weights.params)


def read_safetensors(path: Path) -> Contents:
    """Return the arrays of a file, and the cell that its metadata names."""
    safetensors = need("safetensors")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        found = sorted(safetensors.deserialize(path.read_bytes()), key=itemgetter(0))  # they come in an order that changes
    except safetensors.SafetensorError as error:
        raise ConvertError(f"`{path}` cannot be read: {error}") from error
    arrays = {name: FLOATS[told["dtype"]](told["data"]).reshape(told["shape"]) for name, told in found if told["dtype"] in FLOATS}
    return _contents(arrays, (metadata[CELL], metadata[TEXT]) if {CELL, TEXT} <= metadata.keys() else ())


def _floats(dtype: str) -> Callable[[bytes], Array]:
    return lambda data: np.frombuffer(bytearray(data), dtype)  # which may be written to


def _bfloat16(data: bytes) -> Array:
    """Return numbers of bfloat16, which NumPy has not, as float32: they are its upper halves."""
    return (np.frombuffer(bytes(data), "<u2").astype("<u4") << 16).view("<f4")


FLOATS: dict[str, Callable[[bytes], Array]] = {"F64": _floats("<f8"), "F32": _floats("<f4"), "F16": _floats("<f2"), "BF16": _bfloat16}
"""By a dtype of safetensors, arrays from bytes; others are no weights of a recurrent layer."""


def write_safetensors(path: Path, weights: Weights) -> None:
    """Write parameters by name; the metadata has the cell's name, text and sizes."""
    save = need("safetensors", "safetensors.numpy").save
    metadata = {CELL: weights.cell.name, TEXT: weights.cell.text, SIZES: json.dumps(weights.sizes)}
    with replacing(path) as part:
        part.write_bytes(save(dict(weights.params), metadata))


def read_torch(path: Path) -> Contents:
    """Return the tensors of a `state_dict`, or of dicts that have one; a pickle of anything else is refused, and nothing in it is run."""
    torch = need("torch")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of the unpickler, which stumbles over bytes that are no pickle in any way: KeyError, IndexError, …
        needed = "tensors in dicts are needed, as torch.save(model.state_dict(), …) writes them"
        raise ConvertError(f"`{path}` has something else than tensors, or is not whole: {needed}") from error
    if not isinstance(found, dict):
        raise ConvertError(f"`{path}` has no state_dict, but an object of type {type(found).__name__}")
    return _contents(dict(_tensors(found, "")))


def _tensors(found: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Array]]:
    """Yield what is floating-point in nested dicts, each by its keys with dots between them."""
    for key, value in found.items():
        if isinstance(value, Mapping):
            yield from _tensors(value, f"{prefix}{key}.")
        elif hasattr(value, "is_floating_point") and value.is_floating_point():
            wide = value if value.element_size() > 2 else value.float()  # NumPy has no bfloat16
            yield f"{prefix}{key}", wide.detach().numpy()


def write_torch(path: Path, weights: Weights) -> None:
    """Write a `state_dict` of one layer."""
    torch = need("torch")
    with replacing(path) as part:
        torch.save({name: torch.from_numpy(np.array(array)) for name, array in stacked(weights).items()}, part)
