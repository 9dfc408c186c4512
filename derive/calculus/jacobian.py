"""Jacobians of one step, ∂s_t/∂s'_{t-1}, as sums of products of diagonal matrices and weights.

They are read off the adjoint.  The adjoint of a step is a list of equations that are linear in the cotangents; each of them is one factor,
transposed, and a path from the cotangent of `s` to that of `s'_prev` is a product of factors.  So the rules of differentiation stand in one
place, `derive.calculus.adjoint`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp

from ..language.definition import Definition
from ..language.errors import CellError
from ..language.hints import MATRICES, limit
from ..language.names import previous
from ..language.sizes import Size
from .adjoint import adjoint
from .ir import Concat, Equation, FeatureSum, Map, MatVec, MatVecT, Node, Pick, Recurrence, Slice, Spread, Type
from .laws import is_linear, no_tangent
from .linear import IDENTITY, Block, Column, Diag, Elementwise, Factor, Matrix, Range, Row, Select, Term, Unit
from .lower import lower
from .symbols import is_value

LARGEST = 100_000  # terms and factors on all paths of a step's Jacobian
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


@lru_cache(maxsize=256)
def a_matrix(forward: Recurrence) -> str:
    """Return a value of a step that is a matrix, by its author's name where one has it; nothing, if there is none."""
    found = [eq.name for eq in forward.body if len(forward.types[eq.name].shape) == 2]
    return next((name for name in found if forward.labels[name].kind == "own"), found[0] if found else "")


def has_jacobian(cell: Definition) -> bool:
    """Say whether a cell has what `jacobian` returns."""
    return is_linear(cell) and not a_matrix(lower(cell))


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
        If a name is no such value, the cell changes gradients on their way back, or it has matrices that change from step to step.
    """
    if not is_linear(cell):
        raise CellError(f"{cell.name}: {no_tangent(cell)}")
    forward = lower(cell)
    if matrix := a_matrix(forward):
        raise CellError(f"{cell.name}: `{matrix}` is a matrix at each step: a Jacobian is made of blocks for vectors; {limit(MATRICES)}")
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
    return Diag(partial, scalar=all(not is_value(s) or not types[s.name].shape for s in partial.free_symbols))


def _ordered(block: Block, forward: Recurrence) -> Block:
    """Return the block with its diagonal terms first and the others in the order in which their matrices stand in the text."""
    order = {name: k for k, name in enumerate((*forward.statics, *(eq.name for eq in forward.prologue)))}
    return Block(tuple(sorted(block.terms, key=lambda term: (not term.is_diagonal, [order[m] for m in term.matrices]))))
