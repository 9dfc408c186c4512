"""What a device's own operations take: launches, meetings of blocks, products; and whether what kernels ask for is granted.

Every function returns what it found as numbers and texts, and raises if something is not as it must be.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from derive.bench.cuda.clock import EventClock, floors
from generated.runtime.cuda.current import current
from generated.runtime.cuda.kind import KINDS
from generated.runtime.cuda.plan import LINE

MEETINGS, LAUNCHES = 10_000, 2000
PLENTY = 200 << 10  # bytes of shared memory: more than a kernel has without asking
TOLERANCES = {"float64": 1e-13, "float32": 1e-5, "tf32": 2e-3, "bfloat16": 2e-2, "float16": 3e-3}  # of a product's norm


def seconds(call: Callable[[], object], times: int = 7) -> float:
    """Return the median time that the device takes for a call, after one that is not counted."""
    cuda = current().xp.cuda
    found = []
    for _ in range(times + 1):
        begin, end = cuda.Event(), cuda.Event()
        begin.record()
        call()
        end.record()
        end.synchronize()
        found.append(cuda.get_elapsed_time(begin, end) / 1e3)
    return statistics.median(found[1:])


# Meetings of blocks


def meeting_by_hand() -> Any:
    """Return a kernel whose groups of `members` blocks meet as those of a resident kernel do."""
    from numba import cuda

    from generated.runtime.cuda import ptx

    @cuda.jit
    def meet(counters: Any, members: int, meetings: int) -> None:
        ptx.cooperative()
        at = cuda.blockIdx.x // members * LINE
        for k in range(1, meetings + 1):
            cuda.syncthreads()
            if cuda.threadIdx.x == 0:
                ptx.release_add(counters, at, 1)
                while ptx.acquire(counters, at) < k * members:
                    pass
            cuda.syncthreads()

    return meet


def meeting_of_the_grid() -> Any:
    """Return a kernel whose blocks all meet as cooperative groups do."""
    from numba import cuda

    @cuda.jit
    def meet(meetings: int) -> None:
        grid = cuda.cg.this_grid()
        for _ in range(meetings):
            grid.sync()

    return meet


def barrier() -> dict[str, float]:
    """Return microseconds a meeting, by the number of members; their groups fill the device."""
    device, kernel, found = current(), meeting_by_hand(), {}
    processors = device.limits.processors
    for members in [m for m in (2, 4, 8, 16, 32, 64, 128) if m <= processors] + [processors]:
        groups = processors // members

        def call(members: int = members, groups: int = groups) -> None:
            counters = device.xp.zeros(groups * LINE, np.uint32)
            device.launch(kernel, (groups * members, 1), 256, 0, (counters, members, MEETINGS), together=True)

        found[f"{groups} groups of {members}"] = seconds(call) / MEETINGS * 1e6
    return found


def barrier_of_the_grid() -> dict[str, float]:
    """Return microseconds a meeting of all blocks by ``this_grid().sync()``."""
    device, kernel = current(), meeting_of_the_grid()
    blocks = device.limits.processors

    def call() -> None:
        device.launch(kernel, (blocks, 1), 256, 0, (MEETINGS,), together=True)

    return {f"1 group of {blocks}": seconds(call) / MEETINGS * 1e6}


# Launches


def with_arrays(count: int) -> Any:
    """Return a kernel of so many arrays."""
    from numba import cuda

    names, space = [f"a{k}" for k in range(count)], {"cuda": cuda}
    exec(f"def touch({', '.join(names)}):\n    if cuda.threadIdx.x == 0:\n        a0[0] = {' + '.join(f'{n}[0]' for n in names)}\n", space)
    return cuda.jit(space["touch"])


def launch() -> dict[str, float]:
    """Return microseconds of the host for a launch, by Numba alone and by way of the device, and of the device for launches in a row."""
    from numba import cuda

    device, found = current(), {}
    for count in (5, 25):
        kernel, arrays = with_arrays(count), [device.xp.ones(4, np.float32) for _ in range(count)]
        plain, grid = [cuda.as_cuda_array(value) for value in arrays], (device.limits.processors, 1)
        configured = kernel[grid, 32]
        ways: dict[str, Callable[[], object]] = {
            "Numba, configured": lambda configured=configured, plain=plain: configured(*plain),
            "Numba": lambda kernel=kernel, plain=plain, grid=grid: kernel[grid, 32](*plain),
            "by the device": lambda kernel=kernel, arrays=arrays, grid=grid: device.launch(
                kernel, grid, 32, 0, tuple(arrays), together=False
            ),
        }
        for way, call in ways.items():
            host, all_done = _in_a_row(call)
            found[f"{way}, {count} arrays"], found[f"{way}, {count} arrays, until done"] = host, all_done
    return found


def _in_a_row(call: Callable[[], object]) -> tuple[float, float]:
    """Return microseconds a call, until the host is done and until the device is."""
    stream = current().xp.cuda.get_current_stream()
    call()
    stream.synchronize()
    begin = time.perf_counter()
    for _ in range(LAUNCHES):
        call()
    queued = time.perf_counter()
    stream.synchronize()
    return (queued - begin) / LAUNCHES * 1e6, (time.perf_counter() - begin) / LAUNCHES * 1e6


def shared() -> dict[str, Any]:
    """Fill more shared memory than a kernel has without asking, and read it back the other way round."""
    from numba import cuda, float32

    count, device = PLENTY // 4, current()

    @cuda.jit
    def turn(out: Any) -> None:
        memory = cuda.shared.array(0, float32)
        for k in range(cuda.threadIdx.x, count, cuda.blockDim.x):
            memory[k] = k
        cuda.syncthreads()
        for k in range(cuda.threadIdx.x, count, cuda.blockDim.x):
            out[k] = memory[count - 1 - k]

    out = device.xp.zeros(count, np.float32)
    device.launch(turn, (1, 1), 256, PLENTY, (out,), together=False)
    np.testing.assert_array_equal(out.get(), np.arange(count, dtype=np.float32)[::-1])
    return {"bytes": PLENTY, "most": device.limits.shared}


def together() -> dict[str, Any]:
    """Launch as many blocks as there are processors, to meet once, and more than there is room for, which must be refused."""
    device, kernel = current(), meeting_by_hand()
    found: dict[str, Any] = {}
    for blocks in (device.limits.processors, 64 * device.limits.processors):
        counters = device.xp.zeros(LINE, np.uint32)
        try:
            # The second does not meet: it would wait for ever if it were not refused.
            meetings = 1 if blocks == device.limits.processors else 0
            device.launch(kernel, (blocks, 1), 256, 0, (counters, blocks, meetings), together=True)
            device.xp.cuda.get_current_stream().synchronize()
            found[f"{blocks} blocks"] = f"ran, {int(counters[0])} came"
        except Exception as error:
            found[f"{blocks} blocks"] = f"{type(error).__name__}: {error}"
    assert found[f"{device.limits.processors} blocks"] == f"ran, {device.limits.processors} came", found
    return found


# Products of cuBLAS


def products() -> dict[str, float]:
    """Return the errors of products as passes ask for them: every kind, order of numbers, result, and added or not."""
    device, found, random = current(), {}, np.random.default_rng(0)
    for kind in KINDS.values():
        stored, real = device.dtype(kind.stored), device.dtype(kind.real)
        for order in ("rows rows", "rows columns", "columns rows"):
            a, b = random.standard_normal((48, 40)).astype(stored), random.standard_normal((40, 24)).astype(stored)
            first, second = (_laid(value, how) for value, how in zip((a, b), order.split(), strict=True))
            for result in dict.fromkeys((real, stored)):
                for add in (False, True):
                    out = device.xp.ones((48, 24), result)
                    device.multiply(first, second, out, add=add, tf32=kind.product == "tf32")
                    want = a.astype(float) @ b.astype(float) + add
                    error = float(np.linalg.norm(out.get().astype(float) - want) / np.linalg.norm(want))
                    found[f"{kind.name}, {order}, {np.dtype(result).name}{', added' if add else ''}"] = error
    wrong = {name: error for name, error in found.items() if not error <= TOLERANCES[name.split(",")[0]]}
    assert not wrong, wrong
    return found


def _laid(value: np.ndarray, how: str) -> Any:
    xp = current().xp
    return xp.asarray(value) if how == "rows" else xp.asarray(np.ascontiguousarray(value.T)).T


# Kernels that stay


def resident(module: Any, call: Callable[[], object]) -> dict[str, dict[str, Any]]:
    """Return plan and time of each kernel that stays for all steps of a call, in microseconds a step, and what it takes of a thread."""
    found = {floor.kernel: vars(floor) for floor in floors(module, call, EventClock().now)}
    for (make, _, _, plan), kernel in current()._kernels.items():
        floor = found.get(make.__name__.removeprefix("make_").removesuffix("_resident"))
        if floor and plan and (plan.members, plan.rows) == (floor["members"], floor["rows"]):
            floor |= {"registers": _largest(kernel.get_regs_per_thread()), "local": _largest(kernel.get_local_mem_per_thread())}
    return {name: values | {"estimate": values["estimate"] * 1e6, "seconds": values["seconds"] * 1e6} for name, values in found.items()}


def _largest(found: Any) -> int:
    """Return the most of any signature."""
    return max(found.values()) if isinstance(found, dict) else int(found)
