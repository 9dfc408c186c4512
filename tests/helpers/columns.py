"""A cell's text executed as plain Python over column vectors, without the toolkit's parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Column:
    """A column vector or a scalar: what the names of a text stand for in one row."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value, dtype=np.float64) if not isinstance(value, Column) else value.value

    def __add__(self, other: Any) -> Column:
        return Column(self.value + Column(other).value)

    def __sub__(self, other: Any) -> Column:
        return Column(self.value - Column(other).value)

    def __radd__(self, other: Any) -> Column:
        return Column(other) + self

    def __rsub__(self, other: Any) -> Column:
        return Column(other) - self

    def __neg__(self) -> Column:
        return Column(-self.value)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Matrix):
            assert self.value.shape == (), "a matrix is scaled by a number only"
            return Matrix(self.value * other.value)
        assert isinstance(other, Column), "elementwise product with a vector"
        return Column(self.value * other.value)

    def __matmul__(self, other: Column) -> Column:
        return Column(sum(a * b for a, b in zip(self.value, other.value, strict=True)))

    def __truediv__(self, other: Any) -> Column:
        return Column(self.value / Column(other).value)

    def __pow__(self, exponent: int) -> Column:
        return Column(self.value**exponent)


class Matrix:
    """A matrix, which multiplies columns; a list is a concatenation."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    @property
    def T(self) -> Matrix:
        return Matrix(self.value.T)

    def __sub__(self, other: Matrix) -> Matrix:
        assert self.value.shape == other.value.shape
        return Matrix(self.value - other.value)

    def __matmul__(self, other: Column | list[Column]) -> Column:
        column = np.concatenate([part.value for part in other]) if isinstance(other, list) else other.value
        return Column([sum(a * b for a, b in zip(row, column, strict=True)) for row in self.value])


def of_column(function: Callable[..., Any]) -> Callable[..., Column]:
    return lambda *columns: Column(function(*(column.value for column in columns)))


def layer_norm(v: np.ndarray) -> np.ndarray:
    return (v - v.mean()) / np.sqrt(((v - v.mean()) ** 2).mean() + 1e-5)


FUNCTIONS: dict[str, Any] = {
    "sigmoid": of_column(lambda v: 1 / (1 + np.exp(-v))),
    "logsigmoid": of_column(lambda v: -np.log(1 + np.exp(-v))),
    "tanh": of_column(np.tanh),
    "exp": of_column(np.exp),
    "sin": of_column(np.sin),
    "cos": of_column(np.cos),
    "maximum": of_column(np.maximum),
    "relu": of_column(lambda v: v * (v > 0)),
    "softplus": of_column(lambda v: np.log(1 + np.exp(v))),
    "softmax": of_column(lambda v: np.exp(v) / np.exp(v).sum()),
    "logsumexp": of_column(lambda v: np.log(np.exp(v).sum())),
    "layer_norm": of_column(layer_norm),
    "sum": of_column(np.sum),
    "pick": lambda column, index: Column(column.value[index]),
    "split": lambda column, count: [Column(part) for part in np.split(column.value, count)],
}


def executed(text: str, row: Mapping[str, Any], order: int = 1) -> dict[str, np.ndarray]:
    """Execute a text of ours as Python, for one row, and return the assigned values; `order` is that of `eye`."""
    wrapped = {n: v if np.asarray(v).dtype.kind == "i" else Matrix(v) if np.ndim(v) == 2 else Column(v) for n, v in row.items()}
    given: dict[str, Any] = {**FUNCTIONS, "eye": Matrix(np.eye(order)), **wrapped}
    names = dict(given)
    for line in text.strip().splitlines():
        exec(line.strip(), {"__builtins__": {}}, names)
    return {name: value.value for name, value in names.items() if name not in given}
