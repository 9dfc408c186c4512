"""A cell's own text on arrays of NumPy, PyTorch or JAX: the reference that autodiff differentiates.

It shares the parser with the kernels and nothing else: no symbolic derivative and no lowering takes part.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .expressions import children, is_elementwise, walk
from .syntax import Assignment, Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Transpose

if TYPE_CHECKING:
    from .cell import Cell

LAYER_NORM_EPSILON = 1e-5
Function = Callable[..., Any]


def evaluate(cell: Cell, namespace: Mapping[str, Any], xp: Any, own: Mapping[str, Function] | None = None) -> dict[str, Any]:
    """Return the values of all assigned names after one step.

    Parameters
    ----------
    cell : Cell
    namespace : mapping
        An array for each input, context, parameter and `s_prev`: those with a row a sequence are `(…, size)`, or `(…,)` for a scalar a row;
        parameters have no leading axes.  Array constants may be given to override the cell's own.
    xp : module
        `numpy`, `torch` or `jax.numpy`.
    own : mapping, optional
        What to call for functions of the language, by name, in place of those of `functions`.

    Returns
    -------
    dict
        By name, arrays of the dtype of those given, with their leading axes: `(…, size)`.

    Raises
    ------
    ValueError
        If a name is missing.
    """
    needed = (*cell.inputs, *cell.context, *cell.parameters, *(f"{s}_prev" for s in cell.states))
    missing = [name for name in needed if name not in namespace]
    if missing:
        raise ValueError(f"{cell.name}: the namespace lacks {', '.join(f'`{name}`' for name in missing)}")
    return _Evaluator(cell, namespace, xp, own or {}).run()


def unroll(
    cell: Cell,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    state: Mapping[str, Any],
    xp: Any,
    *,
    context: Mapping[str, Any] | None = None,
    steps: int | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Run `cell` over a sequence.

    Parameters
    ----------
    cell : Cell
    inputs : mapping
        `(T, B, ·)` for each input.
    params : mapping
        One array a parameter.
    state : mapping
        Each state before the first step, `(B, ·)`.
    xp : module
        `numpy`, `torch` or `jax.numpy`.
    context : mapping, optional
        `(B, ·)` for each context.
    steps : int, optional
        T, for a cell without inputs.

    Returns
    -------
    outputs : array
        `(T, B, ·)`, the output at every step.
    state : dict
        Each state after the last step, `(B, ·)`.

    Raises
    ------
    ValueError
        If `steps` is not given for a cell without inputs, or a name is missing.
    """
    if steps is None:
        if not inputs:
            raise ValueError(f"{cell.name} has no inputs: the number of `steps` is needed")
        steps = len(next(iter(inputs.values())))
    static, now, outputs = {**params, **(context or {})}, {s: state[s] for s in cell.states}, []
    for t in range(steps):
        values = evaluate(cell, {**static, **{k: v[t] for k, v in inputs.items()}, **{f"{s}_prev": v for s, v in now.items()}}, xp)
        now = {s: values[s] for s in cell.states}
        outputs.append(values[cell.output])
    if outputs:
        return xp.stack(outputs), now
    # No step: the output's shape is that of a step on zeros.
    zeros = {k: xp.sum(v, axis=0) for k, v in inputs.items()}
    values = evaluate(cell, {**static, **zeros, **{f"{s}_prev": v for s, v in now.items()}}, xp)
    return xp.stack([values[cell.output]])[:0], now


class _Evaluator:
    """One step: values with their ranks, where the rank does not count the axes in front."""

    def __init__(self, cell: Cell, namespace: Mapping[str, Any], xp: Any, own: Mapping[str, Function]) -> None:
        self.cell, self.xp = cell, xp
        self.like = next((v for v in namespace.values() if _is_float(v)), None)
        self.functions = {**functions(xp), **own}
        arrays = {name: self.array(a) for name, a in cell.array_constants.items()}
        scalars = {name: self.array(float(value)) for name, value in cell.scalar_constants.items()}
        self.values: dict[str, Any] = {**arrays, **scalars, **{k: v for k, v in namespace.items() if k in cell.shapes}}
        self.lead = self.leading()

    def leading(self) -> tuple[int, ...]:
        """Return the axes in front of the features of what has a row a sequence."""
        for name in (*self.cell.inputs, *self.cell.context, *(f"{s}_prev" for s in self.cell.states)):
            shape, rank = tuple(self.values[name].shape), len(self.cell.shapes[name])
            return shape[: len(shape) - rank]
        return ()

    def array(self, value: Any) -> Any:
        """Return a number or a constant as an array like the given ones."""
        if self.like is None:
            return self.xp.asarray(np.asarray(value))
        if hasattr(self.like, "device") and self.xp.__name__ == "torch":
            return self.xp.asarray(np.array(value), dtype=self.like.dtype, device=self.like.device)
        return self.xp.asarray(value, dtype=self.like.dtype)

    def run(self) -> dict[str, Any]:
        assigned: dict[str, Any] = {}
        for line in self.cell.equations:
            for target, value in self.line(line):
                assigned[target] = self.values[target] = value
        return assigned

    def line(self, line: Assignment) -> list[tuple[str, Any]]:
        value, rank = self.of(line.value)
        if len(line.targets) > 1:
            parts = self.functions["split"](value, len(line.targets))
            return [(target, self.full(target, part, 1)) for target, part in zip(line.targets, parts, strict=True)]
        (target,) = line.targets
        return [(target, self.full(target, value, rank))]

    def full(self, name: str, value: Any, rank: int) -> Any:
        """Return a value in the shape of the name that it is assigned to."""
        shape = self.cell.shapes[name]
        if len(shape) > rank:
            value = self.xp.broadcast_to(self.align(value, rank, len(shape)), (*value.shape, self.length(name)))
        if name not in self.cell.batched:
            return value
        return self.xp.broadcast_to(value, (*self.lead, *value.shape[len(value.shape) - len(shape) :]))

    def length(self, name: str) -> int:
        """Return the number of features of a vector that a scalar is assigned to, from any value that tells the sizes."""
        sizes: dict[str, int] = {}
        for other, value in self.values.items():
            shape = self.cell.shapes[other]
            for axis, size in enumerate(shape, len(value.shape) - len(shape)):
                if len(size.terms) == 1:
                    ((term, factor),) = size.terms
                    sizes[term] = (value.shape[axis] - size.constant) // factor
        return self.cell.shapes[name][0].evaluate(sizes)

    def of(self, expr: Expr, order: int | None = None) -> tuple[Any, int]:
        """Return the value of `expr` and its rank; `order` is the number of rows of `eye`."""
        match expr:
            case Number(value=value):
                return self.array(float(value)), 0
            case Name(id=name):
                return self.values[name], len(self.cell.shapes[name])
            case MatMul(left=left, right=right):
                return self.product(left, right)
            case Transpose(operand=operand):
                return self.of(operand)[0].T, 2
            case Concat(parts=parts):
                return self.concat([self.of(part)[0] for part in parts]), 1
            case Call(function="eye"):
                assert order is not None, "shapes are checked: a matrix stands beside every `eye`"
                return self.array(np.eye(order)), 2
            case Call(function=function, args=args) if not is_elementwise(expr):
                return self.structural(function, args)
            case Power(base=base, exponent=exponent):
                value, rank = self.of(base, order)
                return value ** (int(exponent) if exponent.denominator == 1 else float(exponent)), rank
        return self.elementwise(expr, order)

    def product(self, left: Expr, right: Expr) -> tuple[Any, int]:
        (a, rank), (v, _) = self.of(left), self.of(right)
        if rank == 2:
            return v @ a.T, 1
        return self.xp.sum(a * v, axis=-1), 0

    def concat(self, parts: list[Any]) -> Any:
        lead = self.xp.broadcast_shapes(*(tuple(p.shape[:-1]) for p in parts))
        return self.xp.concatenate([self.xp.broadcast_to(p, (*lead, p.shape[-1])) for p in parts], axis=-1)

    def structural(self, function: str, args: tuple[Expr, ...]) -> tuple[Any, int]:
        value, rank = self.of(args[0])
        if function in ("sum", "mean"):
            total = self.xp.sum(value, axis=-1) if rank == 1 else self.xp.sum(value)
            count = math.prod(value.shape[len(value.shape) - rank :])
            return (total if function == "sum" else total / count), 0
        if function == "pick":
            return self.pick(value, self.of(args[1])[0]), 0
        return self.functions[function](value), 0 if function == "logsumexp" else 1

    def pick(self, value: Any, index: Any) -> Any:
        lead = self.xp.broadcast_shapes(tuple(value.shape[:-1]), tuple(index.shape))
        value = self.xp.broadcast_to(value, (*lead, value.shape[-1]))
        index = self.xp.broadcast_to(index, lead)[..., None]
        if self.xp.__name__ == "torch":
            return self.xp.take_along_dim(value, index.long(), -1)[..., 0]
        return self.xp.take_along_axis(value, index, -1)[..., 0]

    def elementwise(self, expr: Expr, order: int | None) -> tuple[Any, int]:
        parts = self.operands(children(expr), order)
        rank = max(r for _, r in parts)
        values = [self.align(value, r, rank) for value, r in parts]
        match expr:
            case Negative():
                return -values[0], rank
            case Binary(op=op):
                return _OPERATORS[op](*values), rank
            case Compare(op=op):
                return _OPERATORS[op](*values), rank
            case Call(function=function):
                return self.functions[function](*values), rank
        raise TypeError(f"not an expression: {expr!r}")

    def operands(self, parts: tuple[Expr, ...], order: int | None) -> list[tuple[Any, int]]:
        """Return the values of operands; those with `eye` take their size from the others."""
        waiting = {k for k, part in enumerate(parts) if order is None and self.needs_order(part)}
        found = {k: self.of(part, order) for k, part in enumerate(parts) if k not in waiting}
        rows = next((value.shape[-1] for value, rank in found.values() if rank == 2), order)
        return [found[k] if k in found else self.of(part, rows) for k, part in enumerate(parts)]

    def needs_order(self, expr: Expr) -> bool:
        """Say whether the value of an elementwise expression has `eye` and no other matrix in it."""
        if isinstance(expr, Call) and expr.function == "eye":
            return True
        if not is_elementwise(expr) or not any(isinstance(n, Call) and n.function == "eye" for n in walk(expr)):
            return False
        parts = children(expr)
        return any(map(self.needs_order, parts)) and not any(self.is_matrix(part) for part in parts)

    def is_matrix(self, expr: Expr) -> bool:
        """Say whether an expression is a matrix whose number of rows is known without `eye`."""
        if isinstance(expr, Transpose):
            return True
        if isinstance(expr, Name):
            return len(self.cell.shapes[expr.id]) == 2
        return is_elementwise(expr) and any(map(self.is_matrix, children(expr)))

    def align(self, value: Any, rank: int, needed: int) -> Any:
        """Return a scalar a row with a last axis to stand beside a vector."""
        return value[..., None] if rank == 0 and needed == 1 else value


_OPERATORS: Mapping[str, Function] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def functions(xp: Any) -> Mapping[str, Function]:
    """Return the functions of the language for one framework, with the project's conventions at kinks."""
    own = _OWN[xp.__name__](xp)
    same = {name: getattr(xp, name) for name in ["exp", "log", "sqrt", "tanh", "sin", "cos", "abs", "sign", "maximum", "minimum", "where"]}
    sigmoid, erf, logsumexp = own["sigmoid"], own["erf"], own["logsumexp"]

    def constant(x: Any, value: float) -> Any:
        return xp.zeros_like(x) + value

    def softplus(x: Any) -> Any:
        return xp.logaddexp(x, xp.zeros_like(x))

    def clip(x: Any, low: float, high: float) -> Any:
        # The gradient is 0 at both ends.
        return xp.where(x <= low, constant(x, low), xp.where(x >= high, constant(x, high), x))

    def elu(x: Any) -> Any:
        # `expm1` sees no positive argument, whose overflow would spoil the gradient of the other branch.
        return xp.where(x > 0, x, xp.expm1(xp.where(x > 0, xp.zeros_like(x), x)))

    def layer_norm(x: Any) -> Any:
        size = x.shape[-1]
        centred = x - (xp.sum(x, axis=-1) / size)[..., None]
        return centred / xp.sqrt(xp.sum(centred * centred, axis=-1) / size + LAYER_NORM_EPSILON)[..., None]

    return {
        **same,
        **own,
        "relu": lambda x: xp.where(x <= 0, xp.zeros_like(x), x),
        "softplus": softplus,
        "logsigmoid": lambda x: -softplus(-x),
        "softsign": lambda x: x / (1 + xp.abs(x)),
        "elu": elu,
        "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "silu": lambda x: x * sigmoid(x),
        "hard_sigmoid": lambda x: clip(x + 3, 0, 6) / 6,
        "hard_tanh": lambda x: clip(x, -1, 1),
        "step": lambda x: xp.where(x > 0, constant(x, 1), xp.zeros_like(x)),
        "softmax": lambda x: xp.exp(x - logsumexp(x)[..., None]),
        "layer_norm": layer_norm,
    }


def _numpy_functions(xp: Any) -> dict[str, Function]:
    def sigmoid(x: Any) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, np.ones_like(e), e) / (1 + e)

    def erf(x: Any) -> Any:
        return np.vectorize(math.erf, otypes=[x.dtype])(x)

    def logsumexp(x: Any) -> Any:
        top = np.max(x, axis=-1, keepdims=True)
        return np.log(np.sum(np.exp(x - top), axis=-1)) + top[..., 0]

    return {"sigmoid": sigmoid, "erf": erf, "logsumexp": logsumexp, "split": lambda x, parts: np.split(x, parts, -1)}


def _torch_functions(xp: Any) -> dict[str, Function]:
    split = {"split": lambda x, parts: xp.chunk(x, parts, -1)}
    return {"sigmoid": xp.sigmoid, "erf": xp.erf, "logsumexp": lambda x: xp.logsumexp(x, -1), **split}


def _jax_functions(xp: Any) -> dict[str, Function]:
    nn, special = importlib.import_module("jax.nn"), importlib.import_module("jax.scipy.special")
    split = {"split": lambda x, parts: xp.split(x, parts, -1)}
    return {"sigmoid": nn.sigmoid, "erf": special.erf, "logsumexp": lambda x: special.logsumexp(x, axis=-1), **split}


_OWN: Mapping[str, Callable[[Any], dict[str, Function]]] = {
    "numpy": _numpy_functions,
    "torch": _torch_functions,
    "jax.numpy": _jax_functions,
}


def _is_float(value: Any) -> bool:
    if hasattr(value, "is_floating_point"):
        return bool(value.is_floating_point())
    return np.issubdtype(getattr(value, "dtype", np.int64), np.floating)
