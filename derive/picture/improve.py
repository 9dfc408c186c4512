"""Small moves of nodes that make the wires cheaper: fewer bends, crossings, and less length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from .graph import BOXES, SINKS, SOURCES
from .place import Draft, Placement, Spots, clear, placed, spots
from .route import Router, routed

WIDEST = 8  # cells by which nodes are moved apart at most
NEAR = 6  # cells between boxes that might as well stand above one another
STRIDES = (-1, 1, -2, 2, -3, 3, -4, 4, -6, 6, -8, 8)


@dataclass(frozen=True)
class Routed:
    """A placement with its wires, and what it costs."""

    draft: Draft
    spots: Spots
    placement: Placement
    router: Router
    cost: float


Move = Callable[[Routed], Spots | None]


def first(draft: Draft) -> Routed | None:
    """Route an arrangement; where a wire finds no way, everything moves apart."""
    for spread in range(WIDEST):
        found = _routed(draft, spots(draft, spread))
        if isinstance(found, Routed):
            return found
    return None


def improved(found: Routed, budget: int) -> Routed:
    """Try small moves as long as they help and the budget (steps of the search for wires) lasts."""
    moves = _moves(found)
    idle = at = 0
    while idle < len(moves) and budget > 0:
        moved = moves[at](found)
        at, idle = (at + 1) % len(moves), idle + 1
        if moved is None or moved == found.spots:
            continue
        trial = _routed(found.draft, moved, found)
        budget -= trial.router.steps if isinstance(trial, Routed) else trial
        if isinstance(trial, Routed) and trial.cost < found.cost - 0.01:
            found, idle = trial, 0
            at = (at - 1) % len(moves)  # the same again
    return found


def _routed(draft: Draft, spots: Spots, old: Routed | None = None) -> Routed | int:
    """Return a wired placement, or how many steps were made before it proved impossible or much dearer than the old one."""
    placement = placed(draft, spots)
    if not clear(draft.lanes, placement):
        return 20
    looks = _looks(draft, spots, placement)
    router = routed(placement, old.cost - looks, old.router) if old else routed(placement)
    return Routed(draft, spots, placement, router, router.total() + looks) if isinstance(router, Router) else router


def _looks(draft: Draft, spots: Spots, placement: Placement) -> float:
    """Return what a placement costs beside its wires: its size, boxes nearly above one another, sources out of the cell's order."""
    nodes = draft.lanes.graph.nodes
    shifted = sum((4.0 if node.kind in BOXES else 0.5) for node, shift in zip(nodes, spots.shifts, strict=True) if shift)
    boxes = [x for node, (x, _) in zip(nodes, placement.centres, strict=True) if node.kind in BOXES]
    ragged = 4.0 * sum(0 < abs(a - b) < NEAR for a, b in combinations(boxes, 2))
    rows = [row for node, row in zip(nodes, spots.rows, strict=True) if node.kind in SOURCES]
    turned = 4.0 * sum(a > b for a, b in combinations(rows, 2))
    return 0.6 * placement.width + 1.4 * placement.height + shifted + ragged + turned


# Moves: what they make of the spots, None where they do not apply


def _moves(found: Routed) -> list[Move]:
    lanes = found.draft.lanes
    rails = {k for rail in found.draft.rail_nodes for k in rail}
    free = [k for k in range(len(lanes.shapes)) if k not in rails]
    inner = [k for k, node in enumerate(lanes.graph.nodes) if node.kind not in SOURCES and node.kind not in SINKS]
    channels = range(len(found.spots.channels) - 1)
    bottom = [frozenset(i for i in rail if lanes.is_node(i)) for rail in found.draft.rails.bottom]
    return [
        *(partial(_channel, c=c, change=-1) for c in channels),
        *(partial(_vertical, group=frozenset({k}), stride=stride) for k in free for stride in STRIDES),
        *(partial(_vertical, group=group, stride=stride) for group in bottom for stride in STRIDES),
        *(partial(_chained, start=k, stride=stride) for k in free for stride in STRIDES),
        *(partial(_below, start=k, stride=stride) for k in free for stride in (-1, 1)),
        *(partial(_sideways, k=k, stride=stride) for k in inner for stride in STRIDES),
        *(partial(_exchanged, a=a, b=b) for a, b in combinations(free, 2) if lanes.column[a] == lanes.column[b]),
        *(partial(_channel, c=c, change=1) for c in channels),
    ]


def _channel(found: Routed, c: int, change: int) -> Spots | None:
    """Make a channel narrower or wider."""
    channels = found.spots.channels
    if channels[c] + change < 1:
        return None
    return replace(found.spots, channels=(*channels[:c], channels[c] + change, *channels[c + 1 :]))


def _vertical(found: Routed, group: frozenset[int], stride: int) -> Spots:
    """Move nodes up or down."""
    return replace(found.spots, rows=tuple(row + stride if k in group else row for k, row in enumerate(found.spots.rows)))


def _below(found: Routed, start: int, stride: int) -> Spots:
    """Move all that stands as low as a node or lower."""
    rows = found.spots.rows
    return _vertical(found, frozenset(k for k, row in enumerate(rows) if row >= rows[start]), stride)


def _chained(found: Routed, start: int, stride: int) -> Spots | None:
    """Move the nodes that straight wires connect with one."""
    lanes, rows = found.draft.lanes, found.spots.rows
    rails = {k for rail in found.draft.rail_nodes for k in rail}
    chain, queue = {start}, [start]
    while queue:
        here = queue.pop()
        for other, lower in lanes.straight[here]:
            if other not in chain and other not in rails and rows[other] == rows[here] + lower:
                chain.add(other)
                queue.append(other)
    return _vertical(found, frozenset(chain), stride) if min(chain) == start and len(chain) > 1 else None


def _exchanged(found: Routed, a: int, b: int) -> Spots:
    """Let two nodes change rows."""
    rows = found.spots.rows
    return replace(found.spots, rows=tuple(rows[b] if k == a else rows[a] if k == b else row for k, row in enumerate(rows)))


def _sideways(found: Routed, k: int, stride: int) -> Spots:
    """Move a node to the left or right."""
    shifts = found.spots.shifts
    return replace(found.spots, shifts=(*shifts[:k], shifts[k] + stride, *shifts[k + 1 :]))
