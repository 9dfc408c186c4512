"""The cheapest way on the grid from a wire to a port: short, with few bends and crossings.

A picture tries thousands of arrangements, and most of its time went into this search: it is compiled, once a process.  (Cached machine
code would lie in the package's folder, and be left there when the package is removed.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numba import njit

from .grid import FREE, Grid

BEND, CROSS, BACK, FORK = 4, 11, 2, 3  # costs beside 1 for each step
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_STATE = 24  # bits of a state in an entry of the heap
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
    before = np.empty(4 * len(grid.blocked), np.int32)
    starts = np.array([*seeds.items()], np.int64).reshape(-1, 2)
    goals = np.array([(state, price) for state, (_, price) in targets.items()], np.int64).reshape(-1, 2)
    end, cost, steps = _search(grid.width, grid.blocked, grid.across, grid.along, value, starts, goals, before)
    return Way(_path(end, before), cost, targets[end][0], steps) if end >= 0 else None


def _path(state: int, before: np.ndarray) -> tuple[int, ...]:
    points = []
    while state >= 0:
        points.append(state >> 2)
        state = int(before[state])
    return tuple(reversed(points))


@njit
def _search(width, blocked, across, along, value, seeds, targets, before):  # type: ignore[no-untyped-def]
    """Return the state at the port that is reached, the cost, and the states looked at; fill `before`, the state before each."""
    states = 4 * blocked.size
    cost = np.full(states, _FAR, np.int32)
    done = np.zeros(states, np.bool_)
    goal = np.full(states, -1, np.int32)
    ends = np.zeros(blocked.size, np.bool_)
    for state, price in targets:
        goal[state] = price
        ends[state >> 2] = True
    ahead_x, ahead_y = _ahead(width, blocked.size // width, targets)
    heap = [np.int64(0) for _ in range(0)]
    for state, price in seeds:
        cost[state], before[state] = price, -1
        heappush(heap, price << _STATE | state)
    steps = 0
    while len(heap) > 0:
        state = heappop(heap) & ((1 << _STATE) - 1)
        if done[state]:
            continue
        done[state] = True
        steps += 1
        if goal[state] >= 0 and before[state] >= 0:
            return state, cost[state], steps
        point, direction = state >> 2, state & 3
        straight = (across[point] if direction & 1 else along[point]) != FREE
        turns = 1 if straight or before[state] < 0 else 3
        for turn in range(turns):
            d = direction if turn == 0 else (direction + 1) & 3 if turn == 1 else (direction + 3) & 3
            following = point + (1 if d == 0 else width if d == 1 else -1 if d == 2 else -width)
            price = 1 + (BEND if d != direction else 0) + (BACK if d == 2 else 0)
            mine = along[following] if d & 1 else across[following]
            other = across[following] if d & 1 else along[following]
            key = following << 2 | d
            if ends[following]:
                if goal[key] < 0 or mine != FREE or other != FREE:
                    continue
                price += goal[key]
            elif blocked[following] or mine != FREE or other == value:
                continue
            elif other >= 0:
                price += CROSS
            total = cost[state] + price
            if total < cost[key]:
                cost[key], before[key] = total, state
                aside, far = ahead_x[following % width], ahead_y[following // width]
                bend = BEND if (aside if d & 1 else far) else 0
                heappush(heap, (total + aside + far + bend) << _STATE | key)
    return np.int64(-1), np.int32(0), steps


@njit
def _ahead(width, height, targets):  # type: ignore[no-untyped-def]
    """Return for each column and each row of the grid how far away the ports are at least."""
    points = targets[:, 0] >> 2
    xs, ys = points % width, points // width
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    across = np.array([max(left - x, 0, x - right) for x in range(width)])
    down = np.array([max(top - y, 0, y - bottom) for y in range(height)])
    return across, down
