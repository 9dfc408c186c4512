"""Bach's chorales as piano rolls: read from music21's corpus, kept in a cache file, split and batched.

A roll is a boolean array (steps, 88): which of the keys A0 (MIDI 21) to C8 (MIDI 108) sound at each quarter note. A step samples the score
at its instant, so that a shorter note between two quarters is not seen.
"""

from __future__ import annotations

import importlib.metadata
import math
import multiprocessing
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..package.folder import replacing

Roll = NDArray[np.bool_]
Reals = NDArray[np.floating[Any]]

LOWEST, KEYS = 21, 88
FORMAT = 1  # of the cache file: raise it with any change to what a roll holds or how it is stored
WORKERS = 2


class Batch(NamedTuple):
    """Sequences of unequal length, padded with silence at their end."""

    x: Reals
    """(T, B, 88): the keys that sound at steps 0 … T-1."""
    target: Reals
    """(T, B, 88): those one step later."""
    mask: Reals
    """(T, B): 1 where the target is a step of the piece, 0 in the padding."""

    @property
    def steps(self) -> int:
        """Number of predicted steps, padding apart."""
        return int(self.mask.sum())


class Split(NamedTuple):
    train: list[Roll]
    validation: list[Roll]
    test: list[Roll]


def piano_roll(score: Any) -> Roll:
    """The roll of a music21 score: a note or chord from offset `a` to `b` (in quarters) sounds at the steps t with a ≤ t < b.

    Keys outside the piano are left out.
    """
    roll = np.zeros((math.ceil(score.highestTime), KEYS), np.bool_)
    for note in score.flatten().notes:
        steps = slice(math.ceil(note.offset), math.ceil(note.offset + note.quarterLength))
        for pitch in note.pitches:
            if 0 <= pitch.midi - LOWEST < KEYS:
                roll[steps, pitch.midi - LOWEST] = True
    return roll


def cache_file() -> Path:
    """Where the rolls are kept: under `XDG_CACHE_HOME` or `~/.cache`, one file a format and version of music21."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "derive-rnn" / f"chorales-v{FORMAT}-music21-{importlib.metadata.version('music21')}.npz"


def chorales(progress: Callable[[Iterable[str], int], Iterable[str]] = lambda names, total: names) -> dict[str, Roll]:
    """The chorales of music21's corpus by name: from the cache, or parsed (about 15 s) and written there.

    The 371 numbers of Riemenschneider's edition name fewer files; a roll equal to an earlier one (the same harmonisation under
    a second name) is left out, so that no piece is in two parts of a split.

    Parameters
    ----------
    progress : function
        `progress(names, total)` wraps the iteration over the parsed names, for a progress bar.

    Raises
    ------
    ModuleNotFoundError, importlib.metadata.PackageNotFoundError
        If music21 is missing.
    """
    path = cache_file()
    try:
        return load(path)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):  # absent, or not what `save` writes
        rolls = without_repeats(_parse_corpus(progress))
    save(path, rolls)
    return rolls


def without_repeats(rolls: dict[str, Roll]) -> dict[str, Roll]:
    """Sorted by name; of equal rolls the first."""
    first = {rolls[name].tobytes(): name for name in sorted(rolls, reverse=True)}
    return {name: rolls[name] for name in sorted(first.values())}


def _parse_corpus(progress: Callable[[Iterable[str], int], Iterable[str]]) -> dict[str, Roll]:
    from music21 import corpus

    names = sorted({str(name) for name in corpus.chorales.Iterator(returnType="filename")})
    # Fresh processes: one forked from a process that runs threads (Numba's, BLAS's) may hang.
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = pool.map(_parse, names, chunksize=8)
        return {name: next(results) for name in progress(names, len(names))}


def _parse(name: str) -> Roll:
    from music21 import corpus

    return piano_roll(corpus.parse(name, forceSource=True))  # from the source: no pickle of the score is left in the temporary folder


def save(path: Path, rolls: dict[str, Roll]) -> None:
    """Write rolls to one .npz: a whole file or none, also when several processes write at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bits = np.packbits(np.concatenate([np.zeros((0, KEYS), np.bool_), *rolls.values()]), axis=1)
    lengths = np.array([len(roll) for roll in rolls.values()], int)
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, names=np.array(list(rolls), np.str_), lengths=lengths, bits=bits)


def load(path: Path) -> dict[str, Roll]:
    """Read what `save` wrote."""
    with np.load(path) as file:
        names, lengths, bits = file["names"], file["lengths"], file["bits"]
    rows = np.unpackbits(bits, axis=1, count=KEYS).astype(np.bool_)
    parts = np.split(rows, np.cumsum(lengths)[:-1])
    return {str(name): part for name, part in zip(names, parts, strict=True)}


def split(rolls: dict[str, Roll], seed: int) -> Split:
    """60 % training, 20 % validation, 20 % test: a shuffle, fixed by the seed, of the names in sorted order."""
    names = sorted(rolls)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    a, b = round(0.6 * len(order)), round(0.8 * len(order))
    return Split(*([rolls[name] for name in part] for part in (order[:a], order[a:b], order[b:])))


def batches(rolls: Sequence[Roll], size: int) -> list[Batch]:
    """Next-step prediction in batches of `size` pieces, float32; pieces of like length go together, so that little is padding.

    Pieces of fewer than two steps hold nothing to predict and are left out.
    """
    pieces = sorted((roll for roll in rolls if len(roll) >= 2), key=len)
    return [_pad(pieces[i : i + size]) for i in range(0, len(pieces), size)]


def _pad(pieces: Sequence[Roll]) -> Batch:
    steps = max(map(len, pieces)) - 1
    x, target = (np.zeros((steps, len(pieces), KEYS), np.float32) for _ in range(2))
    mask = np.zeros((steps, len(pieces)), np.float32)
    for b, roll in enumerate(pieces):
        t = len(roll) - 1
        x[:t, b], target[:t, b], mask[:t, b] = roll[:-1], roll[1:], 1
    return Batch(x, target, mask)
