"""The functions of second order, done again as they were recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..common.layer import Pass
from ..common.second import Values
from .again import TAKEN, Again, arrays_of, with_arrays
from .trace import Trace

Array = np.ndarray


class Twice(Again):
    """A cell's interface, and the functions of second order."""

    def tangent(self, forward: Pass, work: Pass, v: Any, tape: Any) -> tuple[Array, Any]:
        kind = self.records["Grads"]
        if type(v) is not kind or not self.repeats(tape):
            return super().tangent(forward, work, v, tape)

        def ordinary(trace: Trace | None, *given: Any) -> tuple[Array, Any]:
            taken = with_arrays(tape, given[:TAKEN])
            return self.moved(work, self.taped(taken, trace)[0], kind(*given[TAKEN:]), taken)

        found: tuple[Array, Any] = self.again(self.recordings, ("tangent", tape.steps), (*arrays_of(tape), *v), ordinary)
        return found

    def backward_backward(self, twice: Pass, by_inputs: Pass, through: Pass, u: Any, tape2: Any) -> Any:
        kind = self.records["Grads"]
        if type(u) is not kind or not isinstance(tape2, self.records["Tape2"]) or not self.repeats(tape2.tape):
            return super().backward_backward(twice, by_inputs, through, u, tape2)

        def ordinary(trace: Trace | None, *given: Any) -> Any:
            taken, (dy, saved, *u) = with_arrays(tape2.tape, given[:TAKEN]), given[TAKEN:]
            again = tape2._replace(tape=taken, dy=dy, saved=saved)
            return self.twice((twice, by_inputs, through), self.taped(taken, trace)[0], kind(*u), again)

        given = (*arrays_of(tape2.tape), tape2.dy, tape2.saved, *u)
        return self.again(self.recordings, ("backward_backward", tape2.tape.steps), given, ordinary)

    def along(self, work: Pass, v: Any, tape2: Any) -> Values:
        kind = self.records["Grads"]
        if type(v) is not kind or not self.repeats(tape2.tape):
            return super().along(work, v, tape2)

        def ordinary(trace: Trace | None, *given: Any) -> tuple[Any, ...]:
            taken, (saved, *v) = with_arrays(tape2.tape, given[:TAKEN]), given[TAKEN:]
            again = tape2._replace(tape=taken, saved=saved)
            return tuple(self.ran_along(work, self.taped(taken, trace)[0], kind(*v), again).values())

        given = (*arrays_of(tape2.tape), tape2.saved, *v)
        found = self.again(self.recordings, ("along", tape2.tape.steps), given, ordinary)
        return dict(zip(self.links["along"].handed, found, strict=True))

    def hessian(self, work: Pass, v: Any, tape2: Any, moved: Values, bent: Any) -> Any:
        kind, roles = self.records["Grads"], list(moved)
        if type(v) is not kind or not self.repeats(tape2.tape):
            return super().hessian(work, v, tape2, moved, bent)

        def ordinary(trace: Trace | None, *given: Any) -> Any:
            taken, (dy, saved, bent, *rest) = with_arrays(tape2.tape, given[:TAKEN]), given[TAKEN:]
            again = tape2._replace(tape=taken, dy=dy, saved=saved)
            moved = dict(zip(roles, rest, strict=False))
            return self.ran_hessian(work, self.taped(taken, trace)[0], kind(*rest[len(roles) :]), again, moved, bent)

        given = (*arrays_of(tape2.tape), tape2.dy, tape2.saved, bent, *moved.values(), *v)
        return self.again(self.recordings, ("hessian", tape2.tape.steps), given, ordinary)
