"""What stands before a time loop and after it, in compiled code: first and last values of states, and rows gathered or summed over steps.

Arrays have two axes, rows and features; where the rows of a step lie is told by the arrays of `addresses.Rows`. Nothing is allocated: what
is made is written to an array that is given. An array may be nothing (see `nothing`): then it has only zeros, and is not written.
"""

from __future__ import annotations

from .compiling import inner
from .nothing import clearing
from .pointers import row_major, shift
from .product import copy


@inner
def _move(source, start, target, to, count):  # type: ignore[no-untyped-def]
    """Write `count` rows of `source` to those of `target`."""
    values, places = row_major(source), row_major(target)
    copy((shift(values, start * values.row), shift(places, to * places.row), count, target.shape[1]))


@inner
def _of_length(t, active, batch):  # type: ignore[no-untyped-def]
    """Return the first of the batch positions that run t steps, and how many they are: sequences are sorted, longest first."""
    first = active[t] if t < active.size else 0
    return first, (active[t - 1] if t > 0 else batch) - first


@clearing
@inner
def put_first(array, initial):  # type: ignore[no-untyped-def]
    """Put a state's values before the first step."""
    _move(initial, 0, array, 0, initial.shape[0])


@clearing
@inner
def take_last(final, array, begins, active):  # type: ignore[no-untyped-def]
    """Take a state's values after the last step of each sequence, where those before step t begin at row ``begins[t]``."""
    for t in range(begins.size):
        first, count = _of_length(t, active, final.shape[0])
        _move(array, begins[t] + first, final, first, count)


@clearing
@inner
def put_both(array, final):  # type: ignore[no-untyped-def]
    """Put a state's cotangents after the last step where every sequence finds them, in memory for two steps in turn."""
    _move(final, 0, array, 0, final.shape[0])
    _move(final, 0, array, final.shape[0], final.shape[0])


@clearing
@inner
def put_last(array, final, begins, active):  # type: ignore[no-untyped-def]
    """Put a state's cotangents after the last step of each sequence, in an array of all steps."""
    for t in range(begins.size):
        first, count = _of_length(t, active, final.shape[0])
        _move(final, first, array, begins[t] + first, count)


@clearing
@inner
def take_first(initial, array):  # type: ignore[no-untyped-def]
    """Take a state's cotangents before the first step."""
    _move(array, 0, initial, 0, initial.shape[0])


@clearing
@inner
def gather(room, array, begins, active):  # type: ignore[no-untyped-def]
    """Write the values before each step, those before step t from row ``begins[t]`` on, row by row to `room`."""
    row = 0
    for t in range(active.size):
        _move(array, begins[t], room, row, active[t])
        row += active[t]


@clearing
@inner
def over_time(room, values, row, active):  # type: ignore[no-untyped-def]
    """Write values that sequences have at every step, row by row, to `room`."""
    for t in range(active.size):
        _move(values, 0, room, row[t], active[t])


@clearing
@inner
def total(sums, rows, row, active):  # type: ignore[no-untyped-def]
    """Write the sums of rows over steps, one for each sequence."""
    for b in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            sums[b, j] = 0
    for t in range(active.size):
        for b in range(active[t]):
            place, value = sums[b], rows[row[t] + b]
            for j in range(place.size):
                place[j] += value[j]


@clearing
@inner
def spread(room, value):  # type: ignore[no-untyped-def]
    """Write a vector to every row of `room`."""
    for i in range(room.shape[0]):
        place = room[i]
        for j in range(place.size):
            place[j] = value[j]
