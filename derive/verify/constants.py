"""A cell's constants as arrays."""

from __future__ import annotations

import numpy as np

from ..language.constants import ConstantArray
from ..language.definition import Definition


def constant_array(constant: ConstantArray) -> np.ndarray:
    """Return a constant of a cell as a read-only float64 array."""
    array = np.array(constant.values, dtype=np.float64)
    array.flags.writeable = False
    return array


def constants_of(cell: Definition) -> dict[str, np.ndarray]:
    """Return the constants of a cell that are vectors or matrices, as read-only float64 arrays."""
    return {name: constant_array(value) for name, value in cell.constant_arrays.items()}
