"""The functions of second order, done again as they were recorded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ..common.layer import Pass
from ..common.second import Values
from .again import TAKEN, Again, arrays_of, with_arrays
from .call import Call
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

    def backward_backward(self, twice: Pass, by_inputs: Pass, through: Pass, u: Any, tape2: Any, only: Any = None) -> Any:
        kind, works = self.records["Grads"], (twice, by_inputs, through)
        if type(u) is not kind or not isinstance(tape2, self.records["Tape2"]) or not self.repeats(tape2.tape):
            return super().backward_backward(*works, u, tape2, only)
        asked = self.twice_asked(only)

        def work(call: Call, again: Any, *u: Any) -> Any:
            return self.twice(works, call.asking(asked), kind(*u), again)

        return self._beyond(("backward_backward", asked), tape2, u, work)

    def along(self, work: Pass, call: Callable[[], Any], v: Any, tape2: Any) -> Values:
        kind = self.records["Grads"]
        if type(v) is not kind or not self.repeats(tape2.tape):
            return super().along(work, call, v, tape2)
        found = self._beyond("along", tape2, v, lambda call, again, *v: tuple(self.ran_along(work, call, kind(*v), again).values()))
        return dict(zip(self.links["along"].handed, found, strict=True))

    def hessian(self, work: Pass, call: Callable[[], Any], v: Any, tape2: Any, moved: Values, bent: Any) -> Any:
        kind, count = self.records["Grads"], len(moved)
        if type(v) is not kind or not self.repeats(tape2.tape):
            return super().hessian(work, call, v, tape2, moved, bent)

        def work_again(call: Call, again: Any, bent: Any, *rest: Any) -> Any:
            taken = dict(zip(moved, rest[:count], strict=True))
            return self.ran_hessian(work, call, kind(*rest[count:]), again, taken, bent)

        return self._beyond("hessian", tape2, (bent, *moved.values(), *v), work_again)

    def _beyond(self, name: Hashable, tape2: Any, given: Sequence[Any], work: Callable[..., Any]) -> Any:
        """Return ``work(call, tape2, *given)``, with the call of a tape that keeps all; from its arrays alone, where it is recorded."""

        def ordinary(trace: Trace | None, *arrays: Any) -> Any:
            taken, (dy, saved, *given) = with_arrays(tape2.tape, arrays[:TAKEN]), arrays[TAKEN:]
            return work(self.taped(taken, trace)[0], tape2._replace(tape=taken, dy=dy, saved=saved), *given)

        arrays = (*arrays_of(tape2.tape), tape2.dy, tape2.saved, *given)
        return self.again(self.recordings, (name, tape2.tape.steps), arrays, ordinary)
