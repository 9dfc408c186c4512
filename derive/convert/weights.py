"""The parameters of a cell, checked against its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..cell import Cell
from ..language.sizes import axes_text
from ..runtime.common.sizes import evaluate, solved
from .errors import ConvertError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """The parameters of a cell.

    Attributes
    ----------
    cell : Cell
        One that comes with derive, or one made for a layer that none of those is.
    params : mapping from str to array
        By the names of the cell's parameters, in its order; float32 or float64 throughout.  ``module.Params(**params)`` is what the cell's
        generated module takes.
    reverse : bool
        Whether the layer that they were read from goes from the last step to the first, as ``forward(…, reverse=True)`` does.
    layer : str
        Its name; "" if the file has parameters by name.
    notes : tuple of str
        What else the layer has, and the weights do not tell.
    """

    cell: Cell
    params: Mapping[str, Array]
    reverse: bool = False
    layer: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(value) for name, value in self.params.items()}
        object.__setattr__(self, "params", checked(self.cell, arrays))

    @property
    def sizes(self) -> dict[str, int]:
        """The cell's sizes, by name."""
        return sizes_of(self.cell, self.params)

    @property
    def dtype(self) -> np.dtype:
        """Of all arrays; float32 for a cell without parameters."""
        return next((array.dtype for array in self.params.values()), np.dtype(np.float32))


def sizes_of(cell: Cell, params: Mapping[str, Array]) -> dict[str, int]:
    """Return the sizes that shapes of parameters tell."""
    axes = [(str(size), length) for name in cell.parameters for size, length in zip(cell.axes[name], params[name].shape, strict=False)]
    sizes: dict[str, int] = {}
    for _ in cell.sizes:  # each pass finds one more, at least
        for size, length in axes:
            sizes |= solved(size, length, sizes)
    return {name: sizes[name] for name in cell.sizes if name in sizes}


def checked(cell: Cell, params: Mapping[str, Array]) -> dict[str, Array]:
    """Return parameters in the cell's order.

    Raises
    ------
    ConvertError
        If they are of another cell: it says which names or shapes differ; or if they have no dtype of the kernels.
    """
    missing = [name for name in cell.parameters if name not in params]
    unknown = [name for name in params if name not in cell.parameters]
    if missing or unknown:
        lacks = [f"there is no {', '.join(missing)}"] if missing else []
        more = [f"{cell.name} has no {', '.join(unknown)}"] if unknown else []
        raise ConvertError(f"these are not the parameters of `{cell.name}`: {'; '.join(lacks + more)}")
    wrong = [text for name in cell.parameters if (text := _misshapen(cell, name, params))]
    if wrong:
        raise ConvertError(f"these are not the parameters of `{cell.name}`: {'; '.join(wrong)}")
    dtypes = {array.dtype for array in params.values()}
    if not dtypes <= {np.dtype(np.float32)} and dtypes != {np.dtype(np.float64)}:
        raise ConvertError(f"`{cell.name}` needs all parameters in float32, or all in float64, not {', '.join(sorted(map(str, dtypes)))}")
    return {name: np.ascontiguousarray(params[name]) if params[name].ndim else params[name] for name in cell.parameters}


def _misshapen(cell: Cell, name: str, params: Mapping[str, Array]) -> str:
    """Return what is wrong with the shape of a parameter; "" if nothing is."""
    axes, sizes = cell.axes[name], sizes_of(cell, params)
    if any(part not in sizes for size in axes for part in size.names):
        return f"{name} has shape {params[name].shape}, needs {axes_text(shape=axes)}"
    needed = tuple(evaluate(str(size), sizes) for size in axes)
    return "" if params[name].shape == needed else f"{name} has shape {params[name].shape}, needs {axes_text(shape=axes)} = {needed}"
