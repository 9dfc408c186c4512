"""What the instructions of PTX compute, as plain Python: conversions of narrow formats, and products by tensor cores."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

import numpy as np


def narrow_bf16(x: float) -> int:
    bits = ctypes.c_uint32.from_buffer(ctypes.c_float(x)).value
    return 0x7FFF if x != x else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def widen_bf16(half: int) -> float:
    return ctypes.c_float.from_buffer(ctypes.c_uint32(int(half) << 16)).value


def narrow_f16(x: float) -> int:
    try:
        return 0x7FFF if x != x else int.from_bytes(struct.pack("<e", ctypes.c_float(x).value), "little")
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def widen_f16(half: int) -> float:
    return struct.unpack("<e", int(half).to_bytes(2, "little"))[0]


def round_tf32(x: float) -> int:
    bits = ctypes.c_uint32.from_buffer(ctypes.c_float(x)).value
    return 0x7FFFFFFF if x != x else (bits + 0x1000) & 0xFFFFE000


LANE, TWO, FOUR, EIGHT = np.arange(32)[:, None], np.arange(2), np.arange(4), np.arange(8)
GROUP, PLACE = LANE >> 2, LANE & 3
# Row and column of each lane's elements (PTX ISA, "Matrix Fragments for mma.m16n8k16" and "… mma.m16n8k8"): of a, of b, of the sums
PAIRS = (GROUP + 8 * (EIGHT >> 1 & 1), 2 * PLACE + (EIGHT & 1) + 8 * (EIGHT >> 2)), (2 * PLACE + (FOUR & 1) + 8 * (FOUR >> 1), GROUP)
SINGLES = (GROUP + 8 * (FOUR & 1), PLACE + 4 * (FOUR >> 1)), (PLACE + 4 * TWO, GROUP)
SUMS = GROUP + 8 * (FOUR >> 1), 2 * PLACE + (FOUR & 1)


@np.errstate(all="ignore")
def multiply(depth: int, places: Any, decode: Callable[[np.ndarray], np.ndarray], brought: list[Any]) -> list[Any]:
    """Return each lane's elements of a b + c, rounded once."""
    words, sums = np.array([values[:-4] for values in brought], np.uint32), np.array([values[-4:] for values in brought], np.float32)
    a, b = np.zeros((16, depth)), np.zeros((depth, 8))
    a[places[0]], b[places[1]] = decode(words[:, :4]), decode(words[:, 4:])
    return [tuple(lane) for lane in ((a @ b)[SUMS] + sums).astype(np.float32).tolist()]
