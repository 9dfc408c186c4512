"""The kinds of files, by suffix; what is read from one, and written to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..cell import Cell
from ..cells import SHIPPED
from ..cells.load import find
from . import arrays, keras_files, named_files, onnx_files
from .contents import Contents
from .errors import ConvertError
from .layer import Layer, picked
from .weights import Weights


@dataclass(frozen=True)
class Kind:
    """How files of a kind are read and written."""

    read: Callable[[Path], Contents]
    write: Callable[[Path, Weights], None]


TORCH = Kind(named_files.read_torch, named_files.write_torch)
KINDS: dict[str, Kind] = {
    ".pt": TORCH,
    ".pth": TORCH,
    ".safetensors": Kind(named_files.read_safetensors, named_files.write_safetensors),
    ".npz": Kind(named_files.read_npz, named_files.write_npz),
    ".weights.h5": Kind(keras_files.read_weights, keras_files.write_weights),
    ".h5": Kind(keras_files.read_model, keras_files.write_model),
    ".keras": Kind(keras_files.read_model, keras_files.write_model),
    ".onnx": Kind(onnx_files.read, onnx_files.refuse),
}
"""By suffix, of which the longer ones stand first."""


def kind_of(path: Path) -> Kind:
    """Return the kind of a file; ConvertError if its suffix tells none."""
    for suffix, kind in KINDS.items():
        if path.name.endswith(suffix):
            return kind
    raise ConvertError(f"`{path}`: its suffix tells no kind of file; {', '.join(KINDS)} are known")


def contents(path: Path) -> Contents:
    """Return what a file has."""
    kind = kind_of(path)
    if not path.is_file():
        raise ConvertError(f"there is no file `{path}`")
    return kind.read(path)


def layers(path: str | Path) -> list[Layer]:
    """Return the recurrent layers of a file, each in one direction, those that cannot be translated among them.

    Parameters
    ----------
    path : str or Path
        Parameters of a cell by name are no layer: of a file that has nothing else, the list is empty.

    Raises
    ------
    ConvertError
        If there is no such file, or it cannot be read.
    ImportError
        If the package that reads it is missing.
    """
    return list(contents(Path(path)).layers)


def without_layers(found: Contents, path: Path) -> str:
    """Return what is said of a file that has no layer: which cell's parameters it has, or which arrays.

    Raises
    ------
    ConvertError
        If it has neither.
    """
    if found.origin:
        return f"parameters of the cell {found.origin[0]}"
    if not found.arrays:
        raise ConvertError(f"`{path}` has no recurrent layer")
    return f"arrays by name, and no layer of PyTorch: {', '.join(found.arrays)}"


def read(path: str | Path, cell: str | Cell = "", layer: str = "") -> Weights:
    """Return the parameters of a cell from a file.

    Parameters
    ----------
    path : str or Path
        Its suffix tells the kind: ``.pt``, ``.pth``, ``.safetensors``, ``.npz``, ``.keras``, ``.h5``, ``.weights.h5``, ``.onnx``.
    cell : str or Cell
        The cell, or the name of one that comes with derive; by default, the one that the file tells.
    layer : str
        Which recurrent layer of several: see `layers`.

    Returns
    -------
    Weights
        With arrays in float32 or float64, as in the file; half precision becomes float32.

    Raises
    ------
    ConvertError
        If there is no such file or layer, the layer cannot be translated, or the file has parameters of another cell.
    CellError
        If there is no such cell.
    ImportError
        If the package that reads such a file is missing.
    """
    found, wanted = contents(Path(path)), find(cell) if isinstance(cell, str) and cell else cell or None
    if found.origin:
        return _own(found, wanted, layer, str(path))
    weights = arrays.of_cell(found.arrays, wanted, layer, str(path)) if wanted else None
    if weights is not None:
        return weights
    if not found.layers and found.arrays:
        raise arrays.refuse(found.arrays, wanted, str(path)) if wanted else ConvertError(f"`{path}` has arrays by name: name their cell")
    chosen = found.layers[picked([each.name for each in found.layers], layer, str(path))]
    return chosen.weights(wanted.name if wanted else "") if wanted is None or is_shipped(wanted) else _made(chosen, wanted)


def is_shipped(cell: Cell) -> bool:
    """Say whether a cell is one that comes with derive."""
    return SHIPPED.get(cell.name) == cell


def _made(layer: Layer, wanted: Cell) -> Weights:
    """Return the parameters of the cell that is made for a layer, if that is the one that is wanted."""
    weights = layer.weights()
    if is_shipped(weights.cell) or not same_equations(weights.cell.text, wanted.text):
        raise ConvertError(f"layer `{layer.name}` can be the cell {', '.join(layer.cells)}, not your `{wanted.name}`")
    return replace(weights, cell=wanted)


def _own(found: Contents, wanted: Cell | None, layer: str, path: str) -> Weights:
    """Return parameters from a file that says of which cell they are."""
    name, text = found.origin
    if layer:
        raise ConvertError(f"`{path}` has parameters of the cell `{name}`, and no layer `{layer}`")
    cell = wanted or SHIPPED.get(name)
    if cell is None:
        raise ConvertError(f"`{path}` has parameters of the cell `{name}`, which does not come with derive: give the cell")
    try:
        weights = Weights(cell, found.arrays)
    except ConvertError as error:
        raise ConvertError(f"`{path}` has parameters of the cell `{name}`: {error}") from None
    if not same_equations(text, cell.text):
        raise ConvertError(f"`{path}` has parameters of the cell `{name}`, whose equations are not those of `{cell.name}`")
    return weights


def same_equations(a: str, b: str) -> bool:
    """Say whether two texts of cells have the same lines, whatever the blanks between and before them."""
    return lines(a) == lines(b)


def lines(text: str) -> list[str]:
    """Return the lines of a cell's text, whatever the blanks between and before them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def write(path: str | Path, weights: Weights) -> None:
    """Write the parameters of a cell, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Its suffix tells the kind, as for `read`; ONNX is not written.  A file that is there is replaced.
    weights : Weights
        Any cell's to ``.safetensors``, ``.npz`` and ``.pt``; to Keras, those of a cell that Keras has a layer for.

    Raises
    ------
    ConvertError
        If a file of that kind cannot have them.
    ImportError
        If the package that writes such a file is missing.
    """
    kind_of(Path(path)).write(Path(path), weights)
