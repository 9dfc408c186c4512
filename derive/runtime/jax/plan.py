"""What a pass becomes in a program of XLA: words that tell the handler what to run on which arrays, and how results are had from these.

A pass is sketched on arrays of the shapes that it will get (`cpu.sketch`), and each array of its functions is told by where it lies: in an
operand, in a result, in memory to work in, or among what stays the same, which the words hold themselves. A result that is a part of an
array, as one of several gradients that were computed together, is copied out of it at the end: XLA takes longer to take it apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ..cpu.entry import words_of
from ..cpu.kernel import host
from ..cpu.memory import ALIGNMENT
from ..cpu.openmp import LIGHT
from ..cpu.spans import Places
from ..cpu.words import I64
from .calls import Spec, arguments
from .frame import CHECK, HEAD, PLACES
from .table import number_of

Array = np.ndarray
Read = Callable[[Sequence[Any]], Any]
WORD = I64.width // 8
RAISED = "a kernel raised an exception"
UNKNOWN = (
    "this program was made in another process, and calls functions that are not compiled here: read it by `read_exported` of the package's"
    " `jax`, or let JAX trace the same call once, as `jax.jit(…).lower(…)` does"
)


@dataclass(frozen=True)
class Index:
    """Whole numbers of an operand that must lie below a bound.

    Attributes
    ----------
    operand : int
    below : int
    message : str
    """

    operand: int
    below: int
    message: str


@dataclass(frozen=True)
class Plan:
    """A pass as a call of the handler.

    Attributes
    ----------
    words : array of int64
    made : tuple of (shape, dtype)
        The arrays that the handler writes, and the memory in which it works, the last.
    reads : tuple of functions
        Of what the handler wrote: the results.
    told : str
        What is called, for another process (see `calls`).
    """

    words: Array
    made: tuple[Spec, ...]
    reads: tuple[Read, ...]
    told: str

    def __call__(self, target: str, *operands: Any) -> list[Any]:
        """Return the results, in a program that JAX traces."""
        written = self.written(target, *operands)
        return [read(written) for read in self.reads]

    def written(self, target: str, *operands: Any) -> Sequence[Any]:
        """Return what the handler writes."""
        words = jnp.asarray(self.words.view(np.int32))  # halves: JAX may have no whole ones
        given = [_wide(value) if jnp.issubdtype(value.dtype, jnp.integer) else value for value in operands]
        found: Sequence[Any] = jax.ffi.ffi_call(target, [jax.ShapeDtypeStruct(*spec) for spec in self.made])(
            words, *given, **arguments(self.told)
        )
        return found


def _wide(value: Any) -> Any:
    """Return whole numbers as kernels read them, of 64 bits: if need be in two halves, the lower one first."""
    if value.dtype.itemsize == WORD:
        return value
    halves = value.astype(jnp.int32)
    return jnp.stack([halves, halves >> 31], axis=-1)


def planned(
    sketch: Any,
    given: Sequence[Array],
    results: Sequence[Array | None],
    shapes: Sequence[tuple[int, ...]],
    indices: Sequence[Index],
    told: str,
) -> Plan:
    """Return the plan of what was sketched.

    Parameters
    ----------
    sketch : Sketch
    given : sequence of arrays
        The operands that it was given.
    results : sequence of arrays
        What it returned; None is zero.
    shapes : sequence of shapes
        Of the results.
    indices : sequence of Index
    told : str
    """
    source, works, written, reads = Places([*given, *sketch.made]), list(sketch.works), dict[int, Array](), list[Read]()
    dtype = next((array.dtype for array in (*sketch.made, *given) if array.dtype.kind == "f"), np.dtype(np.float64))
    for result, shape in zip(results, shapes, strict=True):
        k = source.of(result)
        if result is None or k is None:  # nothing that the pass runs writes to it
            reads.append(_constant(result, shape, dtype))
            continue
        if k < len(given) or k in written or result.nbytes != source.arrays[k].nbytes:
            k, copied = -1 - len(written), np.empty(shape, result.dtype)
            works.append((_copy, (1, LIGHT, *_flat(copied, result))))
        written[k] = copied if k < 0 else source.arrays[k].reshape(shape)
        reads.append(itemgetter(len(written) - 1))
    inside = [array for k, array in enumerate(sketch.made, len(given)) if k not in written and array.size]
    starts, size = _packed(inside, WORD * (PLACES + len(given) + len(written) + 1))
    book = _Book(Places([*given, *written.values()]), Places(inside), starts)
    words = book.words(works, [(index, given[index.operand].size) for index in indices])
    made = (*((array.shape, array.dtype) for array in written.values()), ((size + ALIGNMENT,), np.dtype(np.uint8)))
    return Plan(words, made, tuple(reads), told)


def _packed(arrays: Sequence[Array], start: int) -> tuple[list[int], int]:
    """Return where arrays begin one after the other, and where they end; each begins at a cache line, as the memory does."""
    starts = []
    for array in arrays:
        start = -(-start // ALIGNMENT) * ALIGNMENT
        starts.append(start)
        start += array.nbytes
    return starts, start


# Words


class _Book:
    """Where the arrays of a pass lie at run time, and what stays the same in every call."""

    def __init__(self, known: Places, inside: Places, starts: Sequence[int]) -> None:
        self._known, self._inside, self._starts = known, inside, starts
        self._stays: dict[int, tuple[Array, int]] = {}  # arrays by identity, and where they begin
        self._bytes = 0  # of these

    def words(self, works: Sequence[tuple[Any, tuple[Any, ...]]], indices: Sequence[tuple[Index, int]]) -> Array:
        """Return all words: how much there is, checks, functions with their arguments, messages, and what stays."""
        counts = [sum(_words(value) for value in given) for _, given in works]
        at = WORD * (HEAD + CHECK * len(indices) + sum(2 + count for count in counts))
        texts = [_whole(f"derive: {text}\0".encode()) for text in (RAISED, UNKNOWN, *(index.message for index, _ in indices))]
        places = [at + sum(map(len, texts[:k])) for k in range(len(texts) + 1)]
        self._bytes = places.pop()
        head = [len(indices), len(works), *places[:2]]
        for (index, count), place in zip(indices, places[2:], strict=True):
            head += [PLACES + index.operand, count, index.below, place]
        for (work, given), count in zip(works, counts, strict=True):
            head += [number_of(work, given), count, *(word for value in given for word in self._told(value))]
        stays = [_whole(array.tobytes()) for array, _ in self._stays.values()]
        return np.frombuffer(b"".join([np.array(head, np.int64).tobytes(), *texts, *stays]), np.int64)

    def _told(self, value: Any) -> list[int]:
        """Return the words of an argument."""
        if not isinstance(value, Array):
            return [int(value)] if _words(value) else []
        if (k := self._known.of(value)) is not None:
            return [PLACES + k, *words_of(value, self._known.arrays, k)[1:]]
        if (k := self._inside.of(value)) is not None:
            _, begin, *rest = words_of(value, self._inside.arrays, k)
            return [PLACES + len(self._known.arrays), self._starts[k] + begin, *rest]
        if id(value) not in self._stays:
            self._stays[id(value)] = value, self._bytes
            self._bytes += len(_whole(value.tobytes()))
        return [PLACES - 1, self._stays[id(value)][1], *words_of(value.copy(), (), None)[2:]]


def _words(value: Any) -> int:
    """Return how many words tell an argument: of what stands for zeros, none."""
    if isinstance(value, Array):
        return 4 + 2 * value.ndim
    return int(isinstance(value, int | np.integer | np.bool_))


def _whole(given: bytes) -> bytes:
    """Return bytes, filled up to a word."""
    return given + bytes(-len(given) % WORD)


# Results


def _constant(result: Array | None, shape: tuple[int, ...], dtype: np.dtype) -> Read:
    """Return what gives a result that is the same in every call, None for zeros."""
    return lambda _: jnp.zeros(shape, dtype) if result is None or not result.any() else jnp.asarray(result)


def _flat(out: Array, value: Array) -> tuple[Array, Array]:
    """Return two arrays of one shape, in their memory, with one axis if they may have it: `_copy` is compiled for each number of axes."""
    return (out.reshape(-1), value.reshape(-1)) if value.flags.c_contiguous else (out, value)


@host
def _copy(parts, how, out, value):  # type: ignore[no-untyped-def]
    """Copy an array into another one."""
    np.positive(value, out)
