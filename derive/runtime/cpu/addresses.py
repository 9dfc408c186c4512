"""Where the rows of a call lie in memory.

Inside a call, a sequence is two-dimensional: a row for each step t and each batch position b that is still running then, at
``row[t] + b``.  Sequences of unequal length are sorted, longest first, so that those that run at a step are the first ``active[t]``; a
step past a sequence's end has no row and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod

import numpy as np

from .division import piece_rows

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Running:
    """In place of lengths: a caller's arrays over time have a row for each step of each sequence, and none for what is past an end.

    They lie as the rows of a call do, the sequences longest first, step by step: so PyTorch's `PackedSequence` has them.

    Attributes
    ----------
    active : array (T,), whole numbers that do not grow
        How many sequences each step has.
    """

    active: Array

    @property
    def count(self) -> int:
        return int(self.active.sum())

    @property
    def batch(self) -> int:
        return int(self.active[0]) if self.active.size else 0

    @cached_property
    def lengths(self) -> Array:
        """Of each sequence."""
        return (self.active[:, None] > np.arange(self.batch)).sum(axis=0, dtype=np.int64)

    def padded(self, value: Array) -> Array:
        """Return an array of the shape that one of rows would have with steps and sequences, without its values."""
        return np.broadcast_to(np.zeros((), value.dtype), (self.active.size, self.batch, *value.shape[1:]))


@dataclass(frozen=True)
class Rows:
    """The rows of T steps of B sequences.

    Attributes
    ----------
    row, kept, state, ring, ahead : arrays of T + 1
        Where the rows of step t begin: in sequences; on the tape; in a state's array, where they hold the values before step t; in memory
        for two steps in turn; in products of the inputs.  Without `keep` the tape is memory for two steps too.
    active : array of T
        How many sequences step t has.
    batch : int
    keep : bool
        Whether the tape has rows for all steps.
    inline : bool
        Whether products of the inputs are formed step by step, in memory for one, and not for all steps before the first.
    order : array of B, optional
        The sequence at each batch position; None if all have one length and stand as they came.
    origin : array, optional
        For each row, the row that it has in an array `(T, B, ·)` of the caller; None if that is the same.
    packed : bool
        Whether the caller's arrays over time have rows, too, and not steps and sequences.
    passing : bool
        Whether what a pass itself would keep, states aside, is not asked for.
    """

    row: Array
    kept: Array
    state: Array
    ring: Array
    ahead: Array
    active: Array
    batch: int
    keep: bool
    inline: bool
    order: Array | None = None
    origin: Array | None = None
    packed: bool = False
    passing: bool = False

    @classmethod
    def of(cls, steps: int, batch: int, keep: bool, inline: bool, lengths: Array | None = None, reverse: bool = False) -> Rows:
        """Return the rows of `steps` steps; of each sequence only its first `lengths`, backwards where `reverse`."""
        count = np.arange(steps + 1, dtype=np.int64)
        ring = (count % 2) * batch
        if lengths is None and not reverse:
            row = count * batch
            kept = row if keep else ring
            return cls(row, kept, kept, ring, np.zeros_like(row) if inline else row, np.full(steps, batch, np.int64), batch, keep, inline)
        lengths = np.full(batch, steps, np.int64) if lengths is None else lengths
        order = np.argsort(-lengths, kind="stable")
        running = count[:-1, None] < lengths[order]  # (T, B), the first of each step
        active = running.sum(axis=1, dtype=np.int64)
        row = np.concatenate([np.zeros(1, np.int64), np.cumsum(active)])
        state = np.concatenate([row[:1], batch + row[:-1]])
        t, position = np.nonzero(running)
        sequence = order[position]
        origin = (lengths[sequence] - 1 - t if reverse else t) * batch + sequence
        kept, state, ahead = row if keep else ring, state if keep else ring, np.zeros_like(row) if inline else row
        return cls(row, kept, state, ring, ahead, active, batch, keep, inline, order, origin)

    @classmethod
    def of_running(cls, running: Running, keep: bool, inline: bool, reverse: bool) -> Rows:
        """Return the rows of sequences that the caller has as such."""
        found = cls.of(running.active.size, running.batch, keep, inline, running.lengths, reverse)
        if not reverse:
            return replace(found, origin=None, packed=True)
        begin, position = found.row[:-1], found.sequence
        step = running.lengths[position] - 1 - np.repeat(np.arange(found.steps), found.active)
        return replace(found, origin=begin[step] + position, packed=True)

    @property
    def steps(self) -> int:
        return self.active.size

    @cached_property
    def count(self) -> int:
        """How many rows a sequence has."""
        return int(self.row[-1])

    @cached_property
    def kept_count(self) -> int:
        """How many rows an array on the tape has."""
        return self.count if self.keep and not self.passing else 2 * self.batch

    @cached_property
    def state_count(self) -> int:
        """How many rows a state's array on the tape has."""
        return self.batch + (self.count if self.keep else self.batch)

    @cached_property
    def ahead_count(self) -> int:
        """How many rows a product of the inputs has."""
        return self.batch if self.inline else self.count

    @cached_property
    def pieces(self) -> Array:
        """The steps with which pieces of the time loop begin, and the number of all steps: what follows the loop runs after each piece.

        A piece begins with the first step that has all rows of a multiple of `division.piece_rows` before it.
        """
        size = piece_rows(self.count)
        begins = np.unique(np.searchsorted(self.row[: self.steps], np.arange(size, self.count, size)))
        return np.array([0, *begins[begins < self.steps], self.steps], np.int64)

    @cached_property
    def piece(self) -> Array:
        """Where the rows of step t begin in memory for a piece: one for each step, and one."""
        first = np.repeat(self.row[self.pieces[:-1]], np.diff(self.pieces))
        return np.append(self.row[:-1] - first, np.int64(0))

    @cached_property
    def piece_count(self) -> int:
        """How many rows the largest piece has."""
        return int(np.diff(self.row[self.pieces]).max())

    @cached_property
    def fleeting(self) -> Rows:
        """The same rows for a pass that keeps nothing of its own."""
        return replace(self, kept=self.ring, passing=True)

    @property
    def gathered(self) -> bool:
        """Whether the values before each step must be gathered, or lie row by row in a state's array."""
        return self.order is not None

    @cached_property
    def sequence(self) -> Array:
        """The batch position of each row."""
        return np.arange(self.count, dtype=np.int64) - np.repeat(self.row[:-1], self.active)

    # Between the caller's arrays and rows

    def gather(self, values: Array) -> Array:
        """Return the rows of a caller's array, given as `(T·B, ·)`, or as rows."""
        return values if self.origin is None else values[self.origin]

    def spread(self, rows: Array) -> Array:
        """Return rows as `(T·B, ·)`, zero past a sequence's end, or as the caller has them."""
        if self.origin is None:
            return rows
        out = np.zeros((self.count if self.packed else self.steps * self.batch, *rows.shape[1:]), rows.dtype)
        out[self.origin] = rows
        return out

    def before(self, states: Array, empty: Callable[[tuple[int, ...], np.dtype], Array]) -> Array:
        """Return a state's values before each step, row by row, or memory for them where they are `gathered`."""
        return empty((self.count, *states.shape[1:]), states.dtype) if self.gathered else states[: self.count]

    def sort(self, values: Array) -> Array:
        """Return the caller's `(B, ·)` by batch position."""
        return values if self.order is None else values[self.order]

    def unsort(self, values: Array) -> Array:
        """Return what lies by batch position in the caller's order."""
        if self.order is None:
            return values
        out = np.empty_like(values)
        out[self.order] = values
        return out


@lru_cache(maxsize=64)
def dense(steps: int, batch: int, keep: bool, inline: bool) -> Rows:
    """Return the rows of sequences of one length; they are shared, not to be altered."""
    return Rows.of(steps, batch, keep, inline)


def flat(value: Array, axes: int) -> Array:
    """Return an array as rows: its first `axes` axes as one, its features as the other; a scalar a row becomes one column."""
    shape = value.shape
    if len(shape) == axes + 1:
        return value if axes == 1 else value.reshape(prod(shape[:axes]), shape[axes])
    return value.reshape(prod(shape[:axes]), prod(shape[axes:]))
