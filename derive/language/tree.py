"""The expression tree of a cell's text: what the parser makes and everything else reads.

A text as it is written may have blocks, numbered parameters and calls of its own functions (`derive.language.unroll` and `functions` put
plain lines for them, which all that follows reads).

Nodes are frozen and compare by content; where an expression stood in the text (`span`) does not take part in comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True)
class Span:
    """A place in a cell's text: 1-based `line`, 0-based `column`, exclusive `end`."""

    line: int
    column: int
    end: int


NOWHERE = Span(0, 0, 0)


@dataclass(frozen=True)
class Expr:
    """Base class of all expressions."""

    span: Span = field(default=NOWHERE, compare=False, kw_only=True, repr=False)


@dataclass(frozen=True)
class Number(Expr):
    """A numeric literal, exact: `0.1` is 1/10."""

    value: Fraction


@dataclass(frozen=True)
class Name(Expr):
    """A variable: an input, a parameter, a state (`s`), its previous value (`s_prev`), a constant or an assigned name."""

    id: str


@dataclass(frozen=True)
class Negative(Expr):
    """`-operand`."""

    operand: Expr


@dataclass(frozen=True)
class Binary(Expr):
    """`left op right`, elementwise with broadcasting of scalars; `op` is one of ``+ - * /``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Power(Expr):
    """`base ** exponent`, elementwise, with a constant exponent."""

    base: Expr
    exponent: Fraction


@dataclass(frozen=True)
class MatMul(Expr):
    """`left @ right`: matrix-vector product, or the inner product of two vectors."""

    left: Expr
    right: Expr


@dataclass(frozen=True)
class Transpose(Expr):
    """`operand.T` of a matrix."""

    operand: Expr


@dataclass(frozen=True)
class Concat(Expr):
    """`[a, b, …]`: the vectors one after the other."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Compare(Expr):
    """`left op right` with `op` one of ``< <= > >=``; only as the first argument of `where`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Call(Expr):
    """`function(args…)` of a whitelisted function; `eye` is `Call("eye", ())`."""

    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Heads(Expr):
    """The number of heads, a size: the second argument of `merge` and `part`, which a text does not write."""

    size: str


@dataclass(frozen=True)
class Indexed(Expr):
    """`name[variable + offset]`, one of several parameters; without a variable `name[offset]`.  Only in a text as it is written."""

    name: str
    variable: str
    offset: int


@dataclass(frozen=True)
class Assignment:
    """One line: `target = value`, or `a, b, c = split(value, 3)` with several targets (`value` is then the vector that is split)."""

    targets: tuple[str, ...]
    value: Expr
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Block:
    """`for variable in range(start, stop):` and the lines that it repeats.  Only in a text as it is written."""

    variable: str
    start: int
    stop: int
    body: tuple[Statement, ...]
    span: Span = field(default=NOWHERE, compare=False, repr=False)


Statement = Assignment | Block
