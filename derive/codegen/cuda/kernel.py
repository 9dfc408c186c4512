"""What kernels of every kind have in common: names that they keep for themselves, what they ask of the host, their arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...calculus.ir import Equation
from ...calculus.naming import Names
from ...language.sizes import Size
from ...program.imperative import Program, VectorLoop
from ..layout import OF_ARRAYS, RUNTIME, rows_name
from ..source import SUM, Comment, Source, code, do, name
from .equations import Equations

RESERVED = {
    *("on", "cuda", "real", "widen", "narrow", "t", "batch", "keep", "seq", "b", "row", "kept", "ring", "j", "u", "lane", "lanes", "lead"),
    *("bits", "i", "k", *(f"{row}_ahead" for row in ("row", "row_next", "kept", "kept_next"))),
    *("row_next", "kept_next", "ring_next", "row_sum", "row_max", "add", "range", "lowest", "nan", "steps", "first", "last"),
    *("group", "member", "running", "own", "step", "before", "after", "meetings", "arrivals", "plan", "arrive", "wait", "word", "clear"),
    *("index", "k", "thread", "block", "seq", "min", "max", "ROWS", "LANES", "MEMBERS", "SUMS", "sums", "m", "call"),
    *("head", "within", "across", "slot", "slots", "here"),
    *RUNTIME,
}
ENDS = (*OF_ARRAYS, "_out")
FIRST, J = Source("0"), name("j")  # of a row's numbers: its only one, or the feature at hand
ROW = name("i")  # the row at hand of a matrix, whose columns are features
ALL_STEPS = tuple((given, Source(f"call.{given}")) for given in ("steps", "batch", "keep"))  # what kernels for all steps are given
SYNCHRONISE = do(code("cuda.syncthreads()", uses=("cuda",)))


class Host(Protocol):
    """What a kernel asks of the code that calls it."""

    @property
    def program(self) -> Program: ...

    @property
    def stored(self) -> frozenset[str]:
        """The arrays in the dtype of storage."""

    def static_stored(self, value: str) -> bool:
        """Say whether a static value is in the dtype of storage."""

    def source(self, value: str) -> Source:
        """Return the caller's expression of an array, or of a static value."""

    def size_of(self, named: str) -> Source:
        """Return the caller's expression of a named size."""

    def equations(self, loop: VectorLoop) -> Equations:
        """Return the function of a loop's equations, made once."""

    def say(self, eq: Equation) -> list[Comment]:
        """Return the comment of a shown equation."""

    def note(self, eq: Equation) -> list[Comment]:
        """Return a comment for any equation."""


class Arguments:
    """A kernel's names for what its caller passes, in the order in which they are asked for."""

    def __init__(self, host: Host, names: Names) -> None:
        self.host, self.names = host, names
        self.found: list[tuple[str, Source]] = []
        self._arrays: dict[str, Source] = {}

    def add(self, wish: str, passed: Source) -> Source:
        """Return the kernel's variable of what the caller passes, called as is wished if that name is free."""
        local = self.names.fresh(wish)
        self.found.append((local, passed))
        return name(local)

    def array(self, value: str) -> Source:
        """Return the kernel's variable of an array."""
        if value not in self._arrays:
            self._arrays[value] = self.add(rows_name(value, ENDS), self.host.source(value))
        return self._arrays[value]

    def static(self, value: str, wish: str) -> Source:
        """Return a new variable of a static value: a vector, if of one number."""
        passed = self.host.source(value)
        kind = self.host.program.rec.types[value]
        return self.add(wish, passed if kind.shape or kind.headed else code("{}.reshape(1)", passed))


def column(start: Size, index: Source, source: Callable[[Size], Source]) -> Source:
    """Return the column of a number that is counted from where `start` begins; `source` gives that of a size."""
    if start == Size():
        return index
    return source(start) if index == FIRST else code("{} + {}", source(start), index, binding=SUM)


def widened(stored: bool, value: Source) -> Source:
    """Return a number as kernels compute with it; `stored` says whether it has the dtype of storage."""
    return code("widen({})", value, uses=("widen",)) if stored else value


def narrowed(stored: bool, value: Source) -> Source:
    """Return a number as it is kept, in the dtype of storage if it is `stored`."""
    return code("narrow({})", value, uses=("narrow",)) if stored else value
