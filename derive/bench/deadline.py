"""Contenders that take too long to compile are left out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

SECONDS = 120.0  # for the first call of a phase, which compiles


class TooLong(BaseException):
    """Time is up.  No `Exception`: compilers catch those of what they try, and go on."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `TooLong` in the block when it has taken so long.

    It is raised by an alarm, between two steps of Python: code in C, XLA's compiler for one, comes to its end first.  Where there are no
    alarms, on Windows and in threads other than the main one, there is no deadline.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Patience:
    """How long a first call may take, and who has lost it: a loop that is unrolled takes no less time with more steps.

    Attributes
    ----------
    seconds : float
    lost : dict
        The number of steps that was too long, by peer, cell and phase.
    """

    seconds: float = SECONDS
    lost: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def left(self, peer: str, cell: str, phase: str, steps: int) -> bool:
        """Say whether a peer is worth a try."""
        return steps < self.lost.get((peer, cell, phase), inf)

    def lose(self, peer: str, cell: str, phase: str, steps: int) -> None:
        """Remember that it took too long; it was worth a try, so there are fewer steps than before."""
        self.lost[peer, cell, phase] = steps
