"""Rewritings of the drawing graph that textbooks make: trunks for what feeds the same boxes, two inputs for a node on a rail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

from .graph import BOXES, CIRCLES, SOURCES, Graph, Input, Node, Value
from .rails import rails


def bundled(graph: Graph) -> Graph:
    """Return the graph with a join before the boxes that read the same two or more sources, wherever that are two boxes or more."""
    taken: set[int] = set()
    while (best := _best(graph, taken)) is not None:
        boxes = _boxes_of(graph, best, taken)
        place = 1 + max(graph.values[v].node for v in best)
        join = Node("join", (), tuple(map(Input, best)), (len(graph.values),), "", "", name="bundle")
        for k in boxes:
            rest = tuple(i for i in graph.nodes[k].inputs if i.value not in best)
            graph = _reading(graph, k, (Input(len(graph.values)), *rest))
        graph = _inserted(graph, place, join)
        taken = {k + (k >= place) for k in (*taken, *boxes)}
    return graph


def grouped(graph: Graph) -> Graph:
    """Return the graph with what meets a state on its rail put together before it, so that the rail has one thing to meet at a time."""
    while (found := _crowded(graph)) is not None:
        k, rail = found
        node = graph.nodes[k]
        rest = tuple(i for i in node.inputs if i.value != rail)
        graph = _reading(graph, k, (Input(rail), Input(len(graph.values))))
        graph = _inserted(graph, k, replace(node, inputs=rest, outputs=(len(graph.values),)))
    return graph


def _reading(graph: Graph, k: int, inputs: tuple[Input, ...]) -> Graph:
    """Return the graph with other inputs for node `k`."""
    return Graph((*graph.nodes[:k], replace(graph.nodes[k], inputs=inputs), *graph.nodes[k + 1 :]), graph.values)


def _inserted(graph: Graph, place: int, node: Node) -> Graph:
    """Return the graph with one node more, which makes the next value."""
    values = [replace(v, node=v.node + (v.node >= place)) for v in graph.values]
    return Graph((*graph.nodes[:place], node, *graph.nodes[place:]), (*values, Value(place, 0)))


# Bundles


def _sources(graph: Graph, node: int) -> tuple[int, ...]:
    """Return the values from outside that a box reads."""
    values = dict.fromkeys(i.value for i in graph.nodes[node].inputs)
    return tuple(sorted(v for v in values if graph.nodes[graph.values[v].node].kind in SOURCES))


def _boxes(graph: Graph, taken: set[int]) -> list[int]:
    return [k for k, node in enumerate(graph.nodes) if node.kind in BOXES and k not in taken]


def _boxes_of(graph: Graph, group: tuple[int, ...], taken: set[int]) -> list[int]:
    return [k for k in _boxes(graph, taken) if {*group} <= {*_sources(graph, k)}]


def _best(graph: Graph, taken: set[int]) -> tuple[int, ...] | None:
    """Return the group of sources that most boxes read; of two that as many read, the larger one."""
    seen: dict[tuple[int, ...], int] = {}
    for k in _boxes(graph, taken):
        sources = _sources(graph, k)
        for size in range(2, min(len(sources), 4) + 1):
            for group in combinations(sources, size):
                seen[group] = seen.get(group, 0) + 1
    useful = {group: count for group, count in seen.items() if count > 1}
    if not useful:
        return None
    return max(useful, key=lambda group: (useful[group], len(group), [-v for v in group]))


# Rails


def _crowded(graph: Graph) -> tuple[int, int] | None:
    """Return a sum or product on a rail that reads three values or more, and the one that comes along the rail."""
    for path in rails(graph):
        for before, k in pairwise(path):
            node = graph.nodes[k]
            if node.kind in CIRCLES and len(node.inputs) > 2 and (rail := _along(graph, before, node.inputs)) is not None:
                return k, rail
    return None


def _along(graph: Graph, before: int, inputs: Sequence[Input]) -> int | None:
    """Return the value that comes from the node before, if it is read once and the others can stand together without it."""
    came = [i for i in inputs if i.value in graph.nodes[before].outputs]
    others = [i for i in inputs if i.value not in graph.nodes[before].outputs]
    return came[0].value if len(came) == 1 and not came[0].mark and any(not i.mark for i in others) else None
