"""Calls done again as they were recorded.

A small call spends its time in Python, and one of a millisecond a tenth of it: arguments are checked, some thirty arrays made, and views of
them. All of that depends on shapes alone. So of calls that are alike, the second is recorded: which compiled functions are run, and of each
array that they are given and each that is handed out, whether it is the caller's, new memory, room to work in, or one that stays. From then
on only that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np

from .call import Call
from .entry import Entry
from .memory import LARGE, fresh, unlocked
from .product import SHARED
from .room import Room, used
from .spans import Places, View, apart, view_of
from .threads import begin, division, end
from .trace import Path, Trace

Array = np.ndarray
Given = tuple[Any, ...]  # a call's arguments: records of arrays, arrays, or None
Views = list[tuple[int, View]]  # of values before them in a list
Form = tuple[tuple[int, ...], np.dtype]

KEPT = 32  # kinds of calls that are remembered
STAYS = 1 << 19  # bytes that a recording keeps at most, in arrays that are nobody else's
OFTEN = 1000  # times that a light call is done as it was recorded, before its entries are compiled: that takes half a second
RECORDED = 1 << 26  # bytes of arguments: calls on more take so long that nothing is gained
ARRAYS = {np.ndarray}
READ = "read"  # of an array's layout: one that only may not be written to


class _Numbered:
    """Where values lie in a list: of arrays, of what stays, and of views of both, which are told in their order."""

    def __init__(self, arrays: Sequence[Array], staying: Sequence[Any]) -> None:
        self._source, self.views = Places(arrays), Views()
        self._staying = {id(value): len(arrays) + k for k, value in enumerate(staying)}

    def number(self, value: Any, *, out: bool = False) -> int:
        """Return where a value lies; of one that stays, a copy is handed `out`."""
        base = self._source.of(value)
        if base is None:
            base = self._staying[id(value)]
            view: View | None = methodcaller("copy") if out and isinstance(value, Array) else None
        else:
            view = view_of(self._source.arrays[base], value)
        if view is None:
            return base
        self.views.append((base, view))
        return len(self._source.arrays) + len(self._staying) + len(self.views) - 1


class Recording:
    """A recorded call.

    Its values lie in one list: the caller's arrays, new ones, those that it works in, those that stay, and views of all of them.

    Attributes
    ----------
    key : hashable
        What it depends on.
    call : Call
        As it was checked; without its arrays.
    heavy : bool
        Whether one of its products is large enough for threads that are awake to take a part.
    light : bool
        Whether it wakes no thread.
    handed : list of shapes
        Of the arrays of the result.
    ended : float
        When it was last done, for who wants to know.
    divided : (int, int)
        On what threads it runs.
    made : list of shapes and dtypes
        New arrays, in the order in which the result has them.
    plain : bool
        Whether the result has the new arrays as they are, in their order, and nothing else.
    locked : list of int
        The caller's arrays that may only be read: kernels are given them as others, and the result has them as they came.
    """

    def __init__(self, key: Any, trace: Trace, call: Call, arrays: Sequence[Array], result: Any) -> None:
        self.key, self.ended, self.light, self.divided = key, 0.0, trace.light, (call.parts, call.how)
        self.locked: list[int] = []
        self.heavy = call.batch * max((weight.size for weight in call.weights or ()), default=0) >= SHARED
        self.call = call._replace(params=None, weights=None, inputs=None, state=None, rows=None, record=None)
        leaves, source = _leaves(result), Places(trace.made.arrays)
        handed = {k: leaf for k, leaf in zip(map(source.of, leaves), leaves, strict=True) if k is not None}
        made = [_whole(leaf, source.arrays[k]) for k, leaf in handed.items()]
        self.made, self._large = [(array.shape, array.dtype) for array in made], any(array.nbytes >= LARGE for array in made)
        self.handed = [leaf.shape for leaf in leaves if isinstance(leaf, Array)]
        within = {k: works for k, works in used(trace.works, source).items() if k not in handed}
        leaving = [value for _, given in trace.works for value in given] + leaves
        worked, inside = list[Array](), Places([*arrays, *made])
        self._stay = _others(leaving, inside)
        if self.size > STAYS:  # then what it works in is new in each call
            worked = [source.arrays[k] for k in within]
            inside = Places([*arrays, *made, *worked])
            self._stay = _others(leaving, inside)
        self._room = Room(worked, list(within.values()) if worked else [])
        reads, shows = _Numbered(inside.arrays, self._stay), _Numbered([*arrays, *made], self._stay)
        self._works = [(work, _picks([reads.number(value) for value in given])) for work, given in trace.works]
        self._build = _builder(result, partial(shows.number, out=True))
        self._read, self._shown = reads.views, shows.views
        in_order = list(map(inside.of, leaves)) == list(range(len(arrays), len(arrays) + len(made)))
        self.plain = not worked and in_order and all(view_of(array, leaf) is None for array, leaf in zip(made, leaves, strict=True))
        self._times, self._entries = 0, list[Entry]()

    @property
    def size(self) -> int:
        """How many bytes stay."""
        return sum(value.nbytes for value in self._stay if isinstance(value, Array))

    def new(self) -> list[Array]:
        """Return new arrays for what it makes."""
        empty = fresh if self._large else np.empty  # which is faster for those that are small
        return [empty(shape, dtype) for shape, dtype in self.made]

    def __call__(self, arrays: Sequence[Array], made: Sequence[Array] | None = None) -> Any:
        """Do it on other arrays; return the result, in new arrays or those of `made`."""
        made, room = made or self.new(), self._room.new()
        free = [*self._unlocked(arrays), *made]
        if self._entries:
            self.enter(self._entries, [*free, *room])
        else:
            self._run(free, room)
        return self._build(self._values([*arrays, *made], self._shown))

    def fits(self) -> bool:
        """Say whether a call would run on the same threads now."""
        return self.light or self.divided == division(False)

    def enter(self, entries: Sequence[Entry], given: Sequence[Any]) -> None:
        """Run its functions by their entries, on arrays or on addresses."""
        begun = begin(self.divided[1])
        for enter, block, _ in entries:
            enter(block, *given)
        end(begun)

    def _run(self, free: list[Array], room: list[Array]) -> None:
        """Run the functions on such arrays, and from then on that it has been done often, enter them in another way (see `entry`)."""
        values = self._values([*free, *self._room.within(room)], self._read)
        begun = begin(self.divided[1])
        for work, pick in self._works:
            work(*self.divided, *pick(values))
        end(begun)
        self._times += 1
        if self._times == OFTEN and self.light:
            self._entries = self.entries(free) or []

    def addressed(self, arrays: Sequence[Array]) -> tuple[list[Entry] | None, list[Form]]:
        """Return how its compiled functions are entered by the addresses of such arrays, the caller's and new ones, and of memory to work
        in, and the forms of that. None in place of the first where that does not do: `entries` has none.
        """
        room = [(array.shape, array.dtype) for array in self._room.new()]
        return self.entries(arrays, by_address=True), room

    def entries(self, arrays: Sequence[Array], *, by_address: bool = False) -> list[Entry] | None:
        """Return how its compiled functions are entered, one after the other, with the caller's arrays, new ones, and memory to work in.

        None where one of them has other arguments than `entry` knows.
        """
        room = self._room.new()
        given = [*map(np.copy, arrays), *room]  # of which no two overlap
        values = self._values([*given[: len(arrays)], *self._room.within(room)], self._read)
        found = [Entry.of(work, (*self.divided, *pick(values)), given, by_address=by_address) for work, pick in self._works]
        return [entry for entry in found if entry is not None] if None not in found else None

    def _unlocked(self, arrays: Sequence[Array]) -> Sequence[Array]:
        if not self.locked:
            return arrays
        found = list(arrays)
        for k in self.locked:
            found[k] = unlocked(found[k])
        return found

    def _values(self, arrays: Sequence[Array], views: Views) -> list[Any]:
        """Return all that its functions, or its result, pick from, on such arrays."""
        values = [*arrays, *self._stay]
        if views:
            values += [view(values[k]) for k, view in views]
        return values

    @classmethod
    def of(cls, key: Any, given: Given, work: Path) -> Recording | None:
        """Record a call; None if it is not recorded after all. Where two of its arguments overlap, it is recorded on copies."""
        arrays, trace = flattened(given), Trace()
        given = given if apart(arrays) else tuple(map(_copied, given))
        result = trace.of(work, *given)
        if trace.call is None:
            return None
        made = cls(key, trace, trace.call, flattened(given), result)
        made.locked = [k for k, array in enumerate(arrays) if not array.flags.writeable]
        return made


Heard = list[tuple[Recording, list[Array], list[Array]]]
"""Recordings that were done, each with the caller's arrays and new ones; nobody else has them from then on."""
HEARD: ContextVar[Heard | None] = ContextVar("derive_heard", default=None)


class Recordings:
    """The recordings of so many kinds of calls at most: of more, those that came last.

    One that runs is nowhere in here, so that another thread that calls at the same time has one of its own.
    """

    def __init__(self) -> None:
        self._idle: dict[Any, list[Recording] | None] = {}  # each of its operations is done in one go: there is no lock

    def __len__(self) -> int:
        return len(self._idle)

    def __iter__(self) -> Iterator[Any]:
        """The kinds of calls."""
        return iter(list(self._idle))

    def take(self, key: Any, given: Given, work: Path) -> Recording | None:
        """Return a recording that nobody else has; None for a call of a kind that is new, or is not to be recorded.

        Parameters
        ----------
        key : hashable
        given : tuple
            Its arguments.
        work : callable
            The ordinary way.
        """
        try:
            found = self._idle[key]
            return None if found is None else _fitting(found)
        except IndexError:  # seen, and no recording is idle
            made = Recording.of(key, given, work) if _recordable(given) else None
            if made is None or made.size > STAYS:
                self._keep(key, None)
                return None
            return made
        except KeyError:
            self._keep(key, [])
            return None

    def give(self, recording: Recording) -> None:
        """Take back one that has run."""
        found = self._idle.pop(recording.key, None) or []
        found.append(recording)
        self._keep(recording.key, found)

    def _keep(self, key: Any, found: list[Recording] | None) -> None:
        self._idle[key] = found  # the last one now
        if len(self._idle) > KEPT:
            self._idle.pop(next(iter(self._idle)), None)


def _others(values: Sequence[Any], inside: Places) -> list[Any]:
    """Return the values that lie in none of some arrays, each once."""
    return list({id(value): value for value in values if inside.of(value) is None}.values())


def _whole(leaf: Array, made: Array) -> Array:
    """Return an array of a result, or the new one that it lies in if that is larger."""
    return leaf if leaf.nbytes == made.nbytes and leaf.flags.c_contiguous else made


def _fitting(found: list[Recording]) -> Recording:
    """Take a recording of those that are idle, for the threads that would run it now; IndexError if there is none."""
    others = list[Recording]()
    try:
        while True:
            recording = found.pop()
            if recording.fits():
                return recording
            others.append(recording)
    finally:
        found += others


def flattened(given: Sequence[Any]) -> list[Array]:
    """Return the arrays of a call's arguments."""
    found: list[Array] = []
    for item in given:
        if type(item) is np.ndarray:
            found.append(item)
        elif hasattr(item, "_fields"):
            found += item
        elif item is not None:
            found.append(item)
    return found


def key_of(name: Any, given: Given, arrays: Sequence[Any]) -> Any:
    """Return what a call depends on beside the values of its arguments; None if one of them is no array."""
    if set(map(type, arrays)) != ARRAYS:
        return None
    return name, division(True), *map(type, given), *[(array.shape, array.dtype, array.flags.carray or _read(array)) for array in arrays]


def _read(array: Array) -> str:
    """Return what a key has of an array that kernels cannot be given as it is: `READ` if it only may not be written to."""
    return READ if array.flags.c_contiguous and array.flags.aligned else ""


def _recordable(given: Given) -> bool:
    """Say whether kernels can be given a call's arrays, and those are small."""
    arrays = flattened(given)
    return all(array.flags.carray or _read(array) for array in arrays) and sum(array.nbytes for array in arrays) < RECORDED


def _copied(item: Any) -> Any:
    if item is None:
        return None
    return item.copy() if isinstance(item, Array) else item._make([value.copy() for value in item])


# Results: records of arrays and of other records


def _leaves(result: Any) -> list[Any]:
    return [leaf for part in result for leaf in _leaves(part)] if isinstance(result, tuple) else [result]


def _picks(places: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """Return a function that takes the values at some places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple([values[k] for k in places])


def _builder(result: Any, place: Callable[[Any], int]) -> Callable[[list[Any]], Any]:
    """Return a function that makes a result again, given the place of each of its values."""
    if not isinstance(result, tuple):
        return itemgetter(place(result))
    kind = getattr(type(result), "_make", tuple)
    if not any(isinstance(part, tuple) for part in result):
        pick = _picks([place(part) for part in result])
        return lambda values: kind(pick(values))
    parts = [_builder(part, place) for part in result]
    return lambda values: kind([part(values) for part in parts])
