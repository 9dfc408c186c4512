"""A cell as C: its files, with sizes, and with weights if there are any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..codegen.c.module import MARK, TYPES, CModule, nested
from ..language.definition import Definition
from ..language.errors import CellError, nearest
from ..language.names import canonical
from ..language.sizes import shape_text
from ..runtime.common.sizes import evaluate, solved
from . import folder

if TYPE_CHECKING:
    import numpy as np

DEFAULTS = {"n": 32, "d": 8, "H": 4}
OTHER = 8
"""The sizes that are chosen where none are named: by name, and those of any other name."""
DTYPES = tuple(TYPES)
SUFFIX = {"float32": "f", "float64": ""}


def source(
    cell: Definition, sizes: Mapping[str, int], *, dtype: str = "float32", weights: Mapping[str, np.ndarray] | None = None
) -> dict[str, str]:
    """Return the files of a cell in C, a header and the code, by their names.

    The same on every machine: no date, no version, no path.

    Parameters
    ----------
    cell : Definition
    sizes : mapping
        The value of each named size, such as ``{"d": 8, "n": 32}``; weights tell those that are missing.
    dtype : "float32" or "float64"
        Of all numbers.
    weights : mapping, optional
        The array of each parameter, by its name: they become part of the code.  They are rounded to `dtype`.

    Raises
    ------
    CellError
        If a size is missing, is none of the cell's, or is no positive number; if weights have other names or shapes than the cell's
        parameters, or are not finite; if there is no such dtype.
    """
    if dtype not in TYPES:
        raise CellError(f"dtype: `{dtype}` cannot be exported to C: it is one of {', '.join(TYPES)}")
    found = complete(cell, {**(sizes_of(cell, weights) if weights is not None else {}), **sizes})
    numbers = None if weights is None else _numbers(cell, found, dtype, weights)
    return CModule(cell, found, TYPES[dtype], numbers).files()


def write(files: Mapping[str, str], out: Path) -> list[str]:
    """Write files into a folder, each whole or not at all, and never over one that was not exported; return the paths that changed."""
    return folder.write(files, out, MARK)


# Sizes


def complete(cell: Definition, sizes: Mapping[str, int], *, default: bool = False) -> dict[str, int]:
    """Return the value of each named size; a missing one is an error, or has its default."""
    equal = dict(cell.equal_sizes)
    names = dict.fromkeys((*cell.sizes, *equal, *equal.values()))
    found: dict[str, int] = {}
    for name, value in sizes.items():
        known = canonical(name)
        if known not in names:
            has = f": it has {', '.join(names)}" if names else ": it has none"
            raise CellError(f"{cell.name}: there is no size `{name}`{nearest(known, names)}{has}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CellError(f"{cell.name}: the size `{name}` needs a number above 0, not {value!r}")
        chosen = equal.get(known, known)
        if found.setdefault(chosen, value) != value:
            raise CellError(f"{cell.name}: the sizes `{name}` and `{chosen}` are equal, and got {value} and {found[chosen]}")
    missing = [name for name in cell.sizes if name not in found]
    if missing and not default:
        raise CellError(f"{cell.name}: in C sizes are numbers: {', '.join(f'`{name}`' for name in missing)} is missing")
    return {name: found.get(name, DEFAULTS.get(name, OTHER)) for name in cell.sizes}


def sizes_of(cell: Definition, weights: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return the named sizes that the shapes of weights tell."""
    found: dict[str, int] = {}
    for _ in range(2):  # a sum tells its last size when the others are known
        for name in (n for n in cell.parameters if n in weights):
            for axis, value in zip(cell.axes[name], weights[name].shape, strict=False):
                found = {**solved(str(axis), value, found), **found}
    return {name: value for name, value in found.items() if name in cell.sizes}


# Weights


def _numbers(cell: Definition, sizes: Mapping[str, int], dtype: str, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return weights as C writes them, so many digits that they are exact."""
    import numpy as np

    for name in weights:
        if name not in cell.parameters:
            raise CellError(f"weights: `{name}` is not a parameter of {cell.name}{nearest(name, cell.parameters)}")
    found = {}
    for name in cell.parameters:
        if name not in weights:
            raise CellError(f"weights: `{name}` is missing: {cell.name} has {', '.join(cell.parameters)}")
        with np.errstate(over="ignore"):
            array = np.asarray(weights[name]).astype(dtype)
        shape = tuple(evaluate(str(axis), dict(sizes)) for axis in cell.axes[name])
        if array.shape != shape:
            raise CellError(f"weights: `{name}` needs the shape {shape}, ({shape_text(cell.axes[name])}), and has {array.shape}")
        if not np.isfinite(array).all():
            raise CellError(f"weights: `{name}` is not finite in {dtype}")
        kind = array.dtype.type
        found[name] = nested(array.tolist(), lambda number, kind=kind: f"{kind(number)!s}{SUFFIX[dtype]}")
    return found
