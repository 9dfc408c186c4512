"""What a pass is linear in: where a caller gives nothing for it, what depends on it alone is nothing too (see ``runtime.cpu.nothing``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ...program.dependence import Dependence, dependence, of_arrays
from ...program.imperative import Program
from ..source import Source

NOTHING: frozenset[str] = frozenset()


@dataclass
class Given:
    """What a recurrence is linear in.

    Attributes
    ----------
    program : Program
    sources : mapping
        Python's expression of each value; none for a pass whose caller gives all.
    """

    program: Program
    sources: Mapping[str, Source] = field(default_factory=dict)

    @cached_property
    def values(self) -> Dependence:
        """On which of them each value of the recurrence depends."""
        return dependence(self.program, self.sources)

    @cached_property
    def arrays(self) -> Dependence:
        """On which of them all that an array of the program has depends."""
        return of_arrays(self.program, self.values)

    def behind(self, value: str) -> frozenset[str]:
        """Return those on which alone a value or an array depends; none where that is something in any case.

        One of all of them is given, or the pass would not run.
        """
        found = self.values.get(value, self.arrays.get(value, NOTHING))
        return NOTHING if found == frozenset(self.sources) else found

    def perhaps(self, values: Iterable[str]) -> bool:
        """Say whether one of some values may be nothing."""
        return any(self.behind(value) for value in values)

    def behind_array(self, array: str) -> frozenset[str]:
        """Return the same for an array of the program."""
        found = self.arrays.get(array, NOTHING)
        return NOTHING if found == frozenset(self.sources) else found

    def named(self, values: Iterable[str]) -> tuple[str, list[Source]]:
        """Return a name for the condition that one of some values is something, ``with_W`` for W_i and W_f, and their expressions."""
        found = [self.sources[value] for value in self.sources if value in set(values)]
        roles = [re.sub(r'^given\["(?:\w+\.)?|"\]$', "", source.text) for source in found]
        alike = 0
        while len({role[: alike + 1] for role in roles}) == 1 and alike < len(roles[0]):
            alike += 1
        return f"with_{roles[0][:alike].strip('_') or 'some'}", found
