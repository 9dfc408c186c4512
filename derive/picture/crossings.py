"""The order of items within columns: barycentres from side to side, then exchanges of neighbours, until few wires cross."""

from __future__ import annotations

from collections.abc import Sequence

from .lanes import Lanes, Link
from .rails import Rails

SWEEPS = 6
Order = tuple[tuple[int, ...], ...]


def ordered(lanes: Lanes, rails: Rails, *, reverse: bool = False) -> Order:
    """Return the items of each column from top to bottom; items of rails are first and last."""
    rank = _ranks(rails)
    order = [sorted(column, key=lambda i: (rank.get(i, 0), -i if reverse else i)) for column in lanes.columns]
    best, least = _frozen(order), crossings(lanes, order)
    for sweep in range(SWEEPS):
        _sweep(lanes, order, rank, from_left=sweep % 2 == 0)
        _exchange(lanes, order, rank)
        count = crossings(lanes, order)
        if count < least:
            best, least = _frozen(order), count
    return best


def _frozen(order: Sequence[Sequence[int]]) -> Order:
    return tuple(map(tuple, order))


def _ranks(rails: Rails) -> dict[int, int]:
    """Return what sorts the items of rails above and below all others, which have 0."""
    ranks = {item: k - len(rails.top) for k, rail in enumerate(rails.top) for item in rail}
    return ranks | {item: k + 1 for k, rail in enumerate(rails.bottom) for item in rail}


def crossings(lanes: Lanes, order: Sequence[Sequence[int]]) -> int:
    """Return how often wires cross between columns."""
    place = {item: k for column in order for k, item in enumerate(column)}
    return sum(_channel_crossings(channel, place) for channel in lanes.channels)


def _channel_crossings(channel: Sequence[Link], place: dict[int, int]) -> int:
    ends = [((place[e.left], e.left_row), (place[e.right], e.right_row), e.value) for e in channel]
    count = 0
    for k, (left, right, value) in enumerate(ends):
        for other_left, other_right, other in ends[:k]:
            if value != other and ((left < other_left and right > other_right) or (left > other_left and right < other_right)):
                count += 1
    return count


def _sweep(lanes: Lanes, order: list[list[int]], rank: dict[int, int], *, from_left: bool) -> None:
    """Sort each column by the mean place of what its items are linked to in the column before."""
    sequence = range(1, len(order)) if from_left else range(len(order) - 2, -1, -1)
    for c in sequence:
        before = order[c - 1 if from_left else c + 1]
        place = {item: (k + 0.5) / len(before) for k, item in enumerate(before)}
        here = {item: (k + 0.5) / len(order[c]) for k, item in enumerate(order[c])}
        wanted = {}
        for item in order[c]:
            linked = [place[other] + 0.001 * -lower for other, lower, left in lanes.beside[item] if left == from_left]
            wanted[item] = sum(linked) / len(linked) if linked else here[item]
        order[c].sort(key=lambda item: (rank.get(item, 0), wanted[item], here[item]))


def _exchange(lanes: Lanes, order: list[list[int]], rank: dict[int, int]) -> None:
    """Exchange neighbours as long as that leaves fewer crossings."""
    place = {item: k for column in order for k, item in enumerate(column)}
    for _ in range(4):
        improved = False
        for column in order:
            for k in range(len(column) - 1):
                a, b = column[k : k + 2]
                if rank.get(a, 0) == rank.get(b, 0) and _gain(lanes, place, a, b) > 0:
                    column[k], column[k + 1] = b, a
                    place[a], place[b] = k + 1, k
                    improved = True
        if not improved:
            return


def _gain(lanes: Lanes, place: dict[int, int], a: int, b: int) -> int:
    """Return how many crossings fewer there are with an item below the next one: no wires but theirs cross otherwise than before."""
    gain = 0
    for here, there in zip(lanes.ends[a], lanes.ends[b], strict=True):
        for item, row, value in here:
            for other, other_row, other_value in there:
                if value != other_value:
                    end, other_end = (place[item], row), (place[other], other_row)
                    gain += (end > other_end) - (end < other_end)
    return gain
