"""What a pass is linear in: where a caller gives nothing for it, what depends on it alone is nothing too (see ``runtime.cpu.nothing``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ...program.dependence import NOTHING, Dependence, dependence, of_arrays
from ...program.imperative import Program
from ..signature import as_given
from ..source import Source


@dataclass
class Given:
    """What a recurrence is linear in.

    Attributes
    ----------
    program : Program
    roles : mapping
        What each value is given as; none for a pass whose caller gives all.
    """

    program: Program
    roles: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def values(self) -> Dependence:
        """On which of them each value of the recurrence depends."""
        return dependence(self.program, self.roles)

    @cached_property
    def arrays(self) -> Dependence:
        """On which of them all that an array of the program has depends."""
        return of_arrays(self.program, self.values)

    def behind(self, value: str) -> frozenset[str]:
        """Return those on which alone a value or an array depends; none where that is something in any case.

        One of all of them is given, or the pass would not run.
        """
        return self._unless_all(self.values.get(value, self.arrays.get(value, NOTHING)))

    def perhaps(self, values: Iterable[str]) -> bool:
        """Say whether one of some values may be nothing."""
        return any(self.behind(value) for value in values)

    def behind_array(self, array: str) -> frozenset[str]:
        """Return the same for an array of the program."""
        return self._unless_all(self.arrays.get(array, NOTHING))

    def _unless_all(self, found: frozenset[str]) -> frozenset[str]:
        return NOTHING if found == frozenset(self.roles) else found

    def named(self, values: frozenset[str]) -> tuple[str, list[Source]]:
        """Return a name for the condition that one of some values is something, ``with_W`` for W_i and W_f, and their expressions."""
        found = [role for value, role in self.roles.items() if value in values]
        ends = [role.rpartition(".")[2] for role in found]
        alike = 0
        while len({end[: alike + 1] for end in ends}) == 1 and alike < len(ends[0]):
            alike += 1
        return f"with_{ends[0][:alike].strip('_') or 'some'}", [as_given(role) for role in found]
