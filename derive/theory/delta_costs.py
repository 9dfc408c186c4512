"""What one token of the gated delta rule costs one head on a GPU: step by step, and in chunks.

    D = α S_prev,   S = D + β (v - D k) kᵀ,   o = S q        with S of d_v rows and d_k columns

Step by step, a block of threads has the state in registers, or in shared memory, for all steps. In chunks of C steps, the products of the
steps' factors are written as I - Kᵀ W (Bischof and Van Loan 1987), so that all is made of products of matrices: Yang et al. 2024
(arXiv:2406.06484) and, with decay, Yang et al. 2024 (arXiv:2412.06464). The chunks' kernels are those of flash-linear-attention 0.6.0,
`fla/ops/gated_delta_rule/chunk.py`: what each of them reads, writes and multiplies.

A multiplication and an addition are two operations. What grows with d alone is left out of them, and the numbers of a gate out of the bytes
of a chunk; vectors have two bytes a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NARROW, WIDE = 2, 4  # bytes of a number in bfloat16 and in float32
SHARED = 227 << 10  # bytes of shared memory that a block may have: CUDA C++ Programming Guide, compute capability 9.0


@dataclass(frozen=True)
class Device:
    """A device's roofs, as its maker says them.

    Attributes
    ----------
    bandwidth : float
        Bytes a second of its memory.
    vectors, matrices : float
        Operations a second: float32 by CUDA cores, and bfloat16 by tensor cores, dense.
    multiprocessors : int
    """

    bandwidth: float
    vectors: float
    matrices: float
    multiprocessors: int = 132

    @property
    def clock(self) -> float:
        """Cycles a second: 128 lanes of each multiprocessor do two operations in one."""
        return self.vectors / (2 * 128 * self.multiprocessors)


DEVICES = {"H100": Device(3.35e12, 67e12, 989e12), "H200": Device(4.8e12, 67e12, 989e12)}
"""SXM modules: NVIDIA's data sheets, where the rate of tensor cores is twice as high, with half of the numbers zero."""


@dataclass(frozen=True)
class Cost:
    """Operations and bytes of device memory, of a token and head; whether tensor cores do the operations."""

    operations: float
    bytes: float
    matrices: bool

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.operations / self.bytes

    def seconds(self, device: Device) -> float:
        """Return the least time that the roofs leave, if all of the device is at work."""
        return max(self.bytes / device.bandwidth, self.operations / (device.matrices if self.matrices else device.vectors))

    def bound(self, device: Device) -> str:
        """Return which roof that is."""
        return "memory" if self.bytes / device.bandwidth >= self.seconds(device) else "arithmetic"


def step_inference(d_k: int, d_v: int) -> Cost:
    """Decay, S k, the sum of an outer product, S q; q, k, v, α and β are read, o is written."""
    return Cost(7 * d_k * d_v, NARROW * (2 * d_k + 2 * d_v + 2), matrices=False)


def step_training(d_k: int, d_v: int, every: int, parts: int = 1) -> Cost:
    """Return the cost of forward and backward, of which the state before each `every`-th step is written and read.

    The backward pass multiplies S̄ = S̄⁺ + ō qᵀ, Sᵀ ō, S̄ k, S̄ᵀ e, Dᵀ ē, S̄ - ē kᵀ, ⟨·, S_prev⟩, and decays; e = v - D k is kept. With `every`
    above 1, e and the states of so many steps are made again, without S q, and stay in shared memory. A state's rows may be in so many
    `parts`, on as many multiprocessors: each of them reads k and q, and adds to q̄ and k̄.
    """
    again = every > 1
    state = d_k * d_v
    keys, values, numbers = 2 + again + 4, 2 + (1 if again else 2) + 3, 2 + 2 * again + 4
    vectors = parts * (keys * d_k + numbers) + values * d_v
    return Cost((7 + 5 * again + 15) * state, NARROW * vectors + 2 * WIDE * state / every, matrices=False)


def states_in_shared_memory(d_k: int, d_v: int, parts: int) -> int:
    """Return for how many steps a multiprocessor has room for its part of the states."""
    return SHARED * parts // (WIDE * d_k * d_v)


@dataclass(frozen=True)
class Kernel:
    """One kernel's part of a token: how often each of these occurs.

    Attributes
    ----------
    state : float
        d_k d_v operations.
    keys, values, chunk : float
        C d_k, C d_v and C² operations.
    moved : (float, float, float, float)
        Numbers read and written: times d_k, d_v, C, and d_k d_v / C, which is a state a chunk.
    """

    state: float = 0
    keys: float = 0
    values: float = 0
    chunk: float = 0
    moved: tuple[float, float, float, float] = (0, 0, 0, 0)


FORWARD: Mapping[str, Kernel] = {
    "K Kᵀ, its inverse, W and U": Kernel(keys=4, values=2, chunk=1 / 3, moved=(2, 2, 1, 0)),
    "states, chunk after chunk": Kernel(state=4, moved=(2, 2, 0, 1)),
    "outputs": Kernel(state=2, keys=2, values=2, moved=(2, 2, 0, 1)),
}
BACKWARD: Mapping[str, Kernel] = {
    "W and U again": Kernel(keys=2, values=2, moved=(2, 2, 1, 0)),
    "states again": Kernel(state=4, moved=(2, 2, 0, 1)),
    "v̄ within a chunk": Kernel(keys=2, values=2, moved=(2, 2, 0, 0)),
    "cotangents of states, chunk before chunk": Kernel(state=6, moved=(3, 3, 0, 1)),
    "q̄, k̄, W̄": Kernel(state=6, keys=6, values=2, moved=(6, 3, 0, 2)),
    "through W and U": Kernel(keys=10, values=4, chunk=4, moved=(3, 3, 1, 0)),
    "k̄, a sum of two": Kernel(moved=(3, 0, 0, 0)),
}


def chunked(kernels: Mapping[str, Kernel], d_k: int, d_v: int, c: int) -> Cost:
    """Return the cost of kernels that run one after the other."""
    operations, numbers = 0.0, 0.0
    for kernel in kernels.values():
        operations += kernel.state * d_k * d_v + c * (kernel.keys * d_k + kernel.values * d_v) + kernel.chunk * c * c
        numbers += sum(a * b for a, b in zip(kernel.moved, (d_k, d_v, c, d_k * d_v / c), strict=True))
    return Cost(operations, NARROW * numbers, matrices=True)


def chunk_inference(d_k: int, d_v: int, c: int) -> Cost:
    return chunked(FORWARD, d_k, d_v, c)


def chunk_training(d_k: int, d_v: int, c: int) -> Cost:
    return chunked({**FORWARD, **BACKWARD}, d_k, d_v, c)


def chunk_in_one_kernel(d_k: int, d_v: int, c: int) -> Cost:
    """Return the cost of inference if nothing but arguments and outputs went through device memory."""
    return Cost(chunk_inference(d_k, d_v, c).operations, step_inference(d_k, d_v).bytes, matrices=True)


def token(cost: Cost, heads: int, serial: float, device: Device) -> float:
    """Return the time of one step of `heads` heads of all sequences together: what the roofs leave, or what follows upon one another takes.

    Parameters
    ----------
    cost : Cost
    heads : int
        Heads times sequences.
    serial : float
        Seconds that the next step of the same head has to wait, on average.
    device : Device
    """
    return max(serial, heads * cost.seconds(device))
