"""Columns: every node stands to the right of what it reads, as near to its readers as makes no wire longer."""

from __future__ import annotations

from .graph import SINKS, SOURCES, Graph


def assignments(graph: Graph) -> list[tuple[int, ...]]:
    """Return columns of the nodes, sources in the first and sinks in the last: near their readers, and as early as they can be."""
    early = _earliest(graph)
    found = early
    while (moved := _drawn_right(graph, found)) != found:
        found = moved
    return [tuple(found), *([tuple(early)] if early != found else [])]


def _earliest(graph: Graph) -> list[int]:
    found: list[int] = []
    for node in graph.nodes:
        found.append(max([found[graph.values[i.value].node] + 1 for i in node.inputs], default=0 if node.kind in SOURCES else 1))
    last = max(found)
    return [last if node.kind in SINKS else c for node, c in zip(graph.nodes, found, strict=True)]


def _drawn_right(graph: Graph, found: list[int]) -> list[int]:
    """Move nodes towards their readers where all their inputs pass there anyway, or the one wire only changes sides."""
    found = list(found)
    for k in reversed(range(len(graph.nodes))):
        node = graph.nodes[k]
        readers = [found[reader] for v in node.outputs for reader, _ in graph.readers[v]]
        if node.kind in SOURCES or node.kind in SINKS or not readers or not node.inputs or node.name == "bundle":
            continue
        for column in range(min(readers) - 1, found[k], -1):
            if _longer(graph, found, k, column) <= 0:
                found[k] = column
                break
    return found


def _longer(graph: Graph, found: list[int], k: int, column: int) -> int:
    """Return by how much wires grow when a node moves right to `column`."""
    growth = -(column - found[k]) * len(graph.nodes[k].outputs)
    for value in {i.value: None for i in graph.nodes[k].inputs}:
        others = [found[reader] for reader, _ in graph.readers[value] if reader != k]
        reached = max([*others, found[k]])
        growth += max(0, column - reached)
    return growth
