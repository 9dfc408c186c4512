"""Functions of a row's features together that have a derivative in closed form: normalisation and softmax.

They could be written with sums and elementwise functions alone, and their cotangents line by line with them; what a textbook has is
shorter, and less work: see the rules in `derive.calculus.vjp`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .ir import Map


@dataclass(frozen=True)
class RowFunction(Map):
    """A function of all features of `value` together: elementwise in the value and in numbers of the row that are made of it alone.

    It is computed as a `Map`.  Its rule takes all ways from `value` at once, so that the numbers of the row get no cotangent from it.
    """

    value: str


@dataclass(frozen=True)
class Normalised(RowFunction):
    """``(v - mean(v)) / std(v)`` over the features; `std` names the number that it is divided by."""

    std: str


@dataclass(frozen=True)
class Std(RowFunction):
    """``sqrt(mean((v - mean(v))**2) + ε)`` over the features, a number; `normalised` names what the value is when divided by it."""

    normalised: str


@dataclass(frozen=True)
class Across(RowFunction):
    """``(v - mean(v) - u mean(v ⊙ u)) / σ``, what a normalisation hands on of a cotangent v: its part across both 1 and u, the `normalised`
    value, by the `std` σ; `along` names ``mean(v ⊙ u)``.
    """

    normalised: str
    along: str
    std: str


@dataclass(frozen=True)
class Softmax(RowFunction):
    """``exp(v - logsumexp(v))`` over the features."""
