"""What converted weights compute, beside the framework that they came from."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from derive.cells import SHIPPED
from derive.convert import Weights
from derive.package import memory
from derive.verify.evaluate import unroll

TOLERANCE = 2e-6
"""Of float32 outputs, relative to the largest: eight steps with sums of some ten terms round by about 30 units of 6e-8."""


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def text_outputs(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Return the output (T, B, ·) of the cell's own text, in float64."""
    way = -1 if weights.reverse else 1
    params = {name: np.asarray(array, np.float64) for name, array in weights.params.items()}
    state = {name: np.zeros((x.shape[1], *_lengths(weights, name))) for name in weights.cell.states}
    return unroll(weights.cell, {"x": x[::way].astype(np.float64)}, params, state, np)[0][::way]


def _lengths(weights: Weights, name: str) -> list[int]:
    return [size.evaluate(weights.sizes) for size in weights.cell.shapes[name]]


def kernel_outputs(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Return the output of the cell's kernel: of `generated`, or compiled now."""
    shipped = SHIPPED.get(weights.cell.name) == weights.cell
    module: Any = importlib.import_module(f"generated.{weights.cell.name}") if shipped else memory.compile(weights.cell)
    return module.infer(x, module.Params(**weights.params), reverse=weights.reverse)[0]


def close(got: np.ndarray, want: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert got.shape == want.shape
    scale = max(float(np.abs(want).max()), 1.0)
    assert float(np.abs(got - want).max()) <= tolerance * scale
