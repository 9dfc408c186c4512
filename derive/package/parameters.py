"""A cell's parameters where there is no module of it: drawn as its module's `init` does, or given, and checked as that does."""

from __future__ import annotations

import zipfile
import zlib
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..language.errors import CellError
from ..language.names import canonical
from ..language.sizes import Shape
from ..runtime.common.table import Table


@dataclass(frozen=True)
class Parameters:
    """Arrays by name, all of one dtype, and the value of every named size."""

    values: Mapping[str, np.ndarray]
    sizes: Mapping[str, int]
    dtype: str


def load(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file of NumPy's, by name; CellError if it is no such file, OSError if it cannot be opened."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file.items())
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise CellError(f"`{path}` is no file of named arrays, as numpy.savez writes them") from error


def drawn(cell: Definition, sizes: Mapping[str, int], seed: int, dtype: Any) -> Parameters:
    """Return initial parameters.

    Raises
    ------
    ValueError
        If a size is missing, not the cell's, or not positive.
    """
    table, known = table_of(cell), _named(cell, sizes)
    if missing := [name for name in _all_sizes(cell) if name not in known]:
        raise ValueError(f"{cell.name}: parameters cannot be drawn without the sizes {', '.join(missing)}")
    values = table.init(known, seed, dtype)
    return Parameters(values._asdict(), known, table.float_name(dtype, f"{cell.name}: dtype"))


def given(cell: Definition, params: Any, sizes: Mapping[str, int], dtype: Any = None) -> Parameters:
    """Return parameters that a caller has, of another dtype if that is asked for.

    Raises
    ------
    ValueError
        If one is missing, none of the cell's, or of another shape or dtype than is needed, or if a size is neither told by them nor given.
    """
    table, own = table_of(cell), _by_name(cell, params)
    record = table.record(table.records["Params"](**own), table.records["Params"], "params")
    found = table.float_name(table.dtype({}, record, None) if dtype is None and own else dtype or "float32", f"{cell.name}: dtype")
    told = table.find_sizes({}, record, None, complete=False)
    known = _named(cell, sizes) | told
    known |= {a: known[b] for a, b in cell.equal_sizes if a not in known and b in known}
    if missing := [name for name in cell.sizes if name not in known]:
        raise ValueError(f"{cell.name}: the parameters do not tell the sizes {', '.join(missing)}: they must be given")
    if wrong := [name for name, value in _named(cell, sizes).items() if told.get(name, value) != value]:
        raise ValueError(f"{cell.name}: size {wrong[0]} was given as {sizes[wrong[0]]}, but the parameters have {told[wrong[0]]}")
    table.check_params(record, known)
    table.check_sizes(known)
    return Parameters({name: value.astype(found) for name, value in record._asdict().items()}, known, found)


def table_of(cell: Definition) -> Table:
    """Return a cell's interface as its module has it, as far as parameters and states are concerned."""

    def shapes(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        return {name: _texts(cell.axes[name]) for name in names}

    return Table(
        name=cell.name,
        sizes=cell.sizes,
        inputs=shapes(cell.inputs),
        context=shapes(cell.context),
        params=shapes(cell.parameters),
        state=shapes(cell.states),
        output=_texts(cell.axes[cell.output]),
        equal=cell.equal_sizes,
        rules=dict(cell.init),
        records={"Params": namedtuple("Params", cell.parameters)},
    )


def _texts(shape: Shape) -> tuple[str, ...]:
    return tuple(map(str, shape))


def _all_sizes(cell: Definition) -> list[str]:
    return [*dict.fromkeys((*cell.sizes, *(size for pair in cell.equal_sizes for size in pair)))]


def _named(cell: Definition, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return sizes by their names in the cell."""
    known = {canonical(name): value for name, value in sizes.items()}
    if unknown := [name for name in known if name not in _all_sizes(cell)]:
        raise ValueError(f"{cell.name}: there is no size {unknown[0]}, only {', '.join(_all_sizes(cell)) or 'none'}")
    return known


def _by_name(cell: Definition, params: Any) -> dict[str, np.ndarray]:
    """Return parameters by their names in the cell, if they are just the cell's."""
    values = params._asdict() if hasattr(params, "_asdict") else params
    if not isinstance(values, Mapping):
        raise ValueError(f"{cell.name}: params must be a mapping from names to arrays, or a NamedTuple, got {type(params).__name__}")
    own = {canonical(name): value for name, value in values.items()}
    missing = [name for name in cell.parameters if name not in own]
    unknown = [name for name in own if name not in cell.parameters]
    if missing or unknown:
        told = [*([f"without {', '.join(missing)}"] if missing else []), *([f"with {', '.join(unknown)}"] if unknown else [])]
        raise ValueError(f"{cell.name}: its parameters are {', '.join(cell.parameters) or 'none'}; got some {' and '.join(told)}")
    return {name: own[name] for name in cell.parameters}
