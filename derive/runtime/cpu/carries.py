"""What stands before a time loop and after it, in compiled code: first and last values of states, and rows gathered or summed over steps.

Arrays have two axes, rows and features; where the rows of a step lie is told by the arrays of `addresses.Rows`. Nothing is allocated: what
is made is written to an array that is given. An array may be nothing (see `nothing`): then it is None, has only zeros, and is not written.
"""

from __future__ import annotations

from .compiling import inner
from .nothing import optional
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


@optional
@inner
def put_first(array, initial):  # type: ignore[no-untyped-def]
    """Put a state's values before the first step."""
    if array is None:
        return
    if initial is None:
        array[...] = 0
        return
    _move(initial, 0, array, 0, initial.shape[0])


@optional
@inner
def take_last(final, array, begins, active):  # type: ignore[no-untyped-def]
    """Take a state's values after the last step of each sequence, where those before step t begin at row ``begins[t]``."""
    if final is None:
        return
    if array is None:
        final[...] = 0
        return
    for t in range(begins.size):
        first, count = _of_length(t, active, final.shape[0])
        _move(array, begins[t] + first, final, first, count)


@optional
@inner
def put_both(array, final):  # type: ignore[no-untyped-def]
    """Put a state's cotangents after the last step where every sequence finds them, in memory for two steps in turn."""
    if array is None:
        return
    if final is None:
        array[...] = 0
        return
    _move(final, 0, array, 0, final.shape[0])
    _move(final, 0, array, final.shape[0], final.shape[0])


@optional
@inner
def put_last(array, final, begins, active):  # type: ignore[no-untyped-def]
    """Put a state's cotangents after the last step of each sequence, in an array of all steps."""
    if array is None:
        return
    if final is None:
        array[...] = 0
        return
    for t in range(begins.size):
        first, count = _of_length(t, active, final.shape[0])
        _move(final, first, array, begins[t] + first, count)


@optional
@inner
def take_first(initial, array):  # type: ignore[no-untyped-def]
    """Take a state's cotangents before the first step."""
    if initial is None:
        return
    if array is None:
        initial[...] = 0
        return
    _move(array, 0, initial, 0, initial.shape[0])


@optional
@inner
def gather(room, array, begins, active):  # type: ignore[no-untyped-def]
    """Write the values before each step, those before step t from row ``begins[t]`` on, row by row to `room`."""
    if room is None:
        return
    if array is None:
        room[...] = 0
        return
    row = 0
    for t in range(active.size):
        _move(array, begins[t], room, row, active[t])
        row += active[t]


@optional
@inner
def over_time(room, values, row, active):  # type: ignore[no-untyped-def]
    """Write values that sequences have at every step, row by row, to `room`."""
    if room is None:
        return
    if values is None:
        room[...] = 0
        return
    for t in range(active.size):
        _move(values, 0, room, row[t], active[t])


@optional
@inner
def total(sums, rows, row, active):  # type: ignore[no-untyped-def]
    """Write the sums of rows over steps, one for each sequence."""
    if sums is None:
        return
    if rows is None:
        sums[...] = 0
        return
    for b in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            sums[b, j] = 0
    for t in range(active.size):
        for b in range(active[t]):
            place, value = sums[b], rows[row[t] + b]
            for j in range(place.size):
                place[j] += value[j]


@optional
@inner
def spread(room, value):  # type: ignore[no-untyped-def]
    """Write a vector to every row of `room`."""
    if room is None:
        return
    if value is None:
        room[...] = 0
        return
    for i in range(room.shape[0]):
        place = room[i]
        for j in range(place.size):
            place[j] = value[j]
