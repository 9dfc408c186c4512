"""The value of a formula as it is printed in plain text, read by a grammar of its own.

A row of a value has an axis of features, of length 1 if it is a number: `(T, B, n)`, `(B, n)` with an axis before it for contexts; one
that is a matrix has two, `(T, B, m, n)`. Static vectors are `(n,)`, matrices `(m, n)`. Where a 1 stands for a vector its axis has length 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from derive.verify.values import VALUES

Array = np.ndarray
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
NUMBER = re.compile(r"\d+(\.\d+)?(e-\d+)?(/\d+)?")
SAME = ("tanh", "exp", "sin", "cos", "silu", "softplus", "sqrt", "sign")
CALLED = {**dict(zip(SAME, SAME, strict=True)), "σ": "sigmoid", "log σ": "logsigmoid", "max": "maximum"}


@dataclass(frozen=True)
class Row:
    """A vector as it stands at the right of a column."""

    value: Array


def over_features(value: Array, reduce: Callable[..., Array]) -> Array:
    return reduce(value, axis=-1, keepdims=True)


def is_matrix(value: Array) -> bool:
    return value.ndim in (2, 4)


def over_elements(value: Array, reduce: Callable[..., Array]) -> Array:
    """Reduce the rows and columns of matrices, or the features of vectors."""
    return reduce(value, axis=(-2, -1))[..., None] if is_matrix(value) else over_features(value, reduce)


def logsumexp(value: Array) -> Array:
    return np.log(over_features(np.exp(value), np.sum))


ROWS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda v: over_elements(v, np.mean),
    "logsumexp": logsumexp,
    "softmax": lambda v: np.exp(v - logsumexp(v)),
}


def aligned(*values: Array) -> tuple[Array, ...]:
    """Return values of which those that are numbers of a row have as many axes as a matrix, if one is such."""
    matrices = any(value.ndim == 4 for value in values)
    return tuple(value[..., None] if matrices and value.ndim == 3 and value.shape[-1] == 1 else value for value in values)


def times(left: Array | Row, right: Array | Row) -> Array:
    """Return what is written side by side: a matrix and a vector, a column and a row, a row and a column, or a number and anything."""
    if isinstance(left, Row):
        return over_features(left.value * right, np.sum)
    if isinstance(right, Row):
        return np.atleast_1d(left)[..., :, None] * right.value[..., None, :]
    if is_matrix(left) and right.ndim == 0:  # a number stands before a matrix, and 1 after it for a vector
        return left.sum(axis=-1) * right
    if is_matrix(left) and not is_matrix(right):
        return (left @ right[..., None])[..., 0]
    return np.multiply(*aligned(left, right))


SIGNS: dict[str, Callable[[Any, Any], Array]] = {
    " ": times,
    " ⊙ ": lambda left, right: np.multiply(*aligned(left, right)),
    " / ": lambda left, right: np.divide(*aligned(left, right)),
}


COMPARED: dict[str, Callable[[Array, Array], Array]] = {
    " > ": np.greater,
    " < ": np.less,
    " >= ": np.greater_equal,
    " <= ": np.less_equal,
}


class Reader:
    """Reads one formula from left to right."""

    def __init__(self, text: str, heads: Sequence[Mapping[str, Array]], head: int, sizes: Mapping[str, int], batch: bool) -> None:
        self.text, self.at, self.sizes = text, 0, sizes
        self.heads, self.head, self.batch = heads, head, batch
        self.longest = max(map(len, self.symbols))

    @property
    def symbols(self) -> Mapping[str, Array]:
        return self.heads[self.head]

    def value(self) -> Array:
        found = self.sum()
        assert self.at == len(self.text), f"{self.text[: self.at]} <here> {self.text[self.at :]}"
        assert not isinstance(found, Row)
        return found

    def take(self, *words: str) -> str:
        """Pass over the first of the words that comes next, and return it; else nothing."""
        for word in words:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return word
        return ""

    def need(self, word: str) -> None:
        assert self.take(word), f"{word!r} is needed: {self.text[: self.at]} <here> {self.text[self.at :]}"

    def sum(self) -> Array:
        sign = -1 if self.take("-") else 1
        found = sign * self.term()
        while word := self.take(" + ", " - "):
            found, term = aligned(found, self.term())
            found = found + term if word == " + " else found - term
        return found

    def term(self) -> Array:
        found = self.factor()
        while not self.text.startswith((" + ", " - ", *COMPARED), self.at) and (word := self.take(" ⊙ ", " / ", " ")):
            right = self.factor()
            found = SIGNS[word](found, right)
        return found

    def factor(self) -> Array | Row:
        found = self.base()
        while True:
            if self.take("ᵀ"):
                found = np.swapaxes(found, -1, -2) if is_matrix(found) else Row(np.atleast_1d(found))
            elif power := re.match("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", self.text[self.at :]):
                self.at += power.end()
                found = found ** float(power[0].translate(POWERS))
            elif self.take("^("):
                found = found ** self.closed(self.sum(), ")")
            elif self.take("["):
                found = self.picked(found)
            else:
                return found

    def picked(self, vector: Array) -> Array:
        """Return a part of a vector, or the feature of an index."""
        inside, _, _ = self.text[self.at :].partition("]")
        self.at += len(inside) + 1
        if inside in self.symbols:
            return np.take_along_axis(vector, self.symbols[inside].astype(int), axis=-1)
        start, end = (eval(bound, {"__builtins__": {}}, dict(self.sizes)) for bound in inside.split(" : "))
        return vector[..., start:end]

    def base(self) -> Array:
        if symbol := self.symbol():
            return self.symbols[symbol]
        if number := NUMBER.match(self.text, self.at):
            self.at = number.end()
            top, _, bottom = number[0].partition("/")
            return np.asarray(float(top) / float(bottom or 1))
        if self.take("("):
            return self.closed(self.sum(), ")")
        if self.take("|"):
            return np.abs(self.closed(self.sum(), "|"))
        if self.take("["):
            return self.listed()
        if self.take("Σ_ij "):
            return over_elements(self.term(), np.sum)
        if self.take("Σ_j "):
            return over_features(self.term(), np.sum)
        if self.take("Σ_t "):
            return self.term().sum(axis=(0, 1)) if self.batch else self.term().sum(axis=0, keepdims=True)
        if self.take("Σ_h "):
            return sum(self.of_each_head(self.term))
        if self.take("merge("):
            return self.closed(np.concatenate(self.of_each_head(self.sum), axis=-1), ")")
        if self.take("part("):
            return self.closed(np.split(self.sum(), len(self.heads), axis=-1)[self.head], ")")
        if self.take("where("):
            return self.chosen()
        name = next((n for n in (*CALLED, *ROWS) if self.take(f"{n}(")), "")
        assert name, f"unknown: {self.text[: self.at]} <here> {self.text[self.at :]}"
        args = [self.sum()]
        while self.take(", "):
            args.append(self.sum())
        return self.closed(ROWS[name](*args) if name in ROWS else VALUES[CALLED[name]](*args), ")")

    def chosen(self) -> Array:
        """Return one of two values where a comparison holds, and the other elsewhere."""
        left = self.sum()
        sign = self.take(*COMPARED)
        condition = COMPARED[sign](*aligned(left, self.sum()))
        self.need(", ")
        one = self.sum()
        self.need(", ")
        return self.closed(np.where(*aligned(condition, one, self.sum())), ")")

    def of_each_head(self, read: Callable[[], Array]) -> list[Array]:
        """Return what comes next as each head has it."""
        at, head, found = self.at, self.head, []
        for k in range(len(self.heads)):
            self.at, self.head = at, k
            found.append(read())
        self.head = head
        return found

    def closed(self, value: Array, bracket: str) -> Array:
        self.need(bracket)
        return value

    def symbol(self) -> str:
        """Pass over the longest symbol that comes next, and return it; else nothing."""
        for end in range(min(self.at + self.longest, len(self.text)), self.at, -1):
            word = self.text[self.at : end]
            if word in self.symbols and not re.match(r"[A-Za-z0-9_{\u0304\u0307\u033f]", self.text[end : end + 1]):
                self.at = end
                return word
        return ""

    def listed(self) -> Array:
        """Return vectors one after the other, or where a comparison holds."""
        parts = [self.sum()]
        while self.take(", "):
            parts.append(self.sum())
        if self.take(" > "):
            return self.closed((parts[0] > self.sum()) * 1.0, "]")
        lead = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
        return self.closed(np.concatenate([np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts], axis=-1), "]")


def value(text: str, heads: Sequence[Mapping[str, Array]], sizes: Mapping[str, int], *, head: int = 0, batch: bool = True) -> Array:
    """Return the value of a formula.

    Parameters
    ----------
    text : str
    heads : sequence of mapping
        The value of each symbol, as it is printed, in each head; of a cell without heads there is one such mapping.
    sizes : mapping
        That of each named size; sizes that are numbers in a formula are symbols, too.
    head : int
        Of which the formula is.
    batch : bool
        Whether a sum over time is one over the sequences, too, as it is but for contexts.
    """
    numbers = {name: np.asarray(float(size)) for name, size in sizes.items()}
    return Reader(text, [{**numbers, **symbols} for symbols in heads], head, sizes, batch).value()
