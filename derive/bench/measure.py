"""Timing calls that take turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .record import Timing

K = TypeVar("K")

QUIET = 0.01  # seconds; a system may book a running thread's time as late as that
PATIENCE = 0.5  # seconds that a turn waits at most for the threads of the one before
AWAKE = 0.005  # seconds of calls that are not counted, before each that is
LONG = 0.2  # seconds of a call beside which its beginning does not matter
BRIEF = 0.1  # seconds that the calls of one contender take together at least
TRIES = 3  # calls of each way to do the same, before one is chosen


@dataclass(frozen=True)
class Limits:
    """How many rounds are counted: `runs`, or fewer if one contender takes longer than `seconds`, but not fewer than `least`.

    There are more, until one contender has taken `brief` seconds, where calls are so short that so few say little. Each of its calls counts
    as its fastest: one that compiled something is no reason to stop.
    """

    runs: int = 21
    least: int = 5
    seconds: float = 4.0
    brief: float = 0.0

    def reached(self, count: int, spent: float, quickest: float) -> bool:
        """Say whether so many rounds are enough, in which the contender that took longest has taken `spent` seconds; the slowest one's
        `quickest` call took so long.
        """
        return (count >= self.runs and count * quickest >= self.brief) or (count >= self.least and spent >= self.seconds)


def wait_until_quiet() -> None:
    """Return when no thread of this process works any more.

    OpenMP's threads, those of PyTorch's products among them, do not sleep after a call but spin for some milliseconds, in case another
    follows: on as many cores as there are threads, whoever is measured next shares a core with them.
    """
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(QUIET)
        if time.process_time() - before < QUIET / 10:
            return


@dataclass(frozen=True)
class Clock:
    """Where the time comes from, and what each turn waits for: nothing, unless there is a `quiet`."""

    now: Callable[[], float] = time.perf_counter
    quiet: Callable[[], None] | None = None


def turns(number: int, count: int) -> list[int]:
    """Return the order of `count` contenders in a round.

    Whoever follows another finds a machine that the other has left behind: threads that still spin, caches full of other numbers.  Nobody
    may always have the same one before it, nor itself, which leaves behind just what suits it.  So the orders are those of E. J. Williams
    (1949, Experimental designs balanced for the estimation of residual effects of treatments): over `count` rounds, or twice as many if it
    is odd, each contender follows each other one equally often, save for the steps from one round to the next, where it is never the same.
    Two contenders alternate.
    """
    zigzag = [k // 2 if k % 2 == 0 else -(k + 1) // 2 for k in range(count)]
    order = [(place + number * (count > 2)) % count for place in zigzag]
    return order[::-1] if count % 2 and number % 2 else order


def interleaved(calls: Sequence[Callable[[], object]], limits: Limits, clock: Clock) -> list[list[float]]:
    """Return the counted times of each call, as many of each: they take turns, so that a machine that slows down slows all of them.

    Without a quiet, one turn follows the other at once, as the operations of a program do, and every call is counted after a round of them,
    in which each finds its memory: of few long calls, those that wait for the system would be many.  With it, a turn begins when the
    others' threads rest; then come calls that are not counted, which wake the contender's own threads and fill the caches: one, or several
    if they are short; none if the call is long.
    """
    if clock.quiet is None:
        for k in turns(0, len(calls)):
            calls[k]()
    counted: list[list[float]] = [[] for _ in calls]
    spent, quickest = [0.0 for _ in calls], [math.inf for _ in calls]
    while not limits.reached(len(counted[0]), max(spent), max(quickest)):
        for k in turns(len(counted[0]), len(calls)):
            begin = clock.now() if clock.quiet is None else _rested(calls[k], counted[k], clock.quiet, clock)
            start = clock.now()
            calls[k]()
            end = clock.now()
            counted[k].append(end - start)
            spent[k], quickest[k] = spent[k] + end - begin, min(quickest[k], end - start)
    return counted


def _rested(call: Callable[[], object], counted: Sequence[float], quiet: Callable[[], None], clock: Clock) -> float:
    """Wait for the others' threads, and wake the contender's own; return when that began."""
    quiet()
    begin = clock.now()
    if not counted or counted[-1] < LONG:
        call()
        while clock.now() - begin < AWAKE:
            call()
    return begin


def fastest(calls: Mapping[K, Callable[[], object]], now: Callable[[], float] = time.perf_counter) -> K:
    """Return which of several ways to do the same is the fastest: the least time of a few calls of each, after a first that compiles it."""
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(TRIES):
        for name, call in calls.items():
            begin = now()
            call()
            best[name] = min(best[name], now() - begin)
    return min(best, key=lambda name: best[name])


def timing(times: Sequence[float], how: str = "") -> Timing:
    """Return the median of times, and their spread."""
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else (middle,) * 3
    return Timing(middle, (high - low) / middle if middle else 0.0, len(times), how)
