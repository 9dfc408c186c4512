"""Timing calls that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .record import Timing

QUIET = 0.01  # seconds; a system may book a running thread's time as late as that
PATIENCE = 0.5  # seconds that a turn waits at most for the threads of the one before
AWAKE = 0.005  # seconds of calls that are not counted, before each that is
LONG = 0.2  # seconds of a call beside which its beginning does not matter


@dataclass(frozen=True)
class Limits:
    """How many calls are counted: `runs`, or fewer if they take longer than `seconds` together, but not fewer than `least`."""

    runs: int = 21
    least: int = 5
    seconds: float = 4.0

    def reached(self, count: int, spent: float) -> bool:
        return count >= self.runs or (count >= self.least and spent >= self.seconds)


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
    """Where the time comes from."""

    now: Callable[[], float] = time.perf_counter
    quiet: Callable[[], None] = wait_until_quiet


def interleaved(calls: Sequence[Callable[[], object]], limits: Limits, clock: Clock) -> list[list[float]]:
    """Return the counted times of each call, taken in turn, so that a machine that slows down slows all of them.

    Each turn begins when the others' threads rest.  Then come calls that are not counted, which wake the contender's own threads and fill
    the caches: one, or several if they are short; none if the call is long.
    """
    counted: list[list[float]] = [[] for _ in calls]
    spent = [0.0 for _ in calls]
    while waiting := [k for k, times in enumerate(counted) if not limits.reached(len(times), spent[k])]:
        for k in waiting:
            clock.quiet()
            begin = clock.now()
            if not counted[k] or counted[k][-1] < LONG:
                _wake(calls[k], begin, clock)
            start = clock.now()
            calls[k]()
            end = clock.now()
            counted[k].append(end - start)
            spent[k] += end - begin
    return counted


def _wake(call: Callable[[], object], begin: float, clock: Clock) -> None:
    call()
    while clock.now() - begin < AWAKE:
        call()


def timing(times: Sequence[float]) -> Timing:
    """Return the median of times, and their spread."""
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else (middle,) * 3
    return Timing(middle, (high - low) / middle if middle else 0.0, len(times))
