"""The intermediate representation: named equations and the recurrence that they make up.

A `Recurrence` is what is computed over a sequence: static equations before the loop (`prologue`), the equations of one step (`body`),
sums over time and batch (`accumulators`) and static equations after the loop (`epilogue`).  Equations are in single-assignment form:
each names its value once, and refers to operands by name.  Elementwise mathematics is a scalar SymPy expression over those names:
since elementwise products commute, a scalar expression *is* a Hadamard expression.

Both levels are closed under differentiation: see `derive.calculus.adjoint`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import sympy as sp

from ..language.sizes import Shape, Size
from .naming import Names
from .symbols import is_value


@dataclass(frozen=True)
class Type:
    """Shape of one row of a value (`()`, `(n,)` or `(m, k)`), whether there is a row for each sequence of the batch, whether it is an
    index, and whether there is one for each head.
    """

    shape: Shape
    batched: bool
    integer: bool = False
    headed: bool = False


@dataclass(frozen=True)
class Label:
    """Where a name comes from, for typesetting.

    ``kind`` is one of ``own`` (the author's name), ``previous`` (state `of` at t-1), ``preactivation`` (the argument of the function
    that makes `of`), ``part`` (an unnamed subexpression), ``cotangent`` (of `of`), ``carried`` (the cotangent of state `of` that later
    steps hand back).  A part that is known by what it is to `of` has a `role`: ``mean``, ``std``, ``normalised`` (`of` less its
    mean, over its ``std``); one that has an `of` and no role is a contribution to the cotangent of that.
    """

    kind: str
    of: str = ""
    role: str = ""


@dataclass(frozen=True)
class Node:
    """The right side of an equation."""

    def operands(self) -> tuple[str, ...]:
        """Return the names that the node reads, in order."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return tuple(v for v in values if isinstance(v, str) and v)

    def rename(self, names: Mapping[str, str]) -> Node:
        """Return the node with operands renamed by `names`."""
        changes: dict[str, Any] = {f: names.get(v, v) for f in self.__dataclass_fields__ if isinstance(v := getattr(self, f), str)}
        return replace(self, **changes)


@dataclass(frozen=True)
class Map(Node):
    """Elementwise expression over named values, with broadcasting of scalars and of static values over the batch."""

    expr: sp.Expr

    def operands(self) -> tuple[str, ...]:
        return tuple(sorted(s.name for s in self.expr.free_symbols if is_value(s)))

    def rename(self, names: Mapping[str, str]) -> Map:
        node = super().rename(names)
        assert isinstance(node, Map)
        return replace(node, expr=self.expr.xreplace({sp.Symbol(old): sp.Symbol(new) for old, new in names.items()}))


@dataclass(frozen=True)
class Clipped(Map):
    """The value itself, whose cotangent is clipped to `low` … `high` on its way back; `number` tells one such from another."""

    low: sp.Expr
    high: sp.Expr
    number: int


@dataclass(frozen=True)
class MatVec(Node):
    """``matrix @ vector + plus``; the matrix is static, `plus` may be empty."""

    matrix: str
    vector: str
    plus: str = ""


@dataclass(frozen=True)
class MatVecT(Node):
    """``matrix.T @ vector + plus``; the matrix is static, `plus` may be empty."""

    matrix: str
    vector: str
    plus: str = ""


@dataclass(frozen=True)
class Outer(Node):
    """``left @ right.T``, a matrix; among the accumulators its sum over steps and batch."""

    left: str
    right: str


@dataclass(frozen=True)
class Total(Node):
    """The value itself, summed: over steps and batch for a static result, over steps for a batched one.  Only among the accumulators."""

    value: str


@dataclass(frozen=True)
class FeatureSum(Node):
    """Sum of a vector's features, or of all elements of a matrix: a scalar."""

    value: str


@dataclass(frozen=True)
class AxisSum(Node):
    """Sum of a matrix over one axis, a vector along the other: over axis 1 the sum of each row, over axis 0 that of each column."""

    value: str
    axis: int


@dataclass(frozen=True)
class Along(Node):
    """The matrix that has the vector `value` along `axis`, as often as `size` says: entry (i, j) is v_i for axis 0, v_j for axis 1.

    It is no memory and no computation: what reads entry (i, j) reads v_i, or v_j.
    """

    value: str
    axis: int
    size: Size


@dataclass(frozen=True)
class Repeat(Node):
    """A value that all heads have in common, for each of them; like `Along` no memory and no computation."""

    value: str


@dataclass(frozen=True)
class HeadSum(Node):
    """Sum over heads."""

    value: str


@dataclass(frozen=True)
class Merge(Node):
    """The heads' values as one, which has none: vectors one after the other, numbers as a vector, static matrices one below the other,
    static vectors as the rows of a matrix.  It lies in memory as they do.
    """

    value: str


@dataclass(frozen=True)
class Part(Node):
    """Each head's part of a value: the inverse of `Merge`."""

    value: str


@dataclass(frozen=True)
class LogSumExp(Node):
    """``log Σ_k exp(v_k)`` over a vector's features, a scalar; computed with the largest feature taken out, so that it does not
    overflow.
    """

    value: str


@dataclass(frozen=True)
class Transpose(Node):
    """A static matrix transposed."""

    matrix: str


@dataclass(frozen=True)
class Concat(Node):
    """Vectors one after the other (or, for static matrices, their rows)."""

    parts: tuple[str, ...]

    def operands(self) -> tuple[str, ...]:
        return self.parts

    def rename(self, names: Mapping[str, str]) -> Concat:
        return Concat(tuple(names.get(p, p) for p in self.parts))


@dataclass(frozen=True)
class Slice(Node):
    """Features (or rows of a static matrix) `start` to `start + size` of a value."""

    value: str
    start: Size
    size: Size


@dataclass(frozen=True)
class Pick(Node):
    """Feature number `index` of a vector, a scalar; `index` is an integer a row."""

    value: str
    index: str


@dataclass(frozen=True)
class Spread(Node):
    """The vector of `size` features that is the scalar `value` at `index` and zero elsewhere."""

    value: str
    index: str
    size: Size


@dataclass(frozen=True)
class Equation:
    """``name = node``.

    `tag` is the number of the printed equation that it belongs to (F3, B7); an equation that is not `shown` is printed inside those
    that use it.
    """

    name: str
    node: Node
    tag: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Carry:
    """A carried state: `previous` is its value before the step, `value` the name of its value after it."""

    previous: str
    value: str


@dataclass(frozen=True)
class Recurrence:
    """A computation over a sequence.

    Attributes
    ----------
    name : str
    reverse : bool
        Whether the loop runs from the last step to the first.
    types, labels : mapping
        Type and origin of every name.
    constants : mapping
        Value of each of the cell's constants, by name.
    statics : tuple of str
        What is given once, without a batch axis: parameters, constants, cotangents of accumulators.
    contexts : tuple of str
        Batched values that are given once a sequence.
    sequences : tuple of str
        Batched values that are read one step at a time.
    carries : tuple of Carry
        Each state's value before the first step is given, that after the last is a result.
    prologue, body, accumulators, epilogue : tuple of Equation
        Static equations before the loop; one step; sums over steps; static equations after the loop.
    written : tuple of str
        Values of the body (or sequences, or previous states) that are kept at every step.
    results : tuple of str
        Accumulators and values of the epilogue that are handed out.
    heads : str
        The size that is the number of heads, or nothing.
    sparse : frozenset of str
        Values that are mostly zero: see `derive.calculus.spikes`.
    """

    name: str
    reverse: bool
    types: Mapping[str, Type] = field(compare=False, repr=False)
    labels: Mapping[str, Label] = field(compare=False, repr=False)
    constants: Mapping[str, sp.Rational] = field(default_factory=dict, compare=False, repr=False)
    statics: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    carries: tuple[Carry, ...] = ()
    prologue: tuple[Equation, ...] = ()
    body: tuple[Equation, ...] = ()
    accumulators: tuple[Equation, ...] = ()
    epilogue: tuple[Equation, ...] = ()
    written: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    heads: str = ""
    sparse: frozenset[str] = frozenset()

    def equations(self) -> Iterator[Equation]:
        """Yield all equations, in the order in which they are computed."""
        yield from self.prologue
        yield from self.body
        yield from self.accumulators
        yield from self.epilogue

    @cached_property
    def laid(self) -> dict[str, Along]:
        """The matrices that are a vector along an axis, by name."""
        return {eq.name: eq.node for eq in self.equations() if isinstance(eq.node, Along)}

    @cached_property
    def repeated(self) -> dict[str, str]:
        """The values that all heads have in common, by the names that they have for each."""
        return {eq.name: eq.node.value for eq in self.equations() if isinstance(eq.node, Repeat)}

    @cached_property
    def shown(self) -> dict[str, str]:
        """The values that lie in memory, by the names that they have along an axis or for each head."""
        found: dict[str, str] = {}
        for eq in self.equations():
            if isinstance(eq.node, Along | Repeat):
                found[eq.name] = found.get(eq.node.value, eq.node.value)
        return found

    def names(self, *more: str) -> Names:
        """Return what hands out names that the recurrence has not, nor `more`: whoever adds equations asks here."""
        return Names([*self.types, *more])

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every name that is given and not computed."""
        return (*self.statics, *self.contexts, *self.sequences, *(c.previous for c in self.carries))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every name whose value is asked for: kept at every step, handed out, or carried to the next step."""
        return (*self.written, *self.results, *(c.value for c in self.carries))

    def axes(self, name: str) -> Shape:
        """Return the shape of one row of a value, with the axis of heads in front where it has one."""
        kind = self.types[name]
        return (Size.of(self.heads), *kind.shape) if kind.headed else kind.shape

    def batched(self, name: str) -> bool:
        """Say whether `name` has a row a sequence."""
        return self.types[name].batched


VIEWS = (Along, Repeat, Merge, Part)
"""Nodes that show another value, and are neither memory nor a computation."""


def free_names(equations: Iterable[Equation]) -> tuple[str, ...]:
    """Return the names that `equations` read and do not define, in order of first appearance."""
    equations = tuple(equations)
    defined = {eq.name for eq in equations}
    return tuple(dict.fromkeys(name for eq in equations for name in eq.node.operands() if name not in defined))


def downstream(equations: Iterable[Equation], sources: set[str]) -> set[str]:
    """Return `sources` and the names that depend on them."""
    found = set(sources)
    for eq in equations:
        if not found.isdisjoint(eq.node.operands()):
            found.add(eq.name)
    return found


def slices(whole: str, parts: Iterable[str], types: Mapping[str, Type]) -> list[Slice]:
    """Return the slices of `whole` in which parts lie one after the other."""
    start, found = Size(), []
    for part in parts:
        found.append(Slice(whole, start, types[part].shape[0]))
        start = start + found[-1].size
    return found


def prune(rec: Recurrence) -> Recurrence:
    """Return `rec` without equations whose value reaches no result, and without inputs (other than carries) that nothing reads."""
    needed = {*rec.outputs}
    kept: list[Equation] = []
    for eq in reversed(tuple(rec.equations())):
        if eq.name in needed:
            kept.append(eq)
            needed.update(eq.node.operands())
    names = {eq.name for eq in kept}

    def alive(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
        return tuple(eq for eq in equations if eq.name in names)

    return replace(
        rec,
        prologue=alive(rec.prologue),
        body=alive(rec.body),
        accumulators=alive(rec.accumulators),
        epilogue=alive(rec.epilogue),
        statics=tuple(s for s in rec.statics if s in needed),
        contexts=tuple(s for s in rec.contexts if s in needed),
        sequences=tuple(s for s in rec.sequences if s in needed),
    )


def validate(rec: Recurrence) -> Recurrence:
    """Return `rec` after checking that it is in single-assignment form, ordered, typed, and that every output exists; else raise
    ValueError.
    """
    known = set(rec.inputs)
    for eq in rec.equations():
        for name in eq.node.operands():
            if name not in known:
                raise ValueError(f"{rec.name}: `{eq.name}` reads `{name}`, which is not defined before it")
        if eq.name in known:
            raise ValueError(f"{rec.name}: `{eq.name}` is defined twice")
        if eq.name not in rec.types:
            raise ValueError(f"{rec.name}: `{eq.name}` has no type")
        known.add(eq.name)
    for name in rec.outputs:
        if name not in known:
            raise ValueError(f"{rec.name}: output `{name}` is not defined")
    return rec
