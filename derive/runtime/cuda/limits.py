"""What devices offer to kernels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a device offers to a kernel.

    Attributes
    ----------
    capability : pair of int
    processors : int
        Streaming multiprocessors.
    shared : int
        Bytes of shared memory that a block may ask for.
    registers : int
        Of a block, and at most 255 a thread.
    threads : int
        Of a block.
    """

    capability: tuple[int, int]
    processors: int
    shared: int
    registers: int = 65536
    threads: int = 1024


H200 = Limits((9, 0), 132, 232448)
OLDEST = (8, 0)  # asynchronous copies, bfloat16 and TF32
