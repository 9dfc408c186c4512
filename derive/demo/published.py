"""The chorales as they were published, in a file that the user has: the data set that papers compare on, with its split.

(Boulanger-Lewandowski, Bengio and Vincent 2012, "Modeling temporal dependencies in high-dimensional sequences", arXiv:1206.6392.)  The
file, a pickle or JSON, has a dict of the parts "train", "valid" and "test"; each is a list of pieces, a piece a list of steps, a step the
MIDI numbers of the keys that sound.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import KEYS, LOWEST, Roll, Split
from .unpickle import Refused, plain

PARTS = ("train", "valid", "test")
MOST_BYTES = 32 << 20
MOST_STEPS = 500_000  # in all: a file of a few bytes may name one list very often


def read(path: Path) -> Split:
    """Return the parts of a file.

    Raises
    ------
    ValueError
        It names the file, and what cannot be read, is too large, missing, or no key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise Refused(f"it has more than {MOST_BYTES >> 20} MiB, which no file of chorales has")
        return _split(_parsed(data))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except Refused as error:
        raise ValueError(f"{path} is no file of chorales: {error}") from None


def _parsed(data: bytes) -> Any:
    """Return what a file has: JSON begins with a brace, as no pickle does."""
    if not data.lstrip().startswith(b"{"):
        return plain(data)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"it is no JSON: {type(error).__name__}") from None


def _split(found: Any) -> Split:
    if not isinstance(found, dict) or not found.keys() >= {*PARTS}:
        got = ", ".join(f"{name!s:.20}" for name in list(found)[:5]) if isinstance(found, dict) else type(found).__name__
        raise Refused(f"it needs a dict with {', '.join(PARTS)}, got {got or 'an empty one'}")
    parts, left = [], MOST_STEPS
    for name in PARTS:
        rolls = []
        for k, piece in enumerate(_items(found[name], name)):
            rolls.append(_roll(piece, f"{name}, piece {k + 1}", left))
            left -= len(rolls[-1])
        parts.append(rolls)
    return Split(*parts)


def _roll(piece: Any, where: str, most: int) -> Roll:
    steps = _items(piece, where)
    if len(steps) > most:
        raise Refused(f"{where}: with it there are more than {MOST_STEPS} steps in all")
    roll = np.zeros((len(steps), KEYS), np.bool_)
    for t, step in enumerate(steps):
        roll[t, [_key(key, f"{where}, step {t + 1}") for key in _items(step, f"{where}, step {t + 1}", least=0, most=KEYS)]] = True
    return roll


def _items(value: Any, where: str, least: int = 1, most: int = MOST_STEPS) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise Refused(f"{where}: needs a list, got {type(value).__name__}")
    if not least <= len(value) <= most:
        raise Refused(f"{where}: needs {least} to {most} items, got {len(value)}")
    return value


def _key(key: Any, where: str) -> int:
    if type(key) is not int or not LOWEST <= key < LOWEST + KEYS:
        shown = repr(key) if type(key) is int and abs(key) < 10**9 else type(key).__name__
        raise Refused(f"{where}: a key is a MIDI number from {LOWEST} to {LOWEST + KEYS - 1}, got {shown}")
    return key - LOWEST
