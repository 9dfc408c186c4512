"""Which kernel runs a time loop on a device, and in what shape: pure arithmetic, from a cell's table, sizes and the device's limits.

A *group* of blocks runs some of the sequences through all steps.  Each of its *members* has a share of every row's features, and of the
weights that make them; between two products members meet, which costs more than a microsecond.  One member needs no meeting but must have
room for all weights.  Where nothing fits, steps are run one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, gcd

from ..common.sizes import evaluate, terms
from .kind import BYTES, Kind
from .limits import H200, Limits
from .plan import DEPTH, LANES, WARP, Part, Plan, Product, Steps

Tile = tuple[int, int, int, int, int]  # offset, pitch, width, and where it begins in the rows of its array, and their length
THREADS = 256  # of a block
TEAM = 256  # bytes of shared memory that sums over a row's threads may take beside
OTHERS = 84  # registers of a thread that hold neither weights nor sums, about
FEWEST = 4  # features of a member
MOST = 255  # registers of a thread
AHEAD = 32  # registers of a thread for what is brought ahead of a step

# Microseconds, for the order of plans only: estimates, until a device has shown others.
MEETING, BARRIER = 1.1, 0.04  # of members, and of a block's threads
FETCH, READ = 2e-5, 1e-5  # for a byte of an operand from the device's memory, and of weights from a block's own
RATE = {"fma": 4.5e4, "bf16": 6e5, "f16": 6e5, "tf32": 3e5}  # products that a processor adds up in one
EACH = 0.02  # for a thread's work on one of the numbers that a block keeps of a row


class Layout:
    """Hands out shared memory, in numbers of the dtype that is computed with, aligned to 16 bytes."""

    def __init__(self, size: int) -> None:
        self.size, self.unit, self.end = size, 16 // size, 0

    def take(self, count: int) -> int:
        at = self.end
        self.end += ceil(count / self.unit) * self.unit
        return at


def best(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind, limits: Limits) -> Plan | None:
    """Return the plan of the least estimated time, or None where steps are to be run one by one."""
    return min(plans(steps, sizes, batch, kind, limits), key=lambda plan: (plan.cost, plan.blocks), default=None)


def plans(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind, limits: Limits) -> Iterator[Plan]:
    """Yield every plan that fits the device."""
    return (found for found in candidates(steps, sizes, batch, kind, limits) if not refused(found, limits))


def candidates(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind, limits: Limits) -> Iterator[Plan]:
    """Yield plans of all shapes, whether they fit the device or not."""
    for members in shares(steps, sizes, limits):
        for rows, turned in _rows(kind):
            found = plan(steps, sizes, batch, kind, members, rows, turned, processors=limits.processors)
            if found is not None:
                yield found


def shares(steps: Steps, sizes: Mapping[str, int], limits: Limits) -> list[int]:
    """Return into how many members a group may be divided: what divides all sizes, with some features for each."""
    if not steps.spread:
        return [1]
    common = gcd(*(sizes[name] for name in steps.divided)) if steps.divided else 1
    return [m for m in range(1, min(common // FEWEST, limits.processors) + 1) if common % m == 0] or [1]


def _rows(kind: Kind) -> list[tuple[int, bool]]:
    """Return how many rows a group may have, and whether weights are the second factor."""
    if kind.product == "fma":
        return [(rows, False) for rows in (1, 2, 4, 8, 16, 32)]
    return [(8, False), *((rows, turned) for rows in (16, 32, 64) for turned in (False, True))]


def refused(plan: Plan, limits: Limits) -> str:
    """Return why a plan does not fit a device; empty if it does."""
    if plan.blocks > limits.processors and plan.members > 1:
        return f"{plan.blocks} blocks that meet exceed {limits.processors} processors"
    if plan.shared + TEAM > limits.shared:
        return f"{plan.shared} bytes of shared memory exceed {limits.shared}"
    room = min(limits.registers // plan.threads, MOST)
    if plan.registers + OTHERS > room:
        return f"{plan.registers} registers of weights and sums, and {OTHERS} others, exceed {room}"
    return ""


def plan(
    steps: Steps,
    sizes: Mapping[str, int],
    batch: int,
    kind: Kind,
    members: int,
    rows: int,
    turned: bool = False,
    threads: int = THREADS,
    processors: int = H200.processors,
) -> Plan | None:
    """Return the plan of so many members and rows; None if operands cannot be copied in lines of 16 bytes."""
    texts = (text for tile in steps.tiles.values() for text in tile)
    if any(evaluate(text, dict(sizes)) * BYTES[kind.stored] % 16 for text in texts):
        return None
    here = {name: size // members if name in steps.divided else size for name, size in sizes.items()}
    return _Draft(steps, dict(sizes), here, kind, members, rows, turned, max(threads // rows, 1)).plan(batch, processors)


@dataclass
class _Draft:
    """A plan in the making."""

    steps: Steps
    sizes: dict[str, int]
    here: dict[str, int]
    kind: Kind
    members: int
    rows: int
    turned: bool
    lanes: int

    def plan(self, batch: int, processors: int) -> Plan:
        kind, rows, layout = self.kind, self.rows, Layout(BYTES[self.kind.real])
        at = {name: layout.take(evaluate(text, self.here)) for name, text in self.steps.statics.items()}
        for name, (text, copies) in self.steps.own.items():
            at[name] = layout.take(rows * copies * (self.lanes if text == LANES else evaluate(text, self.here)))
        at |= {name: layout.take(rows * evaluate(text, self.here)) for name, text in self.steps.near.items()}
        tiles = {name: self.tile(*texts, layout) for name, texts in self.steps.tiles.items()}
        parts = {name: self.part(product, tiles[product.tile], layout) for name, product in self.steps.products.items()}
        groups = ceil(batch / rows)
        cost = self.cost(tiles, parts) * ceil(groups * self.members / processors)
        held = sum(part.words(kind) for part in parts.values() if kind.product != "fma")
        registers = held + max((self.sums(part) for part in parts.values()), default=0)
        ahead = self.ahead(MOST - OTHERS - registers)
        registers += sum(ahead[text] for text in self.steps.near.values()) * BYTES[kind.real] // 4
        return Plan(
            kind.name,
            rows,
            self.lanes,
            self.members,
            sizes_=tuple(self.sizes.items()),
            here_=tuple(self.here.items()),
            at_=tuple(at.items()),
            parts_=tuple(parts.items()),
            tiles_=tuple(tiles.items()),
            ahead_=tuple(ahead.items()),
            shared=layout.end * layout.size,
            registers=registers,
            groups=groups,
            cost=cost,
        )

    def tile(self, size: str, start: str, whole: str, layout: Layout) -> Tile:
        """Place an operand; its rows are of a length that lets threads read from different banks."""
        width, first, line = (evaluate(text, self.sizes) for text in (size, start, whole))
        pitch = width
        if self.kind.product != "fma":
            depth = DEPTH[self.kind.product]
            pitch = ceil(width / depth) * depth * BYTES[self.kind.stored] // 4 + 4
        return layout.take(self.rows * pitch), pitch, width, first, line

    def part(self, product: Product, tile: Tile, layout: Layout) -> Part:
        """Divide a product among threads, or warps, and place its results, and its weights if they lie in shared memory."""
        by_threads, threads = self.kind.product == "fma", self.rows * self.lanes
        columns, width = evaluate(product.columns, self.here), evaluate(product.width, self.sizes)
        name = [name for names, _ in terms(product.columns)[0] for name in names]
        unit, stride = (self.here[name[0]], self.sizes[name[0]]) if self.members > 1 else (columns, columns)
        abreast = 8 if self.turned else 16
        workers, jobs = (threads, columns) if by_threads else (threads // WARP, ceil(columns / abreast))
        across, stretch = min(jobs, workers), ceil(width / DEPTH.get(self.kind.product, 1))
        slices = min(workers // across, stretch)
        pitch = columns if by_threads else jobs * abreast + 4
        return Part(
            columns,
            unit,
            stride,
            width,
            across,
            each=ceil(jobs / across),
            slices=slices,
            span=ceil(stretch / slices),
            turned=self.turned,
            tile=tile[0],
            pitch=tile[1],
            partial=layout.take(slices * self.rows * pitch),
            partial_pitch=pitch,
            weights=layout.take(width * columns) if by_threads else 0,
        )

    def ahead(self, room: int) -> dict[str, int]:
        """Return, by size, how many numbers of each array a thread brings ahead of a step: all that it needs, or none for want of room."""
        each = {text: ceil(evaluate(text, self.here) / self.lanes) for text in self.steps.near.values()}
        words = sum(each[text] for text in self.steps.near.values()) * BYTES[self.kind.real] // 4
        return each if words <= min(AHEAD, room) else dict.fromkeys(each, 0)

    def sums(self, part: Part) -> int:
        """Return the registers of a thread that hold sums while a product is formed."""
        return self.rows if self.kind.product == "fma" else part.each * (self.rows // part.tile_rows) * 4

    def cost(self, tiles: Mapping[str, Tile], parts: Mapping[str, Part]) -> float:
        """Return the estimated time of a step, in microseconds, where every block has a processor."""
        kind, alone = self.kind, self.members == 1
        time = self.steps.meetings * (BARRIER if alone else MEETING) + 3 * BARRIER * len(parts)
        if not alone:
            time += sum(self.rows * tile[2] for tile in tiles.values()) * BYTES[kind.stored] * FETCH
        for part in parts.values():
            abreast = 1 if kind.product == "fma" else part.tile_columns
            products = ceil(part.columns / abreast) * abreast * part.width
            time += products * self.rows / RATE[kind.product]
            time += products * BYTES[kind.real] * READ if kind.product == "fma" else 0.0
        kept = [*(text for text, _ in self.steps.own.values() if text != LANES), *self.steps.near.values()]
        features = sum(evaluate(text, self.here) for text in kept)
        return time + EACH * ceil(features / self.lanes)
