"""Items in columns: nodes, and places kept free for wires that pass a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .graph import Graph
from .node_shape import Shape


@dataclass(frozen=True)
class Link:
    """A stretch of a wire between neighbouring columns; ends are items, with the row of the port relative to the item's."""

    left: int
    right: int
    value: int
    left_row: int
    right_row: int


@dataclass(frozen=True)
class Lanes:
    """The items: number k is node k, or behind the nodes a wire that passes (`passing`: value and column)."""

    graph: Graph
    shapes: tuple[Shape, ...]
    column: tuple[int, ...]
    passing: tuple[tuple[int, int], ...]
    links: tuple[Link, ...]

    @cached_property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """The items of each column in the order in which they came to be."""
        last = max(self.column)
        found: list[list[int]] = [[] for _ in range(last + 1)]
        for item in range(len(self)):
            found[self.column_of(item)].append(item)
        return tuple(map(tuple, found))

    @cached_property
    def widths(self) -> tuple[tuple[int, int], ...]:
        """How far the nodes of each column reach to the left and to the right of its middle."""
        shapes = [[self.shapes[item] for item in column if self.is_node(item)] for column in self.columns]
        return tuple((max([s.left for s in column], default=0), max([s.right for s in column], default=0)) for column in shapes)

    @cached_property
    def channels(self) -> tuple[tuple[Link, ...], ...]:
        """The links to the right of each column."""
        found: list[list[Link]] = [[] for _ in self.columns]
        for link in self.links:
            found[self.column_of(link.left)].append(link)
        return tuple(map(tuple, found))

    @cached_property
    def beside(self) -> tuple[tuple[tuple[int, int, bool], ...], ...]:
        """For each item what it is linked to: the other, by how many rows it stands lower when the wire is straight, and whether left."""
        found: list[list[tuple[int, int, bool]]] = [[] for _ in range(len(self))]
        for link in self.links:
            lower = link.left_row - link.right_row
            found[link.left].append((link.right, lower, False))
            found[link.right].append((link.left, -lower, True))
        return tuple(map(tuple, found))

    @cached_property
    def ends(self) -> tuple[tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]], ...]:
        """For each item the far ends of its links to the left, and of those to the right: the item, the row of the port, the value."""
        found: list[tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]] = [([], []) for _ in range(len(self))]
        for link in self.links:
            found[link.left][1].append((link.right, link.right_row, link.value))
            found[link.right][0].append((link.left, link.left_row, link.value))
        return tuple(found)

    @cached_property
    def straight(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each node the nodes it is wired to, and by how many rows they stand lower when the wire is straight."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.shapes]
        for maker, reader, value in self.graph.edges():
            row = self.shapes[maker].outlets[self.graph.values[value].port].dy
            found[maker].append((reader, row))
            found[reader].append((maker, -row))
        return tuple(map(tuple, found))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.graph.nodes) + len(self.passing)

    def column_of(self, item: int) -> int:
        nodes = len(self.graph.nodes)
        return self.column[item] if item < nodes else self.passing[item - nodes][1]

    def is_node(self, item: int) -> bool:
        return item < len(self.graph.nodes)

    def up(self, item: int) -> int:
        return self.shapes[item].up if self.is_node(item) else 0

    def down(self, item: int) -> int:
        return self.shapes[item].rows if self.is_node(item) else 0

    def apart(self, above: int, below: int) -> int:
        """Return how many rows one item stands below another at least: between two nodes a wire can pass."""
        both = self.is_node(above) and self.is_node(below)
        return self._reach[above][1] + self._reach[below][0] + 1 + both

    @cached_property
    def _reach(self) -> tuple[tuple[int, int], ...]:
        """For each item how many rows it takes above and below, with those of the signs beside its ports."""
        marks = [int(any(i.mark for i in node.inputs)) for node in self.graph.nodes] + [0] * len(self.passing)
        return tuple((self.up(item) + mark, self.down(item) + mark) for item, mark in enumerate(marks))


def lanes(graph: Graph, shapes: Sequence[Shape], column: Sequence[int]) -> Lanes:
    """Return the items of a graph whose nodes have columns."""
    passing: list[tuple[int, int]] = []
    links: list[Link] = []
    for number, value in enumerate(graph.values):
        readers = graph.readers[number]
        last = max([column[r] for r, _ in readers], default=0)
        here, row = value.node, shapes[value.node].outlets[value.port].dy
        for c in range(column[value.node] + 1, last + 1):
            for reader, k in readers:
                if column[reader] == c:
                    links.append(Link(here, reader, number, row, _entry(shapes[reader], k)))
            if c < last:
                passing.append((number, c))
                item = len(graph.nodes) + len(passing) - 1
                links.append(Link(here, item, number, row, 0))
                here, row = item, 0
    return Lanes(graph, tuple(shapes), tuple(column), tuple(passing), tuple(links))


def _entry(shape: Shape, k: int) -> int:
    return shape.ports[k].dy if shape.ordered and k < len(shape.ports) else 0
