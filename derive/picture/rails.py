"""Rails: states that run through elementwise nodes only are straight lines at the top or the bottom."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations

from .graph import Graph
from .lanes import Lanes


@dataclass(frozen=True)
class Rails:
    """Paths of items, from a state's old value to its new one: those at the top from above, those at the bottom from above."""

    top: tuple[tuple[int, ...], ...] = ()
    bottom: tuple[tuple[int, ...], ...] = ()


def rails(graph: Graph) -> tuple[tuple[int, ...], ...]:
    """Return the nodes of each rail in the order of the states; no node is on two."""
    taken: set[int] = set()
    found = []
    for start, node in enumerate(graph.nodes):
        if node.kind == "state" and (path := _path(graph, start, node.name.removesuffix("_prev"), taken)):
            taken |= {*path}
            found.append(path)
    return tuple(found)


def _path(graph: Graph, start: int, state: str, taken: set[int]) -> tuple[int, ...]:
    """Return the shortest path to the state's new value through elementwise nodes, if there is one."""
    queue, before = deque([start]), {start: -1}
    while queue:
        here = queue.popleft()
        if graph.nodes[here].kind == "next" and graph.nodes[here].name == state:
            return _traced(before, here)
        for value in graph.nodes[here].outputs:
            for reader, _ in graph.readers[value]:
                node = graph.nodes[reader]
                goal = node.kind == "next" and node.name == state
                if reader not in before and reader not in taken and (node.pointwise or goal):
                    before[reader] = here
                    queue.append(reader)
    return ()


def _traced(before: dict[int, int], here: int) -> tuple[int, ...]:
    path = []
    while here >= 0:
        path.append(here)
        here = before[here]
    return tuple(reversed(path))


def arrangements(lanes: Lanes) -> Iterator[Rails]:
    """Yield where rails may lie: all at the top first, in every order while they are few."""
    paths = [_items(lanes, path) for path in rails(lanes.graph)]
    orders = list(permutations(paths)) if len(paths) <= 3 else [tuple(paths), tuple(reversed(paths))]
    for at_top in range(len(paths), 0 if paths else -1, -1):
        for order in orders:
            yield Rails(tuple(order[:at_top]), tuple(order[at_top:]))


def _items(lanes: Lanes, path: tuple[int, ...]) -> tuple[int, ...]:
    """Return the items of a path: its nodes and where its wires pass columns between them."""
    items = [path[0]]
    nodes = len(lanes.graph.nodes)
    for here, there in pairwise(path):
        value = next(v for v in lanes.graph.nodes[here].outputs if any(r == there for r, _ in lanes.graph.readers[v]))
        between = range(lanes.column[here] + 1, lanes.column[there])
        items += [nodes + lanes.passing.index((value, c)) for c in between] + [there]
    return tuple(items)
