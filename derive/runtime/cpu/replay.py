"""Small calls, done again as they were recorded.

A small call spends its time in Python: arguments are checked, some thirty arrays made, and views of them. All of that depends on shapes
alone. So of calls that are alike, the second is recorded, on copies of its arguments: which compiled functions are run, and of each array
that they are given and each that is handed out, whether it is the caller's, new memory, or one that stays. From then on only that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np

from .call import Call, Work
from .entry import Entry
from .memory import unlocked
from .product import SHARED
from .spans import Places, View, view_of
from .threads import division

Array = np.ndarray
Given = tuple[Any, ...]  # a call's arguments: records of arrays, arrays, or None
Path = Callable[..., Any]  # the ordinary way of a call: given a Trace or None, and its arguments

KEPT = 16  # kinds of calls that are remembered
STAYS = 1 << 19  # bytes that a recording keeps at most, in arrays that are nobody else's
ARRAYS = {np.ndarray}
READ = "read"  # of an array's layout: one that only may not be written to


class Trace:
    """What a pass does while it is recorded."""

    light: bool

    def __init__(self) -> None:
        self.call: Call | None = None
        self.works: list[Work] = []
        self.made: list[Array] = []

    def on(self, call: Call, light: bool) -> Call:
        """Return a call, which wakes no thread if it is `light`, so that it is recorded."""
        self.call, self.light = call, light
        return call._replace(empty=self.empty, record=self.works)

    def leave(self) -> None:
        """Record nothing: what the call does is other calls."""
        self.call = None

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        self.made.append(np.empty(shape, dtype))
        return self.made[-1]


class Recording:
    """A recorded call.

    Its values lie in one list: the caller's arrays, new ones, those that stay, and views of all of them.

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
        On what threads it runs, if nothing else is asked.
    made : list of shapes and dtypes
        New arrays, in the order in which the result has them.
    locked : list of int
        The caller's arrays that may only be read: kernels are given them as others, and the result has them as they came.
    """

    def __init__(self, key: Any, trace: Trace, call: Call, arrays: Sequence[Array], result: Any) -> None:
        self.key, self.ended, self.light = key, 0.0, trace.light
        self.locked: list[int] = []
        self.heavy = call.batch * max((weight.size for weight in call.weights or ()), default=0) >= SHARED
        self.call = call._replace(params=None, weights=None, inputs=None, state=None, rows=None, record=None)
        leaves, source = _leaves(result), Places(trace.made)
        made = [trace.made[k] for k in dict.fromkeys(map(source.of, leaves)) if k is not None]
        self.made = [(array.shape, array.dtype) for array in made]
        self.handed = [leaf.shape for leaf in leaves if isinstance(leaf, Array)]
        source = Places([*arrays, *made])
        values = [*(value for _, given in trace.works for value in given), *leaves]
        stay = {id(value): value for value in values if source.of(value) is None}
        first, second = len(source.arrays), len(source.arrays) + len(stay)
        staying = {name: first + k for k, name in enumerate(stay)}
        views = list[tuple[int, View]]()

        def place(value: Any, *, out: bool = False) -> int:
            """Return where a value lies among all; of one that stays, a copy is handed `out`."""
            base = source.of(value)
            if base is None:
                base = staying[id(value)]
                view: View | None = methodcaller("copy") if out and isinstance(value, Array) else None
            else:
                view = view_of(source.arrays[base], value)
            if view is None:
                return base
            views.append((base, view))
            return second + len(views) - 1

        self._works = [(work, _picks([place(value) for value in given])) for work, given in trace.works]
        self._build = _builder(result, partial(place, out=True))
        self._stay, self._views, self.divided = list(stay.values()), views, (call.parts, call.how)
        in_order = list(map(source.of, leaves)) == list(range(len(arrays), first))
        self._plain = in_order and all(view_of(array, leaf) is None for array, leaf in zip(made, leaves, strict=True))

    @property
    def size(self) -> int:
        """How many bytes stay."""
        return sum(value.nbytes for value in self._stay if isinstance(value, Array))

    def new(self) -> list[Array]:
        """Return new arrays for what it makes."""
        return [np.empty(shape, dtype) for shape, dtype in self.made]

    def __call__(self, arrays: Sequence[Array], made: Sequence[Array] | None = None, divided: tuple[int, int] | None = None) -> Any:
        """Do it on other arrays; return the result, in new arrays or those of `made`, divided as it was or otherwise."""
        parts, how = divided or self.divided
        made = made or self.new()
        values = self._values([*self._unlocked(arrays), *made])
        for work, pick in self._works:
            work(parts, how, *pick(values))
        return self._build(self._values([*arrays, *made]) if self.locked else values)

    def _unlocked(self, arrays: Sequence[Array]) -> Sequence[Array]:
        if not self.locked:
            return arrays
        found = list(arrays)
        for k in self.locked:
            found[k] = unlocked(found[k])
        return found

    def _values(self, arrays: Sequence[Array]) -> list[Any]:
        """Return all that its functions and its result pick from, on such arrays."""
        values = [*arrays, *self._stay]
        if self._views:
            values += [view(values[k]) for k, view in self._views]
        return values

    def entry(self, arrays: Sequence[Array]) -> Entry | None:
        """Return how its compiled function is entered with the caller's arrays and new ones, which then are the arrays of the result.

        None where that is not all of it.
        """
        if len(self._works) != 1 or not self._plain:
            return None
        given = [*map(np.copy, arrays), *self.new()]  # of which no two overlap
        work, pick = self._works[0]
        return Entry.of(work, (*self.divided, *pick(self._values(given))), given)

    @classmethod
    def of(cls, key: Any, given: Given, work: Path) -> Recording | None:
        """Record a call on copies of its arguments, no two of which overlap; None if it is not recorded after all."""
        copies, trace = [_copied(item) for item in given], Trace()
        result = work(trace, *copies)
        if trace.call is None:
            return None
        made = cls(key, trace, trace.call, flattened(copies), result)
        made.locked = [k for k, array in enumerate(flattened(given)) if not array.flags.writeable]
        return made


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

    def take(self, key: Any, given: Given, work: Path, *, light: bool = True) -> Recording | None:
        """Return a recording that nobody else has; None for a call of a kind that is new, or is not to be recorded.

        Parameters
        ----------
        key : hashable
        given : tuple
            Its arguments.
        work : callable
            The ordinary way.
        light : bool
            Whether only a call that wakes no thread is recorded.
        """
        try:
            found = self._idle[key]
            return None if found is None else found.pop()
        except IndexError:  # seen, and no recording is idle
            made = Recording.of(key, given, work) if _recordable(given) else None
            if made is None or made.size > STAYS or (light and not made.light):
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
    return all(array.flags.carray or _read(array) for array in arrays) and sum(array.nbytes for array in arrays) < STAYS


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
