"""The value of a formula as it is printed in plain text, read by a grammar of its own.

A row of a value has an axis of features, of length 1 if it is a number: `(T, B, n)`, `(B, n)` with an axis before it for contexts. Static
vectors are `(n,)`, matrices `(m, n)`; a product of a column and a row is a matrix a step and sequence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from derive.verify.values import VALUES

Array = np.ndarray
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
NUMBER = re.compile(r"\d+(\.\d+)?(/\d+)?")
CALLED = {"tanh": "tanh", "exp": "exp", "σ": "sigmoid", "log σ": "logsigmoid", "sin": "sin", "cos": "cos", "max": "maximum"}


@dataclass(frozen=True)
class Row:
    """A vector as it stands at the right of a column."""

    value: Array


def over_features(value: Array, reduce: Callable[..., Array]) -> Array:
    return reduce(value, axis=-1, keepdims=True)


def logsumexp(value: Array) -> Array:
    return np.log(over_features(np.exp(value), np.sum))


ROWS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda v: over_features(v, np.mean),
    "logsumexp": logsumexp,
    "softmax": lambda v: np.exp(v - logsumexp(v)),
}


def times(left: Array, right: Array | Row) -> Array:
    """Return what is written side by side: a matrix and a vector, a column and a row, or a number and anything."""
    if isinstance(right, Row):
        return left[..., :, None] * right.value[..., None, :]
    if left.ndim == 2 and right.ndim == 3:
        return right @ left.T
    return left * right


class Reader:
    """Reads one formula from left to right."""

    def __init__(self, text: str, symbols: Mapping[str, Array], sizes: Mapping[str, int], batch: bool) -> None:
        self.text, self.at, self.sizes = text, 0, sizes
        self.symbols, self.batch = symbols, batch
        self.longest = max(map(len, symbols))

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
            found = found + self.term() if word == " + " else found - self.term()
        return found

    def term(self) -> Array:
        found = self.factor()
        while not self.text.startswith((" + ", " - ", " > ", " < "), self.at) and (word := self.take(" ⊙ ", " / ", " ")):
            right = self.factor()
            found = times(found, right) if word == " " else found * right if word == " ⊙ " else found / right
        return found

    def factor(self) -> Array | Row:
        found = self.base()
        while True:
            if self.take("ᵀ"):
                found = found.T if found.ndim == 2 else Row(found)
            elif power := re.match("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", self.text[self.at :]):
                self.at += power.end()
                found = found ** float(power[0].translate(POWERS))
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
        if self.take("["):
            return self.listed()
        if self.take("Σ_j "):
            return over_features(self.term(), np.sum)
        if self.take("Σ_t "):
            return self.term().sum(axis=(0, 1)) if self.batch else self.term().sum(axis=0, keepdims=True)
        name = next((n for n in (*CALLED, *ROWS) if self.take(f"{n}(")), "")
        assert name, f"unknown: {self.text[: self.at]} <here> {self.text[self.at :]}"
        args = [self.sum()]
        while self.take(", "):
            args.append(self.sum())
        return self.closed(ROWS[name](*args) if name in ROWS else VALUES[CALLED[name]](*args), ")")

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


def value(text: str, symbols: Mapping[str, Array], sizes: Mapping[str, int], *, batch: bool = True) -> Array:
    """Return the value of a formula.

    Parameters
    ----------
    text : str
    symbols : mapping
        The value of each symbol, as it is printed.
    sizes : mapping
        That of each named size; sizes that are numbers in a formula are symbols, too.
    batch : bool
        Whether a sum over time is one over the sequences, too, as it is but for contexts.
    """
    return Reader(text, {**{name: np.asarray(float(size)) for name, size in sizes.items()}, **symbols}, sizes, batch).value()
