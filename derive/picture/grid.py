"""The drawing grid: which points bodies and labels keep free, and which wires run through the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .buffers import Array, compiled, marks, numbers
from .node_shape import CELL, Shape
from .place import Placement

FREE, STRAIGHT = -1, -2  # STRAIGHT: wires may only pass horizontally, so that the port behind stays open
Point = tuple[int, int]


@dataclass
class Grid:
    """Points by number, row after row; the points at the border are blocked, so that nothing leaves the grid.

    `across` and `along` hold the value whose wire runs horizontally, and vertically, through a point: two wires may cross, but where one
    bends, branches or ends it has both directions.
    """

    placement: Placement
    width: int = field(init=False)
    blocked: Array = field(init=False)
    across: Array = field(init=False)
    along: Array = field(init=False)

    def __post_init__(self) -> None:
        """Block the border and what nodes and labels need."""
        placement = self.placement
        self.width, height = placement.width, placement.height
        size = self.width * height
        self.blocked = marks(size)
        self.across, self.along = numbers(size, FREE), numbers(size, FREE)
        last, lowest = self.width - 1, height - 1
        for border in ((0, last, 0, 0), (0, last, lowest, lowest), (0, 0, 0, lowest), (last, last, 0, lowest)):
            self._fill(*border)
        for (x, y), shape in zip(placement.centres, placement.shapes, strict=True):
            self._block(x, y, shape)

    def _block(self, x: int, y: int, shape: Shape) -> None:
        reach = int((shape.half_width + 9) / CELL)
        self._fill(x - reach, x + reach, y - shape.rows, y + shape.rows)
        for outlet in shape.outlets:
            if outlet.label:
                left, top, right, bottom = outlet.label
                self._fill(x + int(left / CELL), x + int((right + 2) / CELL), y + int((top - 1) // CELL) + 1, y + int(bottom // CELL))
        for outlet in shape.outlets:
            for u in range(x + outlet.start + 1, x + outlet.end + 1):
                self.blocked[self.index((u, y + outlet.dy))] = False
        if shape.narrow:
            for port in shape.ports:
                self.along[self.index((x + port.dx - 1, y + port.dy))] = STRAIGHT

    def _fill(self, left: int, right: int, top: int, bottom: int) -> None:
        _fill(self.blocked, self.width, left, right, top, bottom)

    def index(self, point: Point) -> int:
        return point[1] * self.width + point[0]

    def indices(self, path: Sequence[Point]) -> list[int]:
        width = self.width
        return [y * width + x for x, y in path]

    def points(self, indices: Sequence[int]) -> tuple[Point, ...]:
        width = self.width
        return tuple([(index % width, index // width) for index in indices])

    def occupy(self, value: int, path: tuple[Point, ...], *, start: bool = False) -> None:
        """Mark the points of a path in the directions in which it runs through them, its end (and its `start`) in both."""
        points = self.indices(path)
        for before, here in pairwise(points):
            used = self.across if abs(before - here) == 1 else self.along
            used[before] = used[here] = value
        for end in (points[-1], *points[:start]):
            self.across[end] = self.along[end] = value

    def release(self, value: int, path: tuple[Point, ...]) -> None:
        """Free the points of a path."""
        for p in self.indices(path):
            self.across[p] = FREE if self.across[p] == value else self.across[p]
            self.along[p] = FREE if self.along[p] == value else self.along[p]

    def fits(self, value: int, path: tuple[Point, ...]) -> bool:
        """Say whether a path that lay on another grid can lie here: no body, label or other wire is in its way."""
        height = len(self.blocked) // self.width
        if not all(0 < x < self.width - 1 and 0 < y < height - 1 for x, y in path):
            return False
        points = self.indices(path)
        level = {q for a, b in pairwise(points) if abs(a - b) == 1 for q in (a, b)} | {points[0], points[-1]}
        upright = {q for a, b in pairwise(points) if abs(a - b) != 1 for q in (a, b)} | {points[0], points[-1]}
        return (
            not any(self.blocked[q] for q in points[:-1])
            and all(self.across[q] in (FREE, value) for q in level)
            and all(self.along[q] in (FREE, value) for q in upright)
        )

    def own(self, index: int, value: int) -> bool:
        """Say whether a wire may branch at one of its points: not where another crosses it."""
        return self.across[index] in (FREE, value) and self.along[index] in (FREE, value)


@compiled
def _fill(blocked: Array, width: int, left: int, right: int, top: int, bottom: int) -> None:
    """Block the points of some columns and rows."""
    for row in range(top, bottom + 1):
        for x in range(left, right + 1):
            blocked[row * width + x] = True
