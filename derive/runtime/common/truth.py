"""Options that are true or false."""

from __future__ import annotations

from typing import Any

import numpy as np


def truth(function: str, name: str, value: Any) -> bool:
    """Return an option of a function, checked.

    Raises
    ------
    ValueError
        If it is neither True nor False: a number or a text in its place is taken for a mistake.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{function}: {name} must be True or False, got {value!r}")
    return bool(value)
