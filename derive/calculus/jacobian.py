"""Jacobians of one step, ∂s_t/∂s'_{t-1}, as sums of products of diagonal matrices and weights.

They are read off the adjoint.  The adjoint of a step is a list of equations that are linear in the cotangents; each of them is one factor,
transposed, and a path from the cotangent of `s` to that of `s'_prev` is a product of factors.  So the rules of differentiation stand in one
place, `derive.calculus.adjoint`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import sympy as sp

from ..language.definition import Definition
from ..language.errors import CellError
from ..language.names import previous
from ..language.sizes import Size
from ..notation.jacobian import latex_lines, text_lines
from ..verify.interpret import elementwise, run
from .adjoint import adjoint
from .ir import Concat, Equation, FeatureSum, Map, MatVec, MatVecT, Node, Pick, Recurrence, Slice, Spread, Type, extent_name, is_extent
from .linear import IDENTITY, Block, Column, Diag, Elementwise, Factor, Matrix, Range, Row, Select, Term, Unit
from .lower import lower

LARGEST = 100_000  # terms and factors on all paths of a step's Jacobian
Array = np.ndarray
Key = tuple[str, str]


@dataclass(frozen=True)
class Jacobian:
    """Blocks of derivatives of one step.

    Attributes
    ----------
    cell : Definition
    forward : Recurrence
        The step whose values the blocks read.
    blocks : mapping
        By (value, by what): ``jacobian["c", "h_prev"]`` is ∂c_t/∂h_{t-1}.
    """

    cell: Definition
    forward: Recurrence
    blocks: Mapping[Key, Block]

    def __getitem__(self, key: Key) -> Block:
        return self.blocks[key]

    def sources(self, *blocks: Block) -> frozenset[str]:
        """Return the inputs, previous states, contexts and statics that the values of `blocks` depend on."""
        made = {eq.name: eq.node.operands() for eq in self.forward.equations()}
        found, waiting = set(), [name for block in blocks for name in block.names]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(made.get(name, ()))
        return frozenset(found - made.keys())

    @property
    def is_affine(self) -> bool:
        """Whether no block depends on a previous state: with states by states, whether the step is affine in the state."""
        before = {c.previous for c in self.forward.carries}
        return self.sources(*self.blocks.values()).isdisjoint(before)

    def evaluate(self, values: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[Key, Array]:
        """Return the value of each block, `(B, n, n')`; a scalar counts as one feature.

        Parameters
        ----------
        values : mapping
            Parameters, array constants, and `(B, ·)` arrays of inputs, contexts and previous states.  The rest of the step is computed.
        sizes : mapping
            Value of each named size.

        Raises
        ------
        ValueError
            If a value is missing.
        """
        values = step_values(self.forward, values, sizes)
        rows = next((len(values[name]) for name in self.forward.inputs if self.forward.batched(name)), 1)
        evaluator = _Evaluator(values, self.forward.types, sizes, rows)
        return {(of, by): evaluator.block(block, of, by) for (of, by), block in self.blocks.items()}

    def text(self) -> str:
        """Return one line a block, such as ``∂c_t/∂c_{t-1} = Diag(f)``."""
        return "\n".join(text_lines(self.cell, self.forward, self.blocks).values())

    def latex(self) -> str:
        """Return the lines of `text` in LaTeX."""
        return "\n".join(latex_lines(self.cell, self.forward, self.blocks).values())


@lru_cache(maxsize=256)
def jacobian(cell: Definition, of: tuple[str, ...] | None = None, by: tuple[str, ...] | None = None) -> Jacobian:
    """Return the Jacobian of one step of `cell`.

    Parameters
    ----------
    cell : Definition
    of : tuple of str, optional
        Values of the step, all states by default.
    by : tuple of str, optional
        Previous states (``"h_prev"``; the default is all of them), inputs, contexts, or values of the step such as pre-activations: then
        with all that does not come from them held constant.

    Raises
    ------
    ValueError
        If a name is no such value.
    """
    forward = lower(cell)
    of = cell.states if of is None else of
    by = tuple(previous(s) for s in cell.states) if by is None else by
    makes = {eq.name for eq in forward.body}
    given = {*forward.sequences, *forward.contexts, *(c.previous for c in forward.carries)}
    for names, allowed in ((of, makes | given), (by, makes | given)):
        for name in names:
            if name not in allowed or forward.types[name].integer:
                raise ValueError(f"{cell.name}: `{name}` is no value of a step that can be differentiated")
    states = [c.previous for c in forward.carries]
    columns = _state_columns(forward, of) if not {*states}.isdisjoint(by) else {}
    columns |= {name: _column(forward, of, name) for name in by if name not in states}
    return Jacobian(cell, forward, {(name, wrt): _ordered(columns[wrt].get(name, Block()), forward) for name in of for wrt in by})


def _state_columns(forward: Recurrence, of: tuple[str, ...]) -> dict[str, dict[str, Block]]:
    """Return the derivatives of `of` by each previous state."""
    backward = adjoint(replace(forward, written=of), wrt=()).recurrence
    paths = _paths(backward)
    return {c.previous: paths.get(back.value, {}) for c, back in zip(forward.carries, backward.carries, strict=True)}


def _column(forward: Recurrence, of: tuple[str, ...], by: str) -> dict[str, Block]:
    """Return the derivatives of `of` by a value that is no previous state."""
    backward = adjoint(replace(_freed(forward, by), written=of), wrt=(by,)).recurrence
    return _paths(backward).get(backward.written[0], {})


def _freed(forward: Recurrence, name: str) -> Recurrence:
    """Return the recurrence in which `name` is given at every step."""
    return replace(
        forward,
        body=tuple(eq for eq in forward.body if eq.name != name),
        contexts=tuple(c for c in forward.contexts if c != name),
        sequences=tuple(dict.fromkeys((*forward.sequences, name))),
    )


def _paths(backward: Recurrence) -> dict[str, dict[str, Block]]:
    """Return, for each cotangent of the step, the transposed linear map that makes it from the cotangent of each seeded value."""
    seeds = [name for name in backward.sequences if backward.labels[name].kind == "seed"]
    paths: dict[str, dict[str, Block]] = {name: {backward.labels[name].of: Block((Term(),))} for name in seeds}
    lengths: dict[sp.Basic, int] = {}
    work = 0
    for eq in backward.body:
        found: dict[str, Block] = {}
        for operand, factor in _transposed_factors(eq, backward.types, paths.keys()):
            for of, block in paths[operand].items():
                found[of] = found.get(of, Block()) + block.then(factor)
                work += sum(_length(f.expr, lengths) for term in found[of].terms for f in term.factors if isinstance(f, Elementwise))
                if work > LARGEST:
                    raise CellError(
                        f"{backward.name.removesuffix('_adjoint')}: the Jacobian of a step is too long to be written out: the "
                        f"paths through its equations have more than {LARGEST} terms and factors; the derivation by lines and the kernels "
                        "do without it"
                    )
        if found:
            paths[eq.name] = found
    return paths


def _length(expr: sp.Basic, known: dict[sp.Basic, int]) -> int:
    """Return the length of an expression when it is written out; parts that it shares count each time, but are looked at once."""
    if expr not in known:
        known[expr] = 1 + sum(_length(part, known) for part in expr.args)
    return known[expr]


def _transposed_factors(eq: Equation, types: Mapping[str, Type], linear: Iterable[str]) -> Iterator[tuple[str, Factor]]:
    """Yield the operands in which an equation is linear, each with the transpose of the map that is applied to it."""
    linear = set(linear)
    for operand, factor in _linear_operands(eq, types, [o for o in eq.node.operands() if o in linear]):
        if operand in linear:
            yield operand, factor


def _linear_operands(eq: Equation, types: Mapping[str, Type], linear: list[str]) -> Iterator[tuple[str, Factor]]:
    node: Node = eq.node
    match node:
        case Map(expr=expr):
            for name in linear:
                yield name, _slope(sp.diff(expr, sp.Symbol(name)), types, eq.name, name)
        case MatVec(matrix=m, vector=v, plus=p) | MatVecT(matrix=m, vector=v, plus=p):
            yield v, Matrix(m, transposed=isinstance(node, MatVec))
            yield p, IDENTITY
        case FeatureSum(value=v):
            yield v, Column(sp.S.One, types[v].shape[0])
        case Slice(value=v, start=start, size=size):
            yield v, Select(Range(start, size), types[v].shape[0], transposed=True)
        case Concat(parts=parts):
            start = Size()
            for part in parts:
                size = types[part].shape[0]
                yield part, Select(Range(start, size), types[eq.name].shape[0])
                start = start + size
        case Pick(value=v, index=k):
            yield v, Unit(k, types[v].shape[0])
        case Spread(value=v, index=k, size=size):
            yield v, Unit(k, size, transposed=True)
        case _:
            assert not linear, f"no linear factor for {type(node).__name__}"


def _slope(partial: sp.Expr, types: Mapping[str, Type], name: str, operand: str) -> Factor:
    """Return the factor of an elementwise equation: a scalar that was broadcast to a vector is summed over on the way back."""
    if types[operand].shape != types[name].shape:
        return Row(partial, types[name].shape[0])
    return Diag(partial, scalar=all(is_extent(s) or not types[s.name].shape for s in partial.free_symbols))


def _ordered(block: Block, forward: Recurrence) -> Block:
    """Return the block with its diagonal terms first and the others in the order in which their matrices stand in the text."""
    order = {name: k for k, name in enumerate((*forward.statics, *(eq.name for eq in forward.prologue)))}
    return Block(tuple(sorted(block.terms, key=lambda term: (not term.is_diagonal, [order[m] for m in term.matrices]))))


# Evaluation


def step_values(forward: Recurrence, values: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """Return all values of one step, from those of its inputs: `(B, ·)`, statics without batch axis.

    Raises
    ------
    ValueError
        If an input is missing.
    """
    if missing := [name for name in forward.inputs if name not in values]:
        raise ValueError(f"{forward.name}: values are missing for {', '.join(f'`{name}`' for name in missing)}")
    rows = {len(values[name]) for name in forward.inputs if forward.batched(name)} or {1}
    if len(rows) > 1:
        raise ValueError(f"{forward.name}: the values of one step have different numbers of rows: {sorted(rows)}")
    given = {name: np.asarray(values[name])[None] if name in forward.sequences else np.asarray(values[name]) for name in forward.inputs}
    step = replace(forward, written=tuple(eq.name for eq in forward.body), results=tuple(eq.name for eq in forward.prologue))
    result = run(step, given, sizes, 1, rows.pop())
    known = {name: np.asarray(values[name]) for name in forward.inputs}
    return {**known, **result.results, **{name: value[0] for name, value in result.sequences.items()}}


@dataclass(frozen=True)
class _Evaluator:
    """Products of factors with the values of one step."""

    values: Mapping[str, Array]
    types: Mapping[str, Type]
    sizes: Mapping[str, int]
    rows: int

    def block(self, block: Block, of: str, by: str) -> Array:
        total = np.zeros((self.rows, self.features(of), self.features(by)))
        for term in block.terms:
            product = np.eye(self.features(by))[None]
            for factor in reversed(term.factors):
                product = self.times(factor, product)
            total = total + product
        return total

    def features(self, name: str) -> int:
        shape = self.types[name].shape
        return shape[0].evaluate(self.sizes) if shape else 1

    def times(self, factor: Factor, right: Array) -> Array:
        """Return ``factor @ right`` for `right` of shape `(B or 1, ·, n')`."""
        match factor:
            case Diag(expr=expr):
                return self.vector(expr)[:, :, None] * right
            case Column(expr=expr, size=size):
                return self.vector(expr, size)[:, :, None] * right
            case Row(expr=expr, size=size):
                return self.vector(expr, size)[:, None, :] @ right
            case Matrix():
                return self.matrix(factor) @ right
            case Select():
                return self.selected(factor, right)
            case Unit(index=index, size=size, transposed=transposed):
                unit = (np.arange(size.evaluate(self.sizes)) == self.values[index][:, None]).astype(np.float64)
                return unit[:, None, :] @ right if transposed else unit[:, :, None] * right

    def vector(self, expr: sp.Expr, size: Size | None = None) -> Array:
        """Return the value of an expression, `(B or 1, size)`; without a size, `(B or 1, size or 1)`."""

        def atom(symbol: sp.Symbol) -> Array:
            if is_extent(symbol):
                return np.asarray(float(self.sizes[extent_name(symbol)]))
            value, kind = self.values[symbol.name], self.types[symbol.name]
            value = value if kind.batched else value[None]
            return value if kind.shape else value[:, None]

        with np.errstate(all="ignore"):
            value = np.atleast_2d(elementwise(expr, atom))
        return value if size is None else np.broadcast_to(value, (len(value), size.evaluate(self.sizes)))

    def selected(self, factor: Select, right: Array) -> Array:
        span = self.span(factor.part)
        if not factor.transposed:
            return right[:, span]
        out = np.zeros((right.shape[0], factor.whole.evaluate(self.sizes), right.shape[2]))
        out[:, span] = right
        return out

    def matrix(self, factor: Matrix) -> Array:
        matrix = self.values[factor.name].T if factor.transposed else self.values[factor.name]
        return matrix[self.span(factor.rows), self.span(factor.columns)]

    def span(self, part: Range | None) -> slice:
        if part is None:
            return slice(None)
        start = part.start.evaluate(self.sizes)
        return slice(start, start + part.size.evaluate(self.sizes))
