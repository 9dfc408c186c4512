"""Which kernel runs a time loop on a device, and in what shape: pure arithmetic, from a cell's table, sizes and the device's limits.

A *group* of blocks runs some of the sequences through all steps.  Each of its *members* has a share of every row's features, and of the
weights that make them; between two products members meet, which costs more than a microsecond.  One member needs no meeting but must have
room for all weights.  Where nothing fits, steps are run one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, gcd
from typing import TypeVar

from ..table import evaluate, linear
from .kind import BYTES, Kind
from .limits import Limits

Value = TypeVar("Value")
WARP, THREADS = 32, 256
DEPTH = {"bf16": 16, "f16": 16, "tf32": 8}  # what one instruction of the tensor cores sums over
LANES = "lanes"  # the size of what every thread of a row keeps
OTHERS = 72
LINE = 32  # words of memory between the counters of two groups: a line of the cache each

# Times in microseconds, for the order of plans only: estimates, until a device has shown others.
MEETING, BARRIER = 1.1, 0.04
NEAR, FAR = 0.10, 0.04  # gigabytes a millisecond and processor: shared memory, and other members' results
RATE = {"fma": 0.45, "bf16": 6.0, "f16": 6.0, "tf32": 3.0}  # millions of products summed, a microsecond and processor
EACH = 0.02  # for the elementwise work of a thread on one feature


@dataclass(frozen=True)
class Product:
    """A product of the loop: how many columns it makes, what it sums over, and the tile of its operand."""

    columns: str
    width: str
    tile: str


@dataclass(frozen=True)
class Steps:
    """What a plan must know of a time loop.

    Attributes
    ----------
    spread : bool
        Whether a row's features may be divided among blocks.
    meetings : int
        How often members meet in a step.
    products : mapping
    tiles : mapping
        Of each operand: its size, where it starts in the rows of its array, and their size.
    statics : mapping
        Size of each static vector.
    own : mapping
        Of what a block keeps of each row: size and number of copies.
    """

    spread: bool
    meetings: int
    products: Mapping[str, Product] = field(hash=False)
    tiles: Mapping[str, tuple[str, str, str]] = field(hash=False)
    statics: Mapping[str, str] = field(hash=False)
    own: Mapping[str, tuple[str, int]] = field(hash=False)

    def divided(self) -> set[str]:
        """Return the names of the sizes that members divide among them."""
        return {
            name for text in (*(p.columns for p in self.products.values()), *(s for s, _ in self.own.values())) for name in _names(text)
        }


@dataclass(frozen=True)
class Part:
    """A block's part of a product.

    Column c of a member is column ``c // unit * stride + member * unit + c % unit`` of the matrix.

    Attributes
    ----------
    columns, unit, stride, width : int
    across, each, slices, span : int
        Columns (of FMA) or tiles of columns side by side among threads or warps; how many each of them has; into how many slices the sum
        is divided; how far each slice goes, in steps of the instruction.
    tile, pitch, partial, partial_pitch, weights : int
        Where operand, results and weights lie in shared memory, in numbers of the dtype that is computed with, and the length of a row.
    """

    columns: int
    unit: int
    stride: int
    width: int
    across: int
    each: int
    slices: int
    span: int
    turned: bool = False
    tile: int = 0
    pitch: int = 0
    partial: int = 0
    partial_pitch: int = 0
    weights: int = 0

    def words(self, kind: Kind) -> int:
        """Return the registers of a thread that hold weights; 1 at least, since there is no empty array."""
        return 1 if kind.product == "fma" else self.each * self.span * self.registers

    @property
    def registers(self) -> int:
        """Registers of a fragment of the weights."""
        return 2 if self.turned else 4

    @property
    def tile_columns(self) -> int:
        return 8 if self.turned else 16

    @property
    def tile_rows(self) -> int:
        return 16 if self.turned else 8


@dataclass(frozen=True)
class Plan:
    """The shape of a kernel that runs all steps.

    Attributes
    ----------
    kind : str
    rows, lanes : int
        Sequences of a group, and threads for each.
    members, groups : int
    sizes_, here_, at_, parts_, tiles_ : tuples of pairs
        Sizes, a member's share of them, offsets in shared memory, parts of products; of tiles offset, pitch, width, start, and the
        width of the array's rows.
    shared, registers : int
        Bytes of shared memory, and registers a thread that hold weights and sums.
    cost : float
        Estimated microseconds a step.
    """

    kind: str
    rows: int
    lanes: int
    members: int
    sizes_: tuple[tuple[str, int], ...]
    here_: tuple[tuple[str, int], ...]
    at_: tuple[tuple[str, int], ...]
    parts_: tuple[tuple[str, Part], ...]
    tiles_: tuple[tuple[str, tuple[int, int, int, int, int]], ...]
    shared: int
    registers: int
    groups: int = field(compare=False)
    cost: float = field(compare=False)

    @property
    def sizes(self) -> dict[str, int]:
        return dict(self.sizes_)

    @property
    def here(self) -> dict[str, int]:
        return dict(self.here_)

    @property
    def at(self) -> dict[str, int]:
        return dict(self.at_)

    @property
    def parts(self) -> dict[str, Part]:
        return dict(self.parts_)

    @property
    def tiles(self) -> dict[str, tuple[int, int, int, int, int]]:
        return dict(self.tiles_)

    @property
    def threads(self) -> int:
        return self.rows * self.lanes

    @property
    def blocks(self) -> int:
        return self.groups * self.members


class Layout:
    """Hands out shared memory, in numbers of the dtype that is computed with, aligned to 16 bytes."""

    def __init__(self, size: int) -> None:
        self.unit, self.end = 16 // size, 0

    def take(self, count: int) -> int:
        at = self.end
        self.end += ceil(count / self.unit) * self.unit
        return at


def best(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind, limits: Limits) -> Plan | None:
    """Return the plan of the least estimated time, or None where steps are to be run one by one."""
    return min(plans(steps, sizes, batch, kind, limits), key=lambda plan: (plan.cost, plan.blocks), default=None)


def plans(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind, limits: Limits) -> Iterator[Plan]:
    """Yield every plan that fits the device."""
    for members in shares(steps, sizes, limits):
        for rows, turned in _rows(kind):
            found = plan(steps, sizes, batch, kind, members, rows, turned)
            if found is not None and not refused(found, limits):
                yield found


def shares(steps: Steps, sizes: Mapping[str, int], limits: Limits) -> list[int]:
    """Return into how many members a group may be divided: what divides all sizes, with some features for each."""
    if not steps.spread:
        return [1]
    common = gcd(*(sizes[name] for name in steps.divided())) if steps.divided() else 1
    return [m for m in range(1, min(common // 4, limits.processors) + 1) if common % m == 0] or [1]


def _rows(kind: Kind) -> list[tuple[int, bool]]:
    """Return how many rows a group may have, and whether weights are the second factor."""
    if kind.product == "fma":
        return [(rows, False) for rows in (1, 2, 4, 8, 16, 32)]
    return [(8, False), *((rows, turned) for rows in (16, 32, 64) for turned in (False, True))]


def refused(plan: Plan, limits: Limits) -> str:
    """Return why a plan does not fit a device; empty if it does."""
    if plan.blocks > limits.processors and plan.members > 1:
        return f"{plan.blocks} blocks that meet exceed {limits.processors} processors"
    if plan.shared > limits.shared:
        return f"{plan.shared} bytes of shared memory exceed {limits.shared}"
    room = min(limits.registers // plan.threads, 255)
    if plan.registers + OTHERS > room:
        return f"{plan.registers} registers of weights and sums, and {OTHERS} others, exceed {room}"
    return ""


@lru_cache(maxsize=4096)
def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name, _ in linear(text)[0])


def plan(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind, members: int, rows: int, turned: bool = False) -> Plan | None:
    """Return the plan of so many members and rows; None if operands cannot be copied in lines of 16 bytes."""
    lanes = max(THREADS // rows, 1)
    here = {name: size // members if members > 1 and name in steps.divided() else size for name, size in sizes.items()}
    real, stored = BYTES[kind.real], BYTES[kind.stored]
    for size, start, width in steps.tiles.values():
        if any(evaluate(text, dict(sizes)) * stored % 16 for text in (size, start, width)):
            return None
    layout = Layout(real)
    at = {name: layout.take(evaluate(text, here)) for name, text in steps.statics.items()}
    for name, (text, copies) in steps.own.items():
        at[name] = layout.take(rows * copies * (lanes if text == LANES else evaluate(text, here)))
    tiles = {}
    for name, (size, start, width) in steps.tiles.items():
        k, first, whole = (evaluate(text, dict(sizes)) for text in (size, start, width))
        pitch = _pitch(k, kind)
        tiles[name] = (layout.take(rows * pitch), pitch, k, first, whole)
    parts = {name: _part(p, sizes, here, members, rows, rows * lanes, kind, turned, tiles, layout) for name, p in steps.products.items()}
    sums = max((_sums(part, rows, kind) for part in parts.values()), default=0)
    registers = sum(part.words(kind) for part in parts.values() if kind.product != "fma") + sums
    groups = ceil(batch / rows)
    return Plan(
        kind.name, rows, lanes, members, _pairs(sizes), _pairs(here), _pairs(at), _pairs(parts), _pairs(tiles),
        layout.end * real, registers, groups, _cost(steps, parts, tiles, here, rows, rows * lanes, members, groups, kind),
    )  # fmt: skip


def _pairs(mapping: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(mapping.items())


def _pitch(width: int, kind: Kind) -> int:
    """Return the length of a tile's row, in numbers computed with, so that threads read from different banks."""
    if kind.product == "fma":
        return width
    depth = DEPTH[kind.product]
    return ceil(width / depth) * depth * BYTES[kind.stored] // 4 + 4


def _part(
    product: Product,
    sizes: Mapping[str, int],
    here: Mapping[str, int],
    members: int,
    rows: int,
    threads: int,
    kind: Kind,
    turned: bool,
    tiles: Mapping[str, tuple[int, int, int, int, int]],
    layout: Layout,
) -> Part:
    columns, width = evaluate(product.columns, dict(here)), evaluate(product.width, dict(sizes))
    name = _names(product.columns)
    unit, stride = (here[name[0]], sizes[name[0]]) if members > 1 else (columns, columns)
    depth = DEPTH.get(kind.product, 1)
    tile = 8 if turned else 16
    workers, jobs = (threads, columns) if kind.product == "fma" else (threads // WARP, ceil(columns / tile))
    across = min(jobs, workers)
    slices = min(max(workers // across, 1), ceil(width / depth))
    pitch = columns if kind.product == "fma" else jobs * tile + 4
    return Part(
        columns, unit, stride, width, across, ceil(jobs / across), slices, ceil(ceil(width / depth) / slices),
        turned, tiles[product.tile][0], tiles[product.tile][1], layout.take(slices * rows * pitch), pitch,
        layout.take(width * columns) if kind.product == "fma" else 0,
    )  # fmt: skip


def _sums(part: Part, rows: int, kind: Kind) -> int:
    """Return the registers of a thread that hold sums while a product is formed."""
    return rows if kind.product == "fma" else part.each * (rows // part.tile_rows) * 4


def _cost(
    steps: Steps,
    parts: Mapping[str, Part],
    tiles: Mapping[str, tuple[int, int, int, int, int]],
    here: Mapping[str, int],
    rows: int,
    threads: int,
    members: int,
    groups: int,
    kind: Kind,
) -> float:
    """Return the estimated time of a step, in microseconds, all groups together."""
    words = sum(rows * width for _, _, width, _, _ in tiles.values()) * BYTES[kind.stored]
    time = steps.meetings * (MEETING if members > 1 else BARRIER) + 3 * BARRIER * len(parts)
    time += words / 1e3 * (FAR if members > 1 else 0.0) * 1.0
    for part in parts.values():
        padded = ceil(part.columns / part.tile_columns) * part.tile_columns if kind.product != "fma" else part.columns
        time += padded * part.width * rows / 1e6 / RATE[kind.product]
        if kind.product == "fma":
            time += padded * part.width * BYTES[kind.real] / 1e6 / NEAR
    features = sum(evaluate(text, dict(here)) for text, _ in steps.own.values() if text != LANES)
    time += EACH * ceil(features * rows / threads)
    return time * ceil(groups * members / 132)
