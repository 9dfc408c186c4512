"""Kernels of cells with heads and matrices, executed on the grid simulator, beside the CPU's: for all steps, and step by step."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import ordinary
from device import SimulatedDevice, using
from fuzz import device as simulated
from fuzz.verify import plain, verify
from helpers.devices import MATRICES
from mutants import barriers, mutant
from simulator import Deadlock, Race
from test_resident import TOLERANCE, compared, rounded

from derive import Cell
from derive.cells import REGISTRY
from derive.package import contents
from derive.runtime.cuda.tiling import STATIC, WARP, Shape, Tiling, for_loop, for_stage
from derive.verify import second
from derive.verify.problem import Problem, directions, sample
from derive.verify.tolerances import magnitude
from derive.verify.witnesses import kernel
from generated.runtime.cuda import current
from generated.runtime.cuda.kind import Kind
from generated.runtime.cuda.limits import H200, Limits

# Loops over heads between others, matrices of several shapes, sums over whole matrices, products at each step, no heads.
CHOSEN = ("linear_attention", "gated_deltanet", "slstm_heads", "plasticity")
LOOPS = ("forward_apart", "backward_apart")
# Sizes by name: rows that slots do not divide, columns that threads do not; of one warp, and of two.
SIZES = {"d": 3, "H": 2, "n": 6, "d_k": 5, "d_v": 9, "d_h": 5}
LARGER = {"d": 3, "H": 1, "d_k": 9, "d_v": 35}


class Device(SimulatedDevice):
    """A simulated device that runs loops whose rows need nothing of each other as it is told: by one kernel, or step by step."""

    def __init__(self, whole: bool = True, limits: Limits = H200, order: str = "forward") -> None:
        super().__init__(limits, order)
        self.whole = whole

    def tiling(self, features: int, matrices: tuple[Shape, ...], kept: tuple[Shape, ...], kind: Kind) -> Any:
        return super().tiling(features, matrices, kept, kind) if self.whole else None


def problem(name: str, kind: str = "float64", sizes: Mapping[str, int] = SIZES) -> Problem:
    cell = REGISTRY[name]
    return rounded(sample(cell, sizes={size: sizes.get(size, 4) for size in cell.sizes}, steps=3, batch=2), kind)


@pytest.mark.parametrize("whole", (True, False), ids=("all steps", "step by step"))
@pytest.mark.parametrize("name", ordinary(MATRICES, CHOSEN))
def test_cells_compute_what_the_cpu_computes(name: str, *, whole: bool) -> None:
    device = Device(whole)
    assert compared(name, device, problem(name)) <= TOLERANCE["float64"]
    made = {loop for loop in LOOPS if hasattr(importlib.import_module(f"generated.cuda.{name}"), f"make_{loop}")}
    assert device.launched.keys() & set(LOOPS) == (made if whole else set())


@pytest.mark.parametrize("kind", ("float32", "bfloat16", "float16", "tf32"))
def test_kinds_of_numbers(kind: str) -> None:
    assert compared("deltanet", Device(), problem("deltanet", kind), kind=kind) <= TOLERANCE[kind]


def test_the_order_of_threads_changes_no_bit() -> None:
    given, results = problem("deltanet"), []
    for order in ("forward", "backward"):
        with using(Device(order=order), current):
            results.append(kernel(importlib.import_module("generated.cuda.deltanet"), given))
    for name, value in results[0].grads.items():
        np.testing.assert_array_equal(value, results[1].grads[name])


def test_a_state_that_does_not_fit_is_run_step_by_step() -> None:
    device = Device(limits=Limits((9, 0), 132, STATIC))
    assert compared("linear_attention", device, problem("linear_attention")) <= TOLERANCE["float64"]
    assert not device.launched.keys() & set(LOOPS)


@pytest.mark.parametrize(
    ("text", "shapes", "shared"),
    [
        ("m = mean(x)\nh = tanh(U @ h_prev + m * v)", {"x": "d", "v": "n", "U": "n, n"}, ()),
        ("S = S_prev * a + outer(w * x, u)\nh = S @ u", {"x": "n", "w": "n", "u": "n", "a": "", "S": "n, n"}, ("w",)),
    ],
    ids=["a number that all heads have in common", "a loop with nothing but a sum over heads"],
)
def test_what_heads_have_in_common(text: str, shapes: dict[str, str], shared: tuple[str, ...]) -> None:
    cell = Cell(text, name="common", output="h", heads="H", shapes=shapes, shared=shared)
    assert verify(cell, dict.fromkeys(cell.sizes, 2), simulate=True) <= 1


# Mutants: with a barrier taken out, what is emitted must fail.

BARRIERS = [(name, *found) for name in ("linear_attention", "deltanet") for found in barriers(name) if found[0] in LOOPS]


@pytest.mark.parametrize(("name", "link", "number"), BARRIERS)
def test_without_a_barrier_it_fails(name: str, link: str, number: int) -> None:
    made = mutant(name, number)
    assert any(fails(name, made, sizes) for sizes in (SIZES, LARGER))


def fails(name: str, module: ModuleType, sizes: Mapping[str, int]) -> bool:
    try:
        return compared(name, Device(), problem(name, sizes=sizes), module) > TOLERANCE["float64"]
    except (Race, Deadlock):
        return True


# How matrices are divided among threads


@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (5, 3), (1, 200), (200, 1), (96, 40)], ids=str)
def test_every_element_has_a_thread_and_lanes_ask_several_banks(shape: Shape) -> None:
    rows, columns = shape
    tiling = for_loop(columns, [shape], [shape], 4, H200.shared)
    assert tiling is not None and tiling.threads % WARP == 0 and WARP % tiling.across == 0
    ((first, pitch),) = tiling.tiles
    slots = tiling.threads // tiling.across
    owners: dict[int, tuple[int, int]] = {}
    for thread in range(tiling.threads):
        within, slot = thread % tiling.across, thread // tiling.across
        for i in range(slot, rows, slots):
            for j in range(within, columns, tiling.across):
                assert j // tiling.across < tiling.columns[0]
                assert owners.setdefault(first + i * pitch + j, (i, j)) == (i, j)
    assert set(owners.values()) == {(i, j) for i in range(rows) for j in range(columns)}
    assert max(owners) * 4 < tiling.shared
    at_once = [(lane // tiling.across) * pitch + lane % tiling.across for lane in range(WARP)]
    assert len({place % 32 for place in at_once}) == WARP  # of a warp's threads, each has a bank


@pytest.mark.parametrize("columns", [64, 96, 128, 200, 256, 512])
def test_the_lanes_of_a_slot_read_whole_sectors(columns: int) -> None:
    """Numbers of 16 bits, one after the other: the device's memory is read 32 bytes at a time."""
    tiling = for_stage(256, [(64, columns)], 4)
    assert tiling is not None and tiling.across * 2 >= 32


def test_what_a_block_has_room_for() -> None:
    assert for_loop(512, [(512, 512)], [(512, 512)], 4, H200.shared) is None
    assert for_loop(16, [], [], 4, H200.shared) == Tiling(WARP, 4, ())
    assert for_stage(64, [], 4) is None
    large = for_loop(128, [(128, 128)], [(128, 128), (128, 128)], 4, H200.shared)
    assert large is not None and large.threads == 256 and large.tiles[1][0] * 4 == large.shared // 2


# Second order: modules of the package have none of it for these cells


@pytest.mark.parametrize("name", ordinary([name for name in MATRICES if name != "ltc"], ("plasticity",)))
def test_second_order(name: str) -> None:
    cell = REGISTRY[name]
    given = sample(cell, sizes={size: SIZES.get(size, 4) for size in cell.sizes}, steps=3, batch=2)
    u = directions(given, 7)
    files = contents.files([cell], "a test", orders={name: 2})
    cpu = plain(files, name)
    made, wanted = simulated.module(files, cell, cpu), second.kernels(cpu, given, u).named()
    least = max(magnitude(value) for value in wanted.values()) * 1e-3
    for members in (0, 1):  # step by step, and by one kernel
        with simulated.on_members(members):
            found = second.kernels(made, given, u).named()
        for key, want in wanted.items():
            assert magnitude(found[key] - want) <= 1e-11 * max(magnitude(want), least), (key, members)
