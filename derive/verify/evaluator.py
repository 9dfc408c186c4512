"""One step of a cell, expression by expression: what `evaluate` asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..language.branches import Branch, branches
from ..language.definition import Definition
from ..language.functions import Surrogate
from ..language.shapes import rank_of
from ..language.tree import Assignment, Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Transpose
from ..language.walks import children, is_batched, is_elementwise, is_headed, is_where, leaves, names_of
from .constants import constants_of
from .frameworks import OPERATORS, Function, functions, is_float, surrogate


@dataclass(frozen=True)
class _Choice:
    """The rows, and features if its rank is 1, for which a choice falls on a branch."""

    value: Any
    rank: int
    batched: bool
    headed: bool

    def on(self, chosen: bool) -> _Choice:
        """Return where it falls on the first branch, or else on the second."""
        return self if chosen else replace(self, value=self.value == 0)


class Evaluator:
    """One step: values with their ranks, where the rank does not count the axes in front.

    In `choices` are those around the expression at hand.
    """

    def __init__(self, cell: Definition, namespace: Mapping[str, Any], xp: Any, own: Mapping[str, Function], *, select: bool) -> None:
        self.cell, self.xp, self.select = cell, xp, select
        self.like = next((v for v in namespace.values() if is_float(v)), None)
        self.functions = {**functions(xp), **{name: self.surrogate(of) for name, of in cell.own.surrogates.items()}, **own}
        arrays = {name: self.array(a) for name, a in constants_of(cell).items()}
        scalars = {name: self.array(float(value)) for name, value in cell.scalar_constants.items()}
        self.values: dict[str, Any] = {**arrays, **scalars, **{k: v for k, v in namespace.items() if k in cell.shapes}}
        self.lead = self.leading()
        self.choices: tuple[_Choice, ...] = ()

    def surrogate(self, own: Surrogate) -> Function:
        """Return a function of the cell's own."""
        value, slope = (lambda x, part=part: self.pointwise(part, {own.argument: x}) for part in (own.value, own.slope))
        return surrogate(self.xp, value, slope)

    def pointwise(self, expr: Expr, values: Mapping[str, Any]) -> Any:
        """Return the value of an expression that works on each element by itself, of names and constants."""
        match expr:
            case Number(value=value):
                return self.array(float(value))
            case Name(id=name):
                return values[name] if name in values else self.values[name]
        return self.applied(expr, [self.pointwise(part, values) for part in children(expr)])

    def leading(self) -> tuple[int, ...]:
        """Return the axes in front of the features of what has a row a sequence."""
        for name in (*self.cell.inputs, *self.cell.context, *(f"{s}_prev" for s in self.cell.states)):
            shape, rank = tuple(self.values[name].shape), len(self.cell.axes[name])
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
        around = branches(self.cell) if self.select else {}
        known = set(self.values)
        for line in self.cell.equations:
            if any(name not in known for branch in around.get(line.targets[0], ()) for name in names_of(branch.condition)):
                self.assign({})  # a condition reads what a later line assigns: a first run tells its value
                break
            known.update(line.targets)
        return self.assign(around)

    def assign(self, around: Mapping[str, frozenset[Branch]]) -> dict[str, Any]:
        assigned: dict[str, Any] = {}
        for line in self.cell.equations:
            found = sorted(around.get(line.targets[0], ()), key=repr)
            self.choices = tuple(self.choice(branch.condition).on(branch.chosen) for branch in found)
            for target, value in self.line(line):
                assigned[target] = self.values[target] = value
            self.choices = ()
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
        shape, heads = self.cell.shapes[name], (self.heads,) if name in self.cell.headed else ()
        if len(shape) > rank:
            value = self.xp.broadcast_to(self.align(value, rank, len(shape)), (*value.shape, self.length(name)))
        if name not in self.cell.batched:
            return value
        return self.xp.broadcast_to(value, (*self.lead, *heads, *value.shape[len(value.shape) - len(shape) :]))

    @cached_property
    def heads(self) -> int:
        """The number of heads: that of any value that has one for each."""
        found = (name for name in self.values if name in self.cell.headed)
        return next((int(self.values[name].shape[-1 - len(self.cell.shapes[name])]) for name in found), 1)

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
        around = self.choices
        if around and rank_of(expr, self.cell.shapes) == 2:
            batched = is_batched(expr, self.cell.batched)
            self.choices = tuple(choice for choice in around if batched or not choice.batched)  # else it is one for all rows
        if is_where(expr):
            found = self.where(children(expr), self.order(expr, order))
        elif is_elementwise(expr):
            found = self.elementwise(expr, self.order(expr, order))
        else:
            parted = isinstance(expr, Call) and expr.function == "part"  # of what all heads have in common
            inside = (choice for choice in self.choices if choice.rank == 0 and not (parted and choice.headed))  # it mixes features
            choices, self.choices = self.choices, tuple(inside)
            value, rank = self.leaf(expr, order)
            self.choices = choices
            found = self.kept(value, rank, is_headed(expr, self.cell.headed))
        self.choices = around
        return found

    # Choices

    def where(self, parts: tuple[Expr, ...], order: int | None) -> tuple[Any, int]:
        """Return the value of a choice; what a branch reads is a constant where it is not chosen."""
        condition, *branches = parts
        choice, around = self.choice(condition, order), self.choices
        values = [(choice.value, choice.rank)]
        headed = any(is_headed(part, self.cell.headed) for part in parts)
        for chosen, branch in zip((True, False), branches, strict=True):
            self.choices = (*around, choice.on(chosen)) if self.select else ()
            values.append(self.of(branch, order))
        self.choices = around
        values = [(self.each(value, r, part, headed, choice), r) for (value, r), part in zip(values, parts, strict=True)]
        rank = max(r for _, r in values)
        return self.functions["where"](*(self.align(value, r, rank) for value, r in values)), rank

    def choice(self, condition: Expr, order: int | None = None) -> _Choice:
        around, self.choices = self.choices, ()  # nothing is differentiated through a condition
        value, rank = self.of(condition, order)
        self.choices = around
        return _Choice(value, rank, is_batched(condition, self.cell.batched), is_headed(condition, self.cell.headed))

    def each(self, value: Any, rank: int, expr: Expr, headed: bool, *choices: _Choice) -> Any:
        """Return a value with the axis of heads, if it is to stand beside one that has it, and rows of a batch come before that."""
        if not headed or is_headed(expr, self.cell.headed):
            return value
        rows = is_batched(expr, self.cell.batched) or any(choice.batched for choice in (*self.choices, *choices))
        return self.lifted(value, rank) if rows else value  # else the axis that it may have is that of heads, by a choice

    def lifted(self, value: Any, rank: int) -> Any:
        """Return a value that is none of each head with the axis of heads, unless it has it by a choice of theirs, or has no rows."""
        return value[(..., None, *[slice(None)] * rank)] if self.lead and len(value.shape) - rank == len(self.lead) else value

    def kept(self, value: Any, rank: int, headed: bool) -> tuple[Any, int]:
        """Return a value that is a constant where a choice around it falls on another branch."""
        for choice in self.choices:
            full = max(rank, choice.rank)
            if headed and not choice.headed:
                choice = replace(choice, value=self.lifted(choice.value, choice.rank))
            elif choice.headed and not headed:
                value = self.lifted(value, rank)
            value, rank = self.functions["kept"](self.align(choice.value, choice.rank, full), self.align(value, rank, full)), full
        return value, rank

    # Expressions

    def leaf(self, expr: Expr, order: int | None) -> tuple[Any, int]:
        """Return the value of an expression that is not elementwise, and its rank."""
        match expr:
            case Number(value=value):
                return self.array(float(value)), 0
            case Name(id=name):
                return self.values[name], len(self.cell.shapes[name])
            case MatMul(left=left, right=right):
                return self.product(left, right)
            case Transpose(operand=operand):
                return self.xp.swapaxes(self.of(operand)[0], -1, -2), 2
            case Concat(parts=parts):
                return self.concat([value for value, _ in self.beside(parts)]), 1
            case Call(function="outer", args=args):
                return self.outer(*self.beside(args)), 2
            case Call(function="merge", args=(part, _)):
                value = self.of(part)[0]
                return value.reshape((*value.shape[:-2], value.shape[-2] * value.shape[-1])), 1
            case Call(function="part", args=(part, _)):
                value = self.of(part)[0]
                return value.reshape((*value.shape[:-1], self.heads, value.shape[-1] // self.heads)), 1
            case Call(function="eye"):
                assert order is not None, "shapes are checked: a matrix stands beside every `eye`"
                return self.array(np.eye(order)), 2
            case Call(function=function, args=args):
                return self.structural(function, args)
        raise TypeError(f"not an expression: {expr!r}")

    def product(self, left: Expr, right: Expr) -> tuple[Any, int]:
        (a, rank), (v, _) = self.beside((left, right))
        if len(a.shape) == 2 == rank:
            return v @ a.T, 1
        return self.xp.sum(a * self.align(v, 1, rank), axis=-1), rank - 1

    def outer(self, left: tuple[Any, int], right: tuple[Any, int]) -> Any:
        """Return the outer product of two vectors, or of a vector and a number, which is spread over it."""
        (a, rank), (b, its) = left, right
        return (a[..., :, None] if rank else a[..., None, None]) * (b[..., None, :] if its else b[..., None, None])

    def concat(self, parts: list[Any]) -> Any:
        lead = self.xp.broadcast_shapes(*(tuple(p.shape[:-1]) for p in parts))
        return self.xp.concatenate([self.xp.broadcast_to(p, (*lead, p.shape[-1])) for p in parts], axis=-1)

    def structural(self, function: str, args: tuple[Expr, ...]) -> tuple[Any, int]:
        value, rank = self.of(args[0])
        if function == "sum" and len(args) == 2:
            (axis,) = (int(arg.value) for arg in args[1:] if isinstance(arg, Number))
            return self.xp.sum(value, axis=axis - 2), 1
        if function in ("sum", "mean"):
            total = self.xp.sum(value, axis=tuple(range(-rank, 0)))
            count = math.prod(value.shape[len(value.shape) - rank :])
            return (total if function == "sum" else total / count), 0
        if function == "len":
            return self.array(float(value.shape[-1])), 0
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
        parts = self.beside(children(expr), order)
        rank = max(r for _, r in parts)
        values = [self.align(value, r, rank) for value, r in parts]
        return self.applied(expr, values), rank

    def beside(self, parts: tuple[Expr, ...], order: int | None = None) -> list[tuple[Any, int]]:
        """Return the values of expressions that stand beside one another, with the axis of heads where one has it, and their ranks."""
        headed = any(is_headed(part, self.cell.headed) for part in parts)
        found = [self.of(part, order) for part in parts]
        return [(self.each(value, rank, part, headed), rank) for (value, rank), part in zip(found, parts, strict=True)]

    def applied(self, expr: Expr, values: list[Any]) -> Any:
        """Return what an elementwise operation makes of the values of its parts."""
        match expr:
            case Power(exponent=exponent):
                return values[0] ** (int(exponent) if exponent.denominator == 1 else float(exponent))
            case Negative():
                return -values[0]
            case Binary(op=op) | Compare(op=op):
                return OPERATORS[op](*values)
            case Call(function=function):
                return self.functions[function](*values)
        raise TypeError(f"not an expression: {expr!r}")

    def order(self, expr: Expr, known: int | None) -> int | None:
        """Return the number of rows of `eye` in an elementwise expression: that of any other matrix in it."""
        sides = [] if known is not None else [self.side(leaf) for leaf in leaves(expr)]
        return next((side for side in sides if side is not None), known)

    def side(self, leaf: Expr) -> int | None:
        if isinstance(leaf, Transpose):
            return self.order(leaf.operand, None)
        if isinstance(leaf, Call) and leaf.function == "outer":
            vectors = [part for part in leaf.args if rank_of(part, self.cell.shapes) == 1]  # a square matrix is as wide as it is high
            return int(self.of(vectors[0])[0].shape[-1])
        return int(self.values[leaf.id].shape[-1]) if isinstance(leaf, Name) and len(self.cell.shapes[leaf.id]) == 2 else None

    def align(self, value: Any, rank: int, needed: int) -> Any:
        """Return a value a row with the axes in front of its own that it needs to stand beside one of a higher rank."""
        lead = len(value.shape) - rank
        return value[(..., *[None] * (needed - rank), *[slice(None)] * rank)] if lead and rank < needed else value
