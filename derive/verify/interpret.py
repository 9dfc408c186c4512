"""A recurrence interpreted with NumPy: the oracle that every pass and every kernel is held against.

Slow, plain and independent of the printers: it walks the equations one by one and keeps every value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import sympy as sp

from ..calculus import functions as fn
from ..calculus.ir import (
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
    Node,
    Outer,
    Part,
    Pick,
    Recurrence,
    Repeat,
    Slice,
    Spread,
    Transpose,
    Type,
)
from ..calculus.symbols import EYE, constant_name, extent_name, is_constant, is_extent
from .values import VALUES

Array = np.ndarray


@dataclass(frozen=True)
class Run:
    """What a recurrence gave.

    Attributes
    ----------
    sequences : mapping
        Each written name's values, `(T, B, ·)`.
    carries : mapping
        By the name of the previous value of each carry, its value after the last step (of the loop), `(B, ·)`.
    results : mapping
        Accumulators and static results.
    """

    sequences: Mapping[str, Array]
    carries: Mapping[str, Array]
    results: Mapping[str, Array]


def run(rec: Recurrence, values: Mapping[str, Array], sizes: Mapping[str, int], steps: int, batch: int) -> Run:
    """Run `rec`.

    Parameters
    ----------
    rec : Recurrence
    values : mapping
        An array for each of ``rec.inputs``: statics without batch axis, contexts and carries `(B, ·)`, sequences `(T, B, ·)`.
    sizes : mapping
        Value of each named size.
    steps, batch : int
        T and B.

    Returns
    -------
    Run
        In the dtype of `values`; the oracle is run in float64.
    """
    known = {name: np.asarray(values[name]) for name in (*rec.statics, *rec.contexts)}
    state = {c.previous: np.asarray(values[c.previous]) for c in rec.carries}
    machine = _Machine(rec, dict(sizes), batch)
    machine.execute(rec.prologue, known)
    written: dict[str, list[Array]] = {name: [Array(0)] * steps for name in rec.written}
    sums: dict[str, Array] = {}
    for t in range(steps)[:: -1 if rec.reverse else 1]:
        step = {**known, **state, **{name: np.asarray(values[name])[t] for name in rec.sequences}}
        machine.execute(rec.body, step)
        for name in rec.written:
            written[name][t] = step[name]
        machine.accumulate(step, sums)
        state = {c.previous: step[c.value] for c in rec.carries}
    for eq in rec.accumulators:
        known[eq.name] = sums[eq.name] if eq.name in sums else machine.zeros(rec.types[eq.name])
    machine.execute(rec.epilogue, known)
    sequences = {n: np.stack(w) if steps else np.zeros((0, *machine.zeros(rec.types[n]).shape)) for n, w in written.items()}
    return Run(sequences, state, {name: known[name] for name in rec.results})


class _Machine:
    def __init__(self, rec: Recurrence, sizes: dict[str, int], batch: int) -> None:
        self.rec, self.sizes, self.batch = rec, sizes, batch

    def zeros(self, kind: Type) -> Array:
        lead = ((self.batch,) if kind.batched else ()) + ((self.sizes[self.rec.heads],) if kind.headed else ())
        return np.zeros((*lead, *(s.evaluate(self.sizes) for s in kind.shape)))

    def execute(self, equations: Iterable[Equation], env: dict[str, Array]) -> None:
        """Add the values of equations, one by one, to `env`."""
        for eq in equations:
            env[eq.name] = self.value(eq.node, self.rec.types[eq.name], env)

    def accumulate(self, step: Mapping[str, Array], sums: dict[str, Array]) -> None:
        """Add one step's terms to the sums over steps and batch."""
        for eq in self.rec.accumulators:
            kind = self.rec.types[eq.name]
            if isinstance(eq.node, Outer):
                kinds = [self.rec.types[n] for n in (eq.node.left, eq.node.right)]
                left, right = (self.rows(step[n], k) for n, k in zip((eq.node.left, eq.node.right), kinds, strict=True))
                heads = ["h" if k.headed else "" for k in (*kinds, kind)]
                term = np.einsum("b{}i,b{}j->{}ij".format(*heads), left, right)
            else:
                (name,) = eq.node.operands()
                term = self.rows(step[name], self.rec.types[name])
                term = term if kind.batched else term.sum(axis=0)
            sums[eq.name] = sums[eq.name] + term if eq.name in sums else term

    def rows(self, value: Array, kind: Type) -> Array:
        """Return a value with its batch axis, repeated if it has none."""
        return value if kind.batched else np.broadcast_to(value, (self.batch, *value.shape))

    def value(self, node: Node, kind: Type, env: Mapping[str, Array]) -> Array:
        match node:
            case Map():
                return self.map(node, kind, env)
            case MatVec(matrix=m, vector=v, plus=p):
                return self.product(env[m], env[v]) + (env[p] if p else 0.0)
            case MatVecT(matrix=m, vector=v, plus=p):
                return self.product(np.swapaxes(env[m], -1, -2), env[v]) + (env[p] if p else 0.0)
            case Outer(left=u, right=v):
                return env[u][..., :, None] * env[v][..., None, :]
            case Repeat(value=v):
                own = self.rec.types[v]
                return np.broadcast_to(np.expand_dims(env[v], -1 - len(own.shape)), self.zeros(replace(own, headed=True)).shape)
            case HeadSum(value=v):
                return env[v].sum(axis=-1 - len(kind.shape))
            case Merge(value=v) | Part(value=v):
                return env[v].reshape(self.zeros(replace(kind, batched=self.rec.types[v].batched)).shape)
            case FeatureSum(value=v):
                axes = tuple(range(-len(self.rec.types[v].shape), 0))
                return env[v].sum(axis=axes)
            case AxisSum(value=v, axis=axis):
                return env[v].sum(axis=axis - 2)
            case Along(value=v, axis=axis):
                vector = self.rows(env[v], self.rec.types[v]) if kind.batched else env[v]
                return np.broadcast_to(np.expand_dims(vector, -1 - axis), self.zeros(kind).shape)
            case LogSumExp(value=v):
                top = env[v].max(axis=-1, keepdims=True)
                return np.log(np.exp(env[v] - top).sum(axis=-1)) + top[..., 0]
            case Transpose(matrix=m):
                return np.swapaxes(env[m], -1, -2)
            case Concat(parts=parts):
                rows = [self.rows(env[p], self.rec.types[p]) for p in parts] if kind.batched else [env[p] for p in parts]
                return np.concatenate(rows, axis=-len(kind.shape))
            case Slice(value=v, start=start, size=size):
                a = start.evaluate(self.sizes)
                b = a + size.evaluate(self.sizes)
                return env[v][..., a:b] if len(kind.shape) == 1 else env[v][..., a:b, :]
            case Pick(value=v, index=k):
                vector = env[v] if env[v].ndim > env[k].ndim else np.broadcast_to(env[v], (*env[k].shape, env[v].shape[-1]))
                return np.take_along_axis(vector, env[k][..., None], axis=-1)[..., 0]
            case Spread(value=v, index=k, size=size):
                out = np.zeros((*env[v].shape, size.evaluate(self.sizes)))
                np.put_along_axis(out, env[k][..., None], env[v][..., None], axis=-1)
                return out
        raise TypeError(f"no value of {type(node).__name__}")

    def product(self, matrix: Array, vector: Array) -> Array:
        return vector @ matrix.T if matrix.ndim == 2 else np.matmul(matrix, vector[..., None])[..., 0]

    def map(self, node: Map, kind: Type, env: Mapping[str, Array]) -> Array:
        shape = self.zeros(kind).shape

        def atom(symbol: sp.Symbol) -> Array:
            if is_extent(symbol):
                return np.asarray(float(self.sizes[extent_name(symbol)]))
            if is_constant(symbol):
                return np.asarray(float(self.rec.constants[constant_name(symbol)]))
            if symbol == EYE:
                return np.eye(shape[-1])
            missing = len(kind.shape) - len(self.rec.types[symbol.name].shape)
            return env[symbol.name].reshape(env[symbol.name].shape + (1,) * missing)

        with np.errstate(all="ignore"):
            return np.broadcast_to(elementwise(node.expr, atom), shape)


def elementwise(expr: sp.Expr, atom: Callable[[sp.Symbol], Array]) -> Array:
    """Return the value of a scalar expression whose symbols have the arrays `atom(symbol)`."""
    if isinstance(expr, sp.Symbol):
        return atom(expr)
    if not expr.args:
        return np.asarray(float(expr))
    if isinstance(expr, fn.Composed):
        return elementwise(expr.computed(), atom)
    args = [elementwise(a, atom) for a in expr.args]
    if isinstance(expr, fn.Elementwise):
        return VALUES[expr.info.name](*args)
    if expr.is_Pow:
        return args[0] ** (int(expr.exp) if expr.exp.is_Integer else args[1])
    combine: Callable[[Array, Array], Array] = np.add if expr.is_Add else np.multiply
    return reduce(combine, args)
