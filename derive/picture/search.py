"""The cheapest way on the grid from a wire to a port: short, with few bends and crossings.

A picture tries thousands of arrangements, and much of its time goes into this search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from .buffers import Array, compiled, entries, marks, numbers
from .grid import FREE, Grid

BEND, CROSS, BACK, FORK = 4, 11, 2, 3  # costs beside 1 for each step
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
Points = tuple[Array, Array, Array, Array]  # which are blocked, which are ports; the wires across and along
Box = tuple[int, int, int, int]
_STATE = 24  # bits of a state in an entry of the heap, below what it costs
_STATES = (1 << _STATE) - 1
_FAR = 1 << 30


@dataclass(frozen=True)
class Way:
    """The points of a path by number, what it costs, the port that it reached, and how many states were looked at."""

    path: tuple[int, ...]
    cost: int
    port: int
    steps: int


def search(grid: Grid, value: int, seeds: Mapping[int, int], targets: Mapping[int, tuple[int, int]]) -> Way | None:
    """Return the cheapest way, or None.

    States are a point and the direction in which it is entered, ``4 * point + direction``.  `seeds` are the states on the wire with what
    leaving there costs; `targets` the states at ports, with the port's number and cost.
    """
    starts = entries([price << _STATE | state for state, price in seeds.items()])
    ends = entries([price << _STATE | state for state, (_, price) in targets.items()])
    states, cost, steps = _cheapest(grid.blocked, grid.across, grid.along, grid.width, value, starts, ends)
    found: list[int] = states.tolist()
    return Way(tuple([state >> 2 for state in found]), cost, targets[found[-1]][0], steps) if found else None


@compiled
def _cheapest(blocked: Array, across: Array, along: Array, width: int, value: int, starts: Array, ends: Array) -> tuple[Array, int, int]:
    """Return the states on the way to a port, none if no port can be reached, what it costs, and how many states were looked at.

    Entries of `starts` and `ends`, as those of the heap, are a state below what it costs.
    """
    size = 4 * len(blocked)
    points, goal = (blocked, marks(len(blocked)), across, along), numbers(size, -1)
    cost, done, before = numbers(size, _FAR), marks(size), numbers(size, -1)
    box = _box(points, goal, width, ends)
    for entry in starts:
        cost[entry & _STATES] = entry >> _STATE
    heap = list(starts)
    heapify(heap)
    steps = 0
    while len(heap) > 0:
        state = heappop(heap) & _STATES
        if done[state]:
            continue
        done[state] = 1
        steps += 1
        if goal[state] >= 0 and before[state] >= 0:
            return _way(before, state), cost[state], steps
        point, direction = state >> 2, state & 3
        straight = before[state] < 0 or (across[point] if direction & 1 else along[point]) != FREE
        for turn in range(1 if straight else 3):
            d = (direction + turn + turn // 2) & 3  # straight on, to the one side, to the other
            key = (point + (1 if d == 0 else width if d == 1 else -1 if d == 2 else -width)) << 2 | d
            price = _price(points, goal, key, value)
            total = cost[state] + 1 + price + (BEND if turn else 0) + (BACK if d == 2 else 0)
            if price >= 0 and total < cost[key]:
                cost[key], before[key] = total, state
                heappush(heap, (total + _ahead(key, width, box)) << _STATE | key)
    return numbers(0, 0), 0, steps


@compiled
def _way(before: Array, end: int) -> Array:
    """Return the states from the wire to the last one."""
    count, state = 0, end
    while state >= 0:
        count, state = count + 1, before[state]
    found, state = numbers(count, end), before[end]
    for k in range(count - 2, -1, -1):
        found[k], state = state, before[state]
    return found


@compiled
def _box(points: Points, goal: Array, width: int, ends: Array) -> Box:
    """Mark the ports; return the columns and rows between which they lie."""
    left = top = len(goal)
    right = bottom = 0
    for entry in ends:
        state = entry & _STATES
        goal[state], points[1][state >> 2] = entry >> _STATE, 1
        x, y = (state >> 2) % width, (state >> 2) // width
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    return left, right, top, bottom


@compiled
def _price(points: Points, goal: Array, key: int, value: int) -> int:
    """Return what it costs to enter a point beside the step and its turn, or -1 where that cannot be."""
    blocked, ports, across, along = points
    point = key >> 2
    mine = along[point] if key & 1 else across[point]
    other = across[point] if key & 1 else along[point]
    if ports[point]:
        return goal[key] if mine == FREE and other == FREE else -1
    if blocked[point] or mine != FREE or other == value:
        return -1
    return CROSS if other >= 0 else 0


@compiled
def _ahead(key: int, width: int, box: Box) -> int:
    """Return what the way from a point to the nearest of the ports costs at least."""
    x, y = (key >> 2) % width, (key >> 2) // width
    aside = max(box[0] - x, 0, x - box[1])
    far = max(box[2] - y, 0, y - box[3])
    return aside + far + (BEND if (aside if key & 1 else far) else 0)
