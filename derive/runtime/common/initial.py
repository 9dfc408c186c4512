"""Initial values of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np


def initial(rule: Any, shape: tuple[int, ...], random: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Return initial values: a number, an array, or what a rule says; U(-1/√k, 1/√k) over the last axis k where there is none.

    Of matrices, one for each head, each has its own.
    """
    if len(shape) > 2:
        return np.stack([initial(rule, shape[1:], random, dtype) for _ in range(shape[0])])
    fan = shape[-1] if shape else 1
    match rule:
        case None | "uniform":
            value = random.uniform(-(fan**-0.5), fan**-0.5, shape)
        case "glorot":
            bound = (6 / (shape[0] + fan)) ** 0.5 if shape else 1.0
            value = random.uniform(-bound, bound, shape)
        case "orthogonal":
            value = np.linalg.qr(random.standard_normal((max(shape), max(shape))))[0][: shape[0], : shape[1]]
        case "normal":
            value = random.standard_normal(shape)
        case "eye":
            value = np.eye(shape[0], shape[1])
        case "zeros" | "ones":
            value = np.asarray(float(rule == "ones"))
        case _:
            value = np.asarray(rule)
    return np.array(np.broadcast_to(value, shape), dtype, order="C")
