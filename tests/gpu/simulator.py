"""A grid of CUDA threads as plain Python: all blocks alive at once, real barriers, twins of the intrinsics, and a detector of races.

A factory `make(on)` defines a kernel with nothing but what the machine `on` offers: `on.cuda`, `on.ptx`, `on.real`, `@on.device` and
`@on.kernel`.  `machine.launch(make(machine), grid, block, shared_bytes, *arguments)` executes it, one greenlet for each thread.

An acquire sees the values of a counter one by one, so that a thread never knows more than it waited for; see `simulated_memory` for races,
and `simulated_grid` for what is ordered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from simulated_cuda import Cuda, Ptx
from simulated_grid import Block, Clock, Meeting, Point, Stamp, Thread, join
from simulated_memory import Memory, Race, Space, global_memory

PATIENCE = 100  # looks at counters, for each thread, while nothing else happens


class Deadlock(Exception):
    """No thread can go on, or threads of a warp wait for each other at different places."""


class Machine:
    """What executes kernels; it computes in `real`, and begins with the first thread or, for `order="backward"`, with the last."""

    me: Thread

    def __init__(self, real: type[np.floating] = np.float32, order: str = "forward") -> None:
        self.real, self.order = real, order
        self.cuda, self.ptx = Cuda(self), Ptx(self)

    @staticmethod
    def device(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    kernel = device

    def launch(self, kernel: Callable[..., None], grid: int | tuple[int, int], block: int, shared_bytes: int, *arguments: Any) -> None:
        """Execute a kernel; arrays are global memory, and get its results.

        Raises
        ------
        Race
            Two accesses conflict and are not ordered.
        Deadlock
            No thread can go on.
        """
        extent = Point(*grid) if isinstance(grid, tuple) else Point(grid, 1)
        blocks = [Block(self, Point(x, y), extent, block, shared_bytes) for y in range(extent.y) for x in range(extent.x)]
        self.threads = [thread for each in blocks for thread in each.threads]
        if self.order == "backward":
            self.threads.reverse()
        space = Space(self)
        passed = [global_memory(f"argument {i}", a, space) if isinstance(a, np.ndarray) else a for i, a in enumerate(arguments)]
        for thread in self.threads:
            thread.greenlet = greenlet(partial(kernel, *passed))
        try:
            self._run()
        finally:
            for thread in self.threads:
                if not thread.greenlet.dead:
                    thread.greenlet.throw()

    def _run(self) -> None:
        """Let threads take turns, each until it waits."""
        self._scheduler, self._ready = getcurrent(), deque(self.threads)
        self._looks = 0  # at counters since something else has happened
        self._histories: dict[int, list[tuple[int, Clock]]] = {}
        while self._ready:
            self.me = self._ready.popleft()
            self.me.state = "running"
            try:
                self.me.greenlet.switch()
            except Exception as error:
                error.add_note(f"in {self.me}")
                raise
            if self.me.greenlet.dead:
                self.me.state, self._looks = "returned", 0
        if any(thread.state != "returned" for thread in self.threads):
            raise Deadlock(self._states())

    def _states(self) -> str:
        places: dict[tuple[Block, str], list[int]] = {}
        for thread in self.threads:
            places.setdefault((thread.block, thread.state), []).append(thread.number)
        return "; ".join(f"block {tuple(block.index)}, {state}: threads {sorted(them)}" for (block, state), them in places.items())

    def meet(self, meeting: Meeting, kind: str, value: Any, exchange: Callable[[list[Any]], Sequence[Any]]) -> Any:
        """Wait for all members, and return what `exchange` gives this one for the values of all."""
        me = self.me
        me.state = f"at {kind}"
        if meeting.brought and meeting.kind != kind:
            raise Deadlock(f"{meeting.kind} and {kind} in one warp: {self._states()}")
        meeting.kind, meeting.brought[me] = kind, value
        if len(meeting.brought) < len(meeting.members):
            self._scheduler.switch()
            return me.taken
        for member, taken in zip(meeting.members, exchange([meeting.brought[member] for member in meeting.members]), strict=True):
            member.taken = taken
        self._ready.extend(member for member in meeting.brought if member is not me)
        meeting.brought, self._looks = {}, 0
        return me.taken

    def release_add(self, counters: Memory, index: Any, value: int) -> None:
        """Add to a counter, and let those who acquire the sum know what this thread did and knows."""
        me, at = self.me, counters.position(index)
        key, history = self._history(counters, index)
        counters.data[at] = (counters.data[at] + value) & 0xFFFFFFFF
        time = me.stamp.time + 1
        me.known = me.known | {key: len(history)}
        history.append((counters.data[at], join(history[-1][1], me.known, {me: time})))
        me.stamp, self._looks = Stamp(me, me.block, time), 0

    def acquire(self, counters: Memory, index: Any) -> int:
        """Return the next value of a counter, or its last one again after the others' turns; know what its release lets know."""
        me, (key, history) = self.me, self._history(counters, index)
        position = max(me.known.get(key, 0), me.seen.get(key, -1) + 1)
        if position == len(history):
            self._let_others_run()
        position = min(position, len(history) - 1)
        value, known = history[position]
        me.seen[key], me.known = position, join(me.known, known, {key: position})
        return value

    def _let_others_run(self) -> None:
        self.me.state = "at acquire"
        self._looks += 1
        if self._looks > PATIENCE * len(self.threads):
            raise Deadlock(self._states())
        self._ready.append(self.me)
        self._scheduler.switch()

    def _history(self, counters: Memory, index: Any) -> tuple[int, list[tuple[int, Clock]]]:
        """Return the values of a counter and what they let know."""
        at = counters.position(index)
        key, value = counters.granules(at)[0], counters.data[at]
        history = self._histories.setdefault(key, [(value, {})])
        if history[-1][0] != value:
            raise Race(f"{counters.label(index)}: a counter of this launch has been written")
        return key, history


__all__ = ["Deadlock", "Machine", "Race"]
