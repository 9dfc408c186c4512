"""Piano rolls to train on, without a corpus."""

from __future__ import annotations

import numpy as np

from derive.demo.data import KEYS, Split


def random_rolls(seed: int, lengths: list[int]) -> list[np.ndarray]:
    """A fixed pattern of period 4 at a random phase: predictable from one step to the next."""
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(99).random((4, KEYS)) < 0.1
    return [
        np.array([pattern[(t + phase) % 4] for t in range(n)]) for n, phase in zip(lengths, rng.integers(4, size=len(lengths)), strict=True)
    ]


def random_split() -> Split:
    """Parts of unequal pieces; with batches of two, the last one of the training set is of one piece."""
    return Split(random_rolls(0, [9, 12, 17, 8, 5]), random_rolls(1, [10]), random_rolls(2, [11, 6]))
