"""A finished layout: the cheapest of the promising arrangements, wired."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from .columns import assignments
from .graph import Graph
from .improve import Routed, first, improved
from .lanes import lanes
from .node_shape import shape_of
from .place import Placement, drafts
from .route import Wire

WIRED = 6  # arrangements that are wired, for each way to share out columns
ROUNDS = ((5, 0.08), (2, 0.3))  # how many of them are improved, and with which part of the budget each
BUDGET, MOST = 25_000, 1_200_000  # steps of the search for wires: for each node, and over all


@dataclass(frozen=True)
class Layout:
    """Nodes with their places, and wires."""

    placement: Placement
    wires: tuple[Wire, ...]
    cost: float


def laid_out(graph: Graph) -> Layout:
    """Return the layout of a drawing graph."""
    found = _layout(Graph(tuple(replace(node, tip="", line="") for node in graph.nodes), graph.values))
    return replace(found, placement=replace(found.placement, graph=graph))


@lru_cache(maxsize=256)
def _layout(graph: Graph) -> Layout:
    """Return the layout of a graph without texts, which variants of a cell share."""
    shapes = tuple(shape_of(node, graph) for node in graph.nodes)
    sketches = [draft for columns in assignments(graph) for draft in drafts(lanes(graph, shapes, columns))[:WIRED]]
    best = sorted((found for draft in sketches if (found := first(draft)) is not None), key=_cost)
    if not best:
        raise RuntimeError("no arrangement of the picture could be wired")
    budget = min(BUDGET * len(graph.nodes), MOST)
    for count, share in ROUNDS:
        best = sorted((improved(found, int(share * budget)) for found in best[:count]), key=_cost)
    router = best[0].router
    return Layout(best[0].placement, tuple(router.wires[v] for v in sorted(router.wires)), best[0].cost)


def _cost(found: Routed) -> float:
    return found.cost
