"""Single instructions on the device beside what the simulator takes them for: products by tensor cores, and conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from simulated_numbers import PAIRS, SINGLES, multiply

PRODUCTS = ("bf16", "f16", "tf32")
TANH = 2.0**-10  # the manual: a relative error of 2^-11


def encoded(kind: str, values: np.ndarray) -> np.ndarray:
    """Return float32 as words of 32 bits, as the tensor cores take them: pairs, or single numbers."""
    if kind == "tf32":
        return values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    dtype = ml_dtypes.bfloat16 if kind == "bf16" else np.float16
    return np.ascontiguousarray(values.astype(dtype)).view(np.uint32)


def decoded(kind: str, words: np.ndarray) -> np.ndarray:
    if kind == "tf32":
        return words.view(np.float32)
    return words.view(ml_dtypes.bfloat16 if kind == "bf16" else np.float16).astype(np.float32)


def fragments(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the registers of a warp: words of both factors, (32, 6), and the sums, (32, 4)."""
    random, each = np.random.default_rng(seed), 1 if kind == "tf32" else 2
    return encoded(kind, random.standard_normal((32, 6 * each))), random.standard_normal((32, 4)).astype(np.float32)


def expected(kind: str, words: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the sums as the simulator has them: after the layout of fragments in the manual."""
    brought = [(*row, *tile) for row, tile in zip(words, sums, strict=True)]
    depth, places = (8, SINGLES) if kind == "tf32" else (16, PAIRS)
    return np.array(multiply(depth, places, lambda taken: decoded(kind, np.ascontiguousarray(taken)), brought), np.float32)


def product(kind: str) -> Any:
    """Return a kernel of one warp and one product: ``kernel(words, sums)`` adds to the sums."""
    from numba import cuda

    from generated.runtime.cuda import ptx

    def bf16(words: Any, sums: Any) -> None:
        w, s = words[cuda.threadIdx.x], sums[cuda.threadIdx.x]
        s[0], s[1], s[2], s[3] = ptx.mma_bf16(w[0], w[1], w[2], w[3], w[4], w[5], s[0], s[1], s[2], s[3])

    def f16(words: Any, sums: Any) -> None:
        w, s = words[cuda.threadIdx.x], sums[cuda.threadIdx.x]
        s[0], s[1], s[2], s[3] = ptx.mma_f16(w[0], w[1], w[2], w[3], w[4], w[5], s[0], s[1], s[2], s[3])

    def tf32(words: Any, sums: Any) -> None:
        w, s = words[cuda.threadIdx.x], sums[cuda.threadIdx.x]
        s[0], s[1], s[2], s[3] = ptx.mma_tf32(w[0], w[1], w[2], w[3], w[4], w[5], s[0], s[1], s[2], s[3])

    return cuda.jit({"bf16": bf16, "f16": f16, "tf32": tf32}[kind])


def conversion() -> Any:
    """Return a kernel of a thread for each number: ``kernel(numbers, words, values)`` writes what conversions and functions give."""
    from numba import cuda

    from generated.runtime.cuda import ptx

    @cuda.jit
    def convert(numbers: Any, words: Any, values: Any) -> None:
        i = cuda.grid(1)
        if i < numbers.shape[0]:
            x = numbers[i]
            words[i, 0], words[i, 1], words[i, 2] = ptx.narrow_bf16(x), ptx.narrow_f16(x), ptx.round_tf32(x)
            words[i, 3], words[i, 4] = ptx.pack_bf16(x, -x), ptx.pack_f16(x, -x)
            values[i, 0], values[i, 1] = ptx.widen_bf16(ptx.narrow_bf16(x)), ptx.widen_f16(ptx.narrow_f16(x))
            values[i, 2], values[i, 3] = ptx.tanh_fast(x), ptx.exp2_fast(x)

    return convert


def numbers() -> np.ndarray:
    """Return float32 of all sizes that every format holds, ties between two neighbours among them."""
    random = np.random.default_rng(0)
    normal = random.standard_normal(4096) * np.exp2(random.uniform(-12, 12, 4096))
    ties = 1 + np.arange(64) * 2.0**-12
    return np.concatenate([normal, ties, -ties, [0.0, 1.0, -1.0]]).astype(np.float32)


def converted(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the words and values that `conversion` is to write."""
    halves = [x.astype(dtype).view(np.uint16).astype(np.uint32) for dtype in (ml_dtypes.bfloat16, np.float16)]
    opposite = [(-x).astype(dtype).view(np.uint16).astype(np.uint32) for dtype in (ml_dtypes.bfloat16, np.float16)]
    away = (x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    pairs = [low | high << np.uint32(16) for low, high in zip(halves, opposite, strict=True)]
    with np.errstate(over="ignore", under="ignore"):
        values = [x.astype(ml_dtypes.bfloat16), x.astype(np.float16), np.tanh(x), np.exp2(x)]
    return np.stack([*halves, away, *pairs], axis=1), np.stack([value.astype(np.float32) for value in values], axis=1)


def worst(got: tuple[np.ndarray, np.ndarray], want: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Return how many words differ, and the largest errors of values relative to them."""
    names = ("narrow_bf16", "narrow_f16", "round_tf32", "pack_bf16", "pack_f16")
    differ = {name: float(np.count_nonzero(got[0][:, k] != want[0][:, k])) for k, name in enumerate(names)}
    # What is subnormal the fast exponential makes zero.
    with np.errstate(all="ignore"):
        relative = np.where(np.isfinite(want[1]) & (np.abs(want[1]) >= np.finfo(np.float32).tiny), np.abs(got[1] / want[1] - 1), 0.0)
    return differ | {name: float(relative[:, k].max()) for k, name in enumerate(("widen_bf16", "widen_f16", "tanh_fast", "exp2_fast"))}


BOUNDS: dict[str, float] = {"tanh_fast": TANH, "exp2_fast": 2.0**-21, **{f"mma {kind}": 1e-4 for kind in PRODUCTS}}
"""Largest errors; of what is not named, none."""


def run(kernel: Callable[..., Any], xp: Any, blocks: int, threads: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return the arrays as a kernel leaves them."""
    from numba import cuda

    given = [xp.asarray(value) for value in arrays]
    kernel[blocks, threads](*(cuda.as_cuda_array(value) for value in given))
    xp.cuda.get_current_stream().synchronize()
    return [value.get() for value in given]
