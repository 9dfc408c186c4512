"""The equations of a recurrence as operators, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from ...calculus.ir import (
    Along,
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Merge,
    Part,
    Pick,
    Recurrence,
    Repeat,
    Slice,
    Transpose,
)
from ...calculus.lower import LAYER_NORM_EPSILON
from ...calculus.symbols import EYE, extent_name, is_extent
from ...language.errors import CellError
from .emitter import Emitter, Value, broadcast
from .expression import Expressions
from .operators import Contracted, LayerNormalization, Softmax


class Equations:
    """What the names of a recurrence are in a graph.

    Attributes
    ----------
    rec : Recurrence
    sizes : mapping
        Value of each named size.
    lines : mapping
        The author's lines by tag, which operators have as their text.
    on : Emitter
        Takes the operators.
    values : dict
        What is known, by the recurrence's names.
    """

    def __init__(self, rec: Recurrence, sizes: Mapping[str, int], lines: Mapping[str, str], on: Emitter) -> None:
        self.rec, self.sizes, self.lines, self.on = rec, sizes, lines, on
        self.values: dict[str, Value] = {}
        self.columns: dict[str, Value] = {}

    def run(self, equations: Sequence[Equation]) -> None:
        """Add the operators of equations."""
        for eq in equations:
            if eq.name not in self.values:
                with self.on.belonging_to(eq.name, f"({eq.tag}) {self.lines[eq.tag]}" if eq.tag in self.lines else ""):
                    if isinstance(eq.node, Slice):
                        self.cut(eq.node, equations)
                    else:
                        self.define(eq)

    def define(self, eq: Equation) -> None:
        """Add the operators of an equation; what they make has its name, unless it is a value that there is already."""
        before = len(self.on.nodes)
        value = self.value(eq)
        fresh = any(value.name in node.outputs for node in self.on.nodes[before:])
        self.values[eq.name] = self.on.renamed(value, eq.name) if fresh else value

    # Axes

    def axes(self, name: str) -> tuple[int, ...]:
        """Return the axes that a value has of its own, that of heads included."""
        return tuple(size.evaluate(self.sizes) for size in self.rec.axes(name))

    def whole(self, name: str) -> Value:
        """Return a value with as many elements as it has along its own axes."""
        value, own = self.values[name], self.axes(name)
        return self.on.expanded(value, (*value.dims[: max(len(value.dims) - len(own), 0)], *own))

    def aligned(self, name: str, rank: int) -> Value:
        """Return a value that meets others of `rank` axes: a number, of which there is one a row or a head, has them of one element."""
        value, missing = self.values[name], rank - len(self.rec.types[name].shape)
        return self.on.unsqueezed(value, *range(-missing, 0)) if missing > 0 and value.dims else value

    # Values

    def value(self, eq: Equation) -> Value:
        on, name = self.on, eq.name
        match eq.node:
            case Map(expr=expr):
                return self.map(expr, name)
            case MatVec(matrix=m, vector=v, plus=p):
                return self.plus(self.product(m, v, turned=False), p)
            case MatVecT(matrix=m, vector=v, plus=p):
                return self.plus(self.product(m, v, turned=True), p)
            case Contracted(matrix=m, vector=v, turned=turned):
                return self.contracted(self.whole(m), v, turned)
            case Repeat(value=v):
                own = self.values[v]
                axis = -1 - len(self.rec.types[v].shape)
                return on.unsqueezed(own, axis) if len(own.dims) >= -axis else own
            case Along(value=v, axis=axis):
                return on.unsqueezed(self.whole(v), -1 - axis)
            case Merge(value=v) | Part(value=v):
                whole = self.whole(v)
                lead = len(whole.dims) - len(self.axes(v))
                return whole if self.axes(v) == self.axes(name) else on.reshaped(whole, lead, *self.axes(name))
            case HeadSum(value=v):
                return self.summed(v, -1 - len(self.rec.types[name].shape))
            case FeatureSum(value=v):
                return self.summed(v, *range(-len(self.rec.types[v].shape), 0))
            case AxisSum(value=v, axis=axis):
                return self.summed(v, axis - 2)
            case LogSumExp(value=v):
                whole = self.whole(v)
                return on.made("ReduceLogSumExp", whole, dims=whole.dims[:-1], axes=(-1,), keepdims=0)
            case Softmax(value=v):
                whole = self.whole(v)
                return on.made("Softmax", whole, dims=whole.dims, axis=-1)
            case LayerNormalization(value=v):
                whole = self.whole(v)
                scale = on.reals((1.0,) * self.axes(v)[-1], whole.dims[-1:], "ones")
                return on.made("LayerNormalization", whole, scale, dims=whole.dims, axis=-1, epsilon=float(LAYER_NORM_EPSILON))
            case Transpose(matrix=m):
                return self.turned(self.whole(m))
            case Concat(parts=parts):
                return self.concatenated(parts, -len(self.rec.types[name].shape))
            case Pick(value=v, index=k):
                return self.picked(v, k)
        raise CellError(f"{self.rec.name}: `{name}` has no form in ONNX ({type(eq.node).__name__})")

    def map(self, expr: sp.Expr, name: str) -> Value:
        rank = len(self.rec.types[name].shape)
        side = self.axes(name)[-1] if rank else 0
        extents = {s: sp.Integer(self.sizes[extent_name(s)]) for s in expr.free_symbols if is_extent(s)}

        def atom(symbol: sp.Symbol) -> Value:
            if symbol == EYE:
                return self.on.reals(tuple(tuple(float(i == j) for j in range(side)) for i in range(side)), (side, side), f"eye_{side}")
            return self.aligned(symbol.name, rank)

        return Expressions(self.on, atom).number(expr.xreplace(extents))

    def plus(self, value: Value, rest: str) -> Value:
        return self.on.on_elements("Add", value, self.values[rest]) if rest else value

    def product(self, matrix: str, vector: str, *, turned: bool) -> Value:
        """Return a static matrix times a vector: all rows at once where it is one for all heads."""
        if self.rec.types[matrix].headed:
            return self.contracted(self.whole(matrix), vector, turned)
        rows = self.whole(vector)
        columns = self.whole(matrix) if turned else self.transposed(matrix)
        return self.on.made("MatMul", rows, columns, dims=(*rows.dims[:-1], columns.dims[-1]))

    def contracted(self, matrix: Value, vector: str, turned: bool) -> Value:
        """Return matrices times vectors, each by itself: as products of two matrices, one of which has one row or column."""
        axis = -2 if turned else -1
        single = self.on.unsqueezed(self.whole(vector), axis)
        lead = broadcast(matrix.dims[:-2], single.dims[:-2])
        dims = (*lead, 1, matrix.dims[-1]) if turned else (*lead, matrix.dims[-2], 1)
        operands = (single, matrix) if turned else (matrix, single)
        return self.on.squeezed(self.on.made("MatMul", *operands, dims=dims), axis)

    def turned(self, matrix: Value) -> Value:
        rank = len(matrix.dims)
        return self.on.transposed(matrix, *range(rank - 2), rank - 1, rank - 2)

    def transposed(self, matrix: str) -> Value:
        """Return a static matrix transposed, which is done once and not at every step."""
        if matrix not in self.columns:
            inner, self.on = self.on, self.on.root
            with self.on.belonging_to(f"{matrix}_T"):
                self.columns[matrix] = self.on.renamed(self.turned(self.whole(matrix)), f"{matrix}_T")
            self.on = inner
        return self.columns[matrix]

    def summed(self, name: str, *axes: int) -> Value:
        whole = self.whole(name)
        left = tuple(dim for place, dim in enumerate(whole.dims, -len(whole.dims)) if place not in axes)
        return self.on.made("ReduceSum", whole, self.on.integers(*axes), dims=left, keepdims=0)

    def concatenated(self, parts: Iterable[str], axis: int) -> Value:
        wholes = [self.whole(part) for part in parts]
        lead = max((value.dims[:axis] for value in wholes), key=len)
        level = [self.on.expanded(value, (*lead, *value.dims[axis:])) for value in wholes]
        dims = list(level[0].dims)
        dims[axis] = sum(length for value in level if isinstance(length := value.dims[axis], int))
        return self.on.made("Concat", *level, dims=tuple(dims), axis=axis)

    def picked(self, vector: str, index: str) -> Value:
        whole, places = self.whole(vector), self.on.unsqueezed(self.values[index], -1)
        lead = max(whole.dims[:-1], places.dims[:-1], key=len)
        data = self.on.expanded(whole, (*lead, whole.dims[-1]))
        found = self.on.made("GatherElements", data, self.on.expanded(places, (*lead, 1)), dims=(*lead, 1), axis=-1)
        return self.on.squeezed(found, -1)

    # Parts of a value

    def cut(self, node: Slice, equations: Sequence[Equation]) -> None:
        """Cut a value into its parts: at once if they are all of it."""
        found = [(eq.name, eq.node) for eq in equations if isinstance(eq.node, Slice) and eq.node.value == node.value]
        found.sort(key=lambda part: part[1].start.evaluate(self.sizes))
        whole = self.whole(node.value)
        axis = -len(self.rec.types[node.value].shape)
        lengths = [part.size.evaluate(self.sizes) for _, part in found]
        ends = [sum(lengths[: k + 1]) for k in range(len(lengths))]
        starts = [part.start.evaluate(self.sizes) for _, part in found]
        if starts == [0, *ends[:-1]] and whole.dims[axis] == ends[-1]:
            made = [self.part(name, whole, axis, length) for (name, _), length in zip(found, lengths, strict=True)]
            self.on.emit("Split", [whole, self.on.integers(*lengths)], made, axis=axis)
        else:
            for (name, _), start, length in zip(found, starts, lengths, strict=True):
                bounds = (self.on.integers(k) for k in (start, start + length, axis))
                self.on.emit("Slice", [whole, *bounds], [self.part(name, whole, axis, length)])

    def part(self, name: str, whole: Value, axis: int, length: int) -> Value:
        dims = list(whole.dims)
        dims[axis] = length
        self.values[name] = Value(self.on.names.fresh(name), tuple(dims), whole.kind)
        return self.values[name]
