"""Rows: where the items of ordered columns stand, so that wires are as straight as the distances allow."""

from __future__ import annotations

from collections.abc import Sequence

from .crossings import Order
from .lanes import Lanes
from .rails import Rails

PASSES = 14
FIXED = 1e6


def rows(lanes: Lanes, order: Order, rails: Rails, spread: int = 0) -> dict[int, int]:
    """Return the row of every item; `spread` more rows than needed lie between nodes."""
    fixed = _top(lanes, rails, spread)
    inner = [[i for i in column if not any(i in rail for rail in rails.bottom)] for column in order]
    y = _settled(lanes, inner, fixed, spread)
    if not rails.bottom:
        return y
    floor = max(y[i] + lanes.down(i) for i in y) + 3
    for rail in rails.bottom:
        floor += max(lanes.up(i) for i in rail)
        fixed |= {item: floor for item in rail}
        floor += max(lanes.down(i) for i in rail) + 2 + spread
    return _settled(lanes, order, fixed, spread)


def _top(lanes: Lanes, rails: Rails, spread: int) -> dict[int, int]:
    fixed: dict[int, int] = {}
    row = 0
    for rail in rails.top:
        row += max(lanes.up(i) for i in rail)
        fixed |= {item: row for item in rail}
        row += max(lanes.down(i) for i in rail) + 2 + spread
    return fixed


def _settled(lanes: Lanes, order: Sequence[Sequence[int]], fixed: dict[int, int], spread: int) -> dict[int, int]:
    y: dict[int, float] = {}
    columns = [(column, _offsets(lanes, column, spread)) for column in order]
    for column, offsets in columns:
        _place(lanes, column, offsets, {i: float(fixed.get(i, 0)) for i in column}, fixed, y)
    for n in range(PASSES):
        for column, offsets in columns if n % 2 == 0 else reversed(columns):
            _place(lanes, column, offsets, {i: _wanted(lanes, i, y, n) for i in column}, fixed, y)
    return {item: round(row) for item, row in y.items()}


def _wanted(lanes: Lanes, item: int, y: dict[int, float], n: int) -> float:
    """Return the row that makes an item's wires straightest: a mean at first, later the median, which leaves one wire straight."""
    near = sorted([y[other] - lower for other, lower, _ in lanes.beside[item] if other in y])
    if not near:
        return y[item]
    return _median(near, y[item]) if n % 3 == 2 or n >= PASSES - 2 else sum(near) / len(near)


def _median(values: Sequence[float], now: float) -> float:
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    low, high = values[middle - 1], values[middle]
    return min(max(now, low), high) if high - low > 0 and low < now < high else low if abs(now - low) <= abs(now - high) else high


def _offsets(lanes: Lanes, column: Sequence[int], spread: int) -> list[int]:
    """Return how far the items of a column stand below its first one at least."""
    offsets = [0] * len(column)
    for k in range(1, len(column)):
        both = lanes.is_node(column[k - 1]) and lanes.is_node(column[k])
        offsets[k] = offsets[k - 1] + lanes.apart(column[k - 1], column[k]) + spread * both
    return offsets


def _place(
    lanes: Lanes, column: Sequence[int], offsets: list[int], wanted: dict[int, float], fixed: dict[int, int], y: dict[int, float]
) -> None:
    """Put the items of a column where they are wanted, in their order and far enough apart: weighted isotonic regression."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, count
    for item, shift in zip(column, offsets, strict=True):
        weight = FIXED if item in fixed else 1.0 if lanes.is_node(item) else 2.0
        mean, count = float(fixed.get(item, 0)) - shift if item in fixed else wanted[item] - shift, 1
        while blocks and blocks[-1][0] > mean:
            other, other_weight, other_count = blocks.pop()
            mean = (mean * weight + other * other_weight) / (weight + other_weight)
            weight, count = weight + other_weight, count + other_count
        blocks.append((mean, weight, count))
    means = [round(mean) for mean, _, count in blocks for _ in range(count)]
    y.update({item: float(mean + shift) for item, mean, shift in zip(column, means, offsets, strict=True)})
