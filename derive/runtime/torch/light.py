"""Calls on tensors, done again as they were recorded.

A recorded call (see `replay` of the kernels) is known by its arrays. From a tensor to an array and back takes a microsecond each way, and
in a training step of a small layer some forty go that way: it takes longer than its kernels. So a call that has been done often is known by
its tensors, and the compiled functions are given the addresses of their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from ..cpu.memory import LARGE, fresh
from ..cpu.replay import Form, Recording
from ..cpu.spans import Places, View, apart, view_of
from .memory import Array
from .passes import Maybe, Passes, Work

OFTEN = 32  # times that a call is done from arrays before its entries are compiled, in a tenth of a second, or read from the cache
KEPT = 64  # kinds of calls that are remembered
IN_ORDER = torch.contiguous_format
KINDS = (Tensor, Parameter)  # others may have no memory, or not that of their elements

Shown = list[tuple[int, View | None] | None]
Known = Callable[[Sequence[Any]], tuple[Any, ...] | None]
Groups = Sequence[Sequence[Any]]


class Light:
    """A call that is done by the addresses of its tensors, and of those that it makes.

    Parameters
    ----------
    recording : Recording
        How it is done on arrays.
    pool : callable
        Returns a context in which it asks for PyTorch's threads, if it asks for any.
    entries : list of Entry
        Its compiled functions, for addresses: of arrays that it is given, then of those that it makes.
    given : list of int
        Where those lie among the call's tensors, and after them those that stay.
    stays : list of tensors
        Zeros that the call reads in place of cotangents that there are not.
    made, room : list of shapes and dtypes
        What it makes, and memory that it works in.
    shown : list
        Of each result, which of the arrays made it is, and how it is seen of that if it is not all of it; or None.
    """

    def __init__(
        self,
        recording: Recording,
        pool: Callable[[], AbstractContextManager[Any]],
        entries: Sequence[Any],
        given: Sequence[int],
        stays: list[Tensor],
        made: Sequence[Form],
        room: Sequence[Form],
        shown: Shown,
    ) -> None:
        self._recording, self._pool, self._entries = recording, pool, entries
        self._given, self._stays, self._shown = given, stays, shown
        results = {found[0] for found in shown if found is not None}
        self._made = [(None if k in results or _is_large(form) else _maker(form)(), _maker(form)) for k, form in enumerate(made)]
        self._made += [(None, _maker(form, aligned=True)) for form in room]

    def __call__(self, tensors: Sequence[Any]) -> tuple[Any, ...] | None:
        """Return the results; None, and nothing is done, if one of the tensors has no memory, or other threads are to be asked now."""
        if self._recording.light:
            return self._done(tensors)
        with self._pool():
            return self._done(tensors) if self._recording.fits() else None

    def _done(self, tensors: Sequence[Any]) -> tuple[Any, ...] | None:
        known = [*tensors, *self._stays]
        lying = [known[k].contiguous() for k in self._given]  # copies among them stay until they are read
        made = [make() if kept is None else kept for kept, make in self._made]
        places = [value.data_ptr() for value in [*lying, *made]]
        if 0 in places:
            return None
        self._recording.enter(self._entries, places)
        return tuple([found and (made[found[0]] if found[1] is None else _seen(made[found[0]], found[1])) for found in self._shown])

    def is_like(self, other: Light) -> bool:
        """Say whether another does such a call on the same threads."""
        return self._recording.divided == other._recording.divided

    @classmethod
    def of(cls, passes: Passes, work: Work, groups: Groups) -> Light | None:
        """Do a call on copies of its tensors, and return how it is done again; None if it cannot be done so."""
        # By PyTorch, whose threads stay awake then: for them the call is to be learnt.
        copies = [[None if value is None else passes.array(value.clone(memory_format=IN_ORDER)) for value in group] for group in groups]
        with passes.module.LAYER.heard() as heard:
            results = work(*copies)
            if not heard:  # the first call of a kind is only noted
                results = work(*copies)
        if len(heard) != 1:
            return None
        recording, arrays, made = heard[0]
        shown, tensors = _shown(made, results), [np.empty(0) if value is None else value for value in chain(*copies)]
        stays = [array for array in arrays if Places(tensors).of(array) is None]
        known = Places([*tensors, *stays])
        given = [known.of(array) for array in arrays]
        whole = all(k is not None and _is_all(known.arrays[k], array) for k, array in zip(given, arrays, strict=True))
        entries, room = recording.addressed([*arrays, *made])
        if entries is None or shown is None or not whole or any(zeros.any() for zeros in stays):
            return None
        lying = [k for k in given if k is not None]
        return cls(recording, passes.pool, entries, lying, list(map(torch.from_numpy, stays)), shown[0], room, shown[1])


def _shown(made: Sequence[Array], results: Sequence[Maybe]) -> tuple[list[Form], Shown] | None:
    """Return the forms of arrays to make, and how the results are seen of them; None if one is of none, or of another's memory."""
    forms: list[Form] = [(array.shape, array.dtype) for array in made]
    places, shown = Places(made), Shown()
    for value in results:
        k = places.of(value)
        if k is None or value is None:
            shown.append(None)
        elif _is_all(made[k], value):
            forms[k] = (value.shape, value.dtype)
            shown.append((k, None))
        else:
            shown.append((k, view_of(made[k], value)))
    found = [value for value in results if value is not None]
    return (forms, shown) if len(found) == len(shown) - shown.count(None) and apart(found) else None


def _maker(form: Form, *, aligned: bool = False) -> Callable[[], Tensor]:
    """Return what makes new tensors; large ones in memory that is used again, and those that begin at a cache line."""
    if aligned or _is_large(form):
        return lambda: torch.from_numpy(fresh(*form, aligned=aligned))
    return lambda: torch.from_numpy(np.empty(*form))


def _is_large(form: Form) -> bool:
    return prod(form[0]) * form[1].itemsize >= LARGE


def _seen(made: Tensor, view: View) -> Tensor:
    """Return what is seen of a tensor that was made: no view to PyTorch."""
    return torch.from_numpy(view(made.numpy()))


def _is_all(array: Array, value: Array) -> bool:
    """Say whether a value that lies in an array is all of it, perhaps with other axes."""
    return value.flags.c_contiguous and value.nbytes == array.nbytes


class _Kind:
    """Calls of one kind: how often they were done from arrays, when they are learnt next, and what does them while nobody does."""

    def __init__(self) -> None:
        self.times, self.learnt, self.idle = 0, OFTEN, list[Light]()

    def do(self, tensors: Sequence[Any]) -> tuple[Any, ...] | None:
        """Do a call, if its tensors have memory and it is known on the threads that it is to run on; nobody else has what does it."""
        tried = list[Light]()
        try:
            while True:
                tried.append(self.idle.pop())  # another thread that calls at the same time goes the ordinary way
                found = tried[-1](tensors)
                if found is not None:
                    return found
        except (IndexError, RuntimeError):  # nothing is left; a tensor that is sparse, or stands for others, has no memory
            return None
        finally:
            self.idle += tried

    def learn(self, passes: Passes, work: Work, groups: Groups) -> None:
        """Hear of a call that is about to be done from arrays."""
        self.times += 1
        if self.times == self.learnt:
            self.learnt *= 2  # what cannot be learnt now, since another thread is at it, may be later
            light = Light.of(passes, work, groups)
            self.idle += [] if light is None or any(light.is_like(other) for other in self.idle) else [light]


_kinds: dict[Any, _Kind] = {}


def done(passes: Passes, work: Work, name: Any, groups: Groups) -> tuple[Any, ...] | None:
    """Return what a pass makes of lists of tensors, if calls like this one are done so; else None, and nothing is done.

    Parameters
    ----------
    passes : Passes
    work : callable
        The pass.
    name : hashable
        What tells it from the others of these passes.
    groups : lists of tensors
    """
    if passes.alike is None:
        return None
    tensors = [*chain(*groups)]
    key = _key((*passes.alike, name), tensors)
    kind = _kinds.get(key)
    if kind is None:
        if key is not None:
            _keep(key, _Kind())
        return None
    found = kind.do(tensors)
    if found is None:
        kind.learn(passes, work, groups)
    return found


def known(passes: Passes, name: Any, tensors: Sequence[Any]) -> Known | None:
    """Return what does a call on one list of tensors, and returns None if it cannot; None if such calls are not learnt: nothing is noted.

    A caller need not have checked shapes: a call that is refused for them is never learnt.
    """
    kind = None if passes.alike is None else _kinds.get(_key((*passes.alike, name), tensors))
    return kind.do if kind is not None and kind.idle else None


def _key(name: tuple[Any, ...], tensors: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return what a call depends on beside the numbers in its tensors; None if one of them may have other numbers than its memory."""
    key = [*name]
    for value in tensors:
        if value is None:
            key.append(None)
        elif type(value) not in KINDS or not value.is_cpu or value.is_neg():
            return None
        else:
            key += value.shape, value.dtype
    return tuple(key)


def _keep(key: Any, kind: _Kind) -> None:
    """Remember a kind of calls, in the place of one that came seldom where there are many."""
    if len(_kinds) >= KEPT:
        seldom, _ = min(list(_kinds.items()), key=lambda item: item[1].times)
        _kinds.pop(seldom, None)
    _kinds[key] = kind
