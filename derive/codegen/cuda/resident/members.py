"""What the blocks of a group, its members, do together: they leave numbers in the device's memory, meet, and read what others left."""

from __future__ import annotations

from collections.abc import Sequence

from ...source import Source, Tree, add, assign, block, code, do, name, store
from ..features import Reduction

M = name("m")


class Members:
    """The members of a group; there is one only where features cannot be `spread`.

    `meetings` is how often they meet in a step, `joins` how many numbers of a row they put together.
    """

    def __init__(self, spread: bool) -> None:
        self.spread = spread
        self.meetings = 0
        self.joins = 0

    def alone(self, lines: Sequence[Tree]) -> list[Tree]:
        """Return what a block does that is alone in its group."""
        return [block(code("if MEMBERS == 1:", uses=("MEMBERS",)), lines)] if self.spread else list(lines)

    def several(self, lines: Sequence[Tree]) -> list[Tree]:
        """Return what a member does that has others beside it."""
        return [block(code("if MEMBERS > 1:", uses=("MEMBERS",)), lines)] if self.spread else []

    def arrive(self) -> list[Tree]:
        """Return what says that a member has written what others read."""
        self.meetings += 1
        return [do(code("arrive(arrivals, group)", uses=("arrive", "arrivals", "group"))), add("meetings", code("1"))]

    def wait(self) -> Tree:
        """Return what waits until all have."""
        return do(code("wait(arrivals, group, meetings)", uses=("wait", "arrivals", "group", "meetings")))

    def joined(self, variables: Sequence[str], how: Reduction) -> list[Tree]:
        """Return what puts members' numbers of a row together: all combine the same ones in the same order."""
        if not self.spread:
            return []
        first, self.joins = self.joins, self.joins + len(variables)
        own, found = name("member"), list(enumerate(variables, first))
        left = [store(place(number, own), name(variable)) for number, variable in found]
        lines = [block(code("if running == 1 and lane == 0:", uses=("running", "lane")), left), *self.arrive(), self.wait()]
        for number, variable in found:
            combined = assign(variable, how.both(name(variable), place(number, M)))
            head = code("for m in range(lane, MEMBERS, LANES):", uses=("lane", "MEMBERS", "LANES"))
            lines += [assign(variable, how.start), block(head, [combined], defines=("m",)), how.by_team(variable)]
        return self.several(lines)


def place(number: int, member: Source) -> Source:
    """Return where a member leaves a number of a row."""
    return code("sums[(before * SUMS + {}) * MEMBERS + {}, seq]", number, member, uses=("sums", "before", "SUMS", "MEMBERS", "seq"))
