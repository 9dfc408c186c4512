"""A layer that does calls again as they were recorded (see `replay`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from .call import Call
from .checked import Checked
from .memory import SKETCH
from .replay import HEARD, Given, Heard, Recording, Recordings, flattened, key_of
from .segments import Marks
from .trace import Path, Trace

Array = np.ndarray
TAPED = ("inputs", "params", "state", "saved")  # what a tape has of arrays
TAKEN = len(TAPED)


class Again(Checked):
    """A cell's interface, and the recordings of its calls."""

    @cached_property
    def recordings(self) -> Recordings:
        return Recordings()

    def recorded(self, recordings: Recordings, name: Any, given: Given, work: Path) -> tuple[Recording | None, list[Array]]:
        """Return a recording of a call, or None, and the arrays that it is given."""
        arrays = flattened(given)
        key = key_of(name, given, arrays) if SKETCH.get() is None else None
        if key is None or (self.indices and any([getattr(given[0], name).dtype != np.int64 for name in self.indices])):
            return None, arrays
        recording = recordings.take(key, given, work)
        if self.indices and recording is not None:
            self.check_indices(given[0]._asdict(), recording.call.sizes)
        return recording, arrays

    def again(self, recordings: Recordings, name: Any, given: Given, work: Path) -> Any:
        """Do what was recorded of a call like this one; else go the ordinary way, ``work(None, *given)``."""
        recording, arrays = self.recorded(recordings, name, given, work)
        if recording is None:
            return work(None, *given)
        heard, made = HEARD.get(), recording.new()
        result = recording(arrays, made)
        if heard is None:
            recordings.give(recording)
        else:
            heard.append((recording, arrays, made))
        return result

    @contextmanager
    def heard(self) -> Iterator[Heard]:
        """Return those recordings that are done inside, which are the caller's then."""
        token = HEARD.set(found := Heard())
        try:
            yield found
        finally:
            HEARD.reset(token)

    def repeats(self, tape: Any) -> bool:
        """Say whether what is done with a tape depends on shapes alone."""
        if not isinstance(tape, self.records["Tape"]):
            return False
        return tape.lengths is None and tape.reverse is False and not isinstance(tape.saved, Marks)

    def taped(self, tape: Any, trace: Trace | None = None) -> tuple[Call, Array | None]:
        """Return the call that a tape is of, ready to run again, and its lengths in the caller's order."""
        keep, given = not isinstance(tape.saved, Marks), (tape.inputs, tape.params, tape.state, tape.steps, tape.lengths, tape.reverse)
        call, _, lengths = self.call(*given, keep=keep, trace=trace)
        return call, lengths


def arrays_of(tape: Any) -> tuple[Any, ...]:
    """Return what a tape has of arrays."""
    return tape.inputs, tape.params, tape.state, tape.saved


def with_arrays(tape: Any, arrays: Sequence[Any]) -> Any:
    """Return a tape with other arrays."""
    return tape._replace(**dict(zip(TAPED, arrays, strict=True)))
