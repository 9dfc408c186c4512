"""Expression trees as PyTorch: values with any axes in front, the last one, or two, their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from ...calculus.naming import Names
from ...language.definition import Definition
from ...language.names import previous
from ...language.shapes import rank_of
from ...language.sizes import Size
from ...language.tree import Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Transpose
from ...language.unparse import decimal
from ...language.walks import children, is_elementwise, is_where, leaves
from ..sizes import size_source
from ..source import ATOM, PRODUCT, SUM, Source, Tree, assign, code, listed, name
from .functions import CALLS

OWN = ("torch", "Tensor", "step", "FIXED")
"""What the module calls so itself; its other names begin with an underscore, which no name of a cell does."""


@dataclass(frozen=True)
class Value:
    """An expression: how many axes are its own, whether it has a row for each sequence, and whether it is a number of Python."""

    source: Source
    rank: int = 0
    batched: bool = False
    number: bool = False

    @property
    def atom(self) -> Source:
        return self.source.within(ATOM)


@dataclass(frozen=True)
class Choice:
    """The rows, and features if its rank is 1, for which a choice falls on a branch: a name, or the contrary of one."""

    condition: Value

    def on(self, chosen: bool) -> Choice:
        return self if chosen else Choice(replace(self.condition, source=code("~{}", self.condition.source, binding=PRODUCT)))


Choices = tuple[Choice, ...]


def literal(value: Fraction) -> Source:
    """Return a number as Python writes it."""
    text = decimal(abs(value)) or repr(float(abs(value)))
    return Source(text) if value >= 0 else Source(f"-{text}", binding=SUM)


class Expressions:
    """Prints expressions of a cell, whose names it knows by then.

    Attributes
    ----------
    values : dict
        What is known, by the cell's name.
    like : Source
        A tensor of the step's dtype and device.
    select : bool
        Whether what a branch that is not chosen reads is a constant.
    """

    def __init__(self, cell: Definition) -> None:
        self.cell, self.names = cell, Names(OWN)
        self.values: dict[str, Value] = {}
        self.conditions: dict[tuple[Expr, str], Value] = {}
        self.select = True
        self._statements: list[Tree] = []
        self._variables: dict[str, str] = {}

    def given(self, own: str) -> str:
        """Return what an argument is called."""
        return self.named(own, Value(Source(""), len(self.cell.shapes[own]), own in self.cell.batched))

    def named(self, own: str, value: Value) -> str:
        """Return the variable of a name of the cell, which has a value from now on."""
        if own not in self._variables:
            self._variables[own] = self.names.fresh(own)
        self.values[own] = replace(value, source=name(self._variables[own]))
        return self._variables[own]

    def taken(self) -> list[Tree]:
        """Return the statements that expressions need before them, once."""
        found, self._statements = self._statements, []
        return found

    @property
    def like(self) -> Source:
        cell = self.cell
        names = (*cell.inputs, *cell.context, *map(previous, cell.states), *cell.parameters)
        return self.values[next(own for own in names if own not in cell.integers)].source

    @property
    def lead(self) -> Source:
        """The axes in front of what has a row for each sequence."""
        cell = self.cell
        value = self.values[next(iter((*cell.inputs, *cell.context, *map(previous, cell.states))))]
        return code("{}.shape[:-1]" if value.rank else "{}.shape", value.source)

    # Shapes

    def tensor(self, value: Value) -> Value:
        """Return a number as a tensor."""
        return Value(code("{}.new_tensor({})", self.like, value.source)) if value.number else value

    def aligned(self, value: Value, rank: int) -> Value:
        """Return a scalar a row with a last axis to stand beside a vector."""
        if value.rank or rank != 1 or not value.batched:
            return value
        return replace(value, source=code("{}[..., None]", value.atom), rank=1)

    def full(self, own: str, value: Value) -> Value:
        """Return a value in the shape of the name that it is assigned to."""
        shape, batched = self.cell.shapes[own], own in self.cell.batched
        missing = shape[: len(shape) - value.rank]
        if not missing and value.batched >= batched:
            return value
        lead = [code("*{}", self.lead)] if batched else []
        sizes = [size_source(size, self.size) for size in missing]
        made = self.aligned(self.tensor(value), len(shape))
        source = code("{}.expand({})", made.atom, listed([*lead, *sizes, *[code("-1")] * (len(shape) - len(missing))]))
        return Value(source, len(shape), batched)

    def size(self, wanted: str) -> Source:
        """Return a named size, from an argument that tells it."""
        found = list(self.told(wanted))
        whole = next((of for size, of in found if size == Size.of(wanted)), None)
        if whole is not None:
            return whole
        size, of = found[0]
        less = code("({} - {})", of, size.constant) if size.constant else of
        return code("{} // {}", less, size.coefficient(wanted), binding=PRODUCT)

    def told(self, wanted: str) -> Iterator[tuple[Size, Source]]:
        """Yield the axes of what is known whose sizes are of one named size alone."""
        for own, value in self.values.items():
            for axis, size in enumerate(self.cell.shapes[own], -len(self.cell.shapes[own])):
                if size.names == (wanted,):
                    yield size, code("{}.shape[{}]", value.source, axis)

    # Expressions. A zero that comes back from a branch that is not chosen must meet no slope: it stays zero through sums and linear maps.

    def of(self, expr: Expr, around: Choices = (), quiet: Choices = (), order: Source | None = None) -> Value:
        """Return the value of an expression.

        Parameters
        ----------
        expr : Expr
        around, quiet : tuple of Choice
            Those within which it stands: where they fall on another branch, the expression's gradient is to be zero, and is zero.
        order : Source, optional
            The number of rows of `eye`.
        """
        if rank_of(expr, self.cell.shapes) == 2:  # a matrix is one for all rows
            around, quiet = (tuple(c for c in choices if not c.condition.batched) for choices in (around, quiet))
        if (around or quiet) and _is_linear(expr):
            return self.kept(self.of(expr, (), (), order), around)
        if is_where(expr):
            return self.where(children(expr), around, quiet, order or self.order(expr))
        if is_elementwise(expr):
            return self.elementwise(expr, around, quiet, order or self.order(expr))
        inner = tuple(choice for choice in (*around, *quiet) if choice.condition.rank == 0)  # others mean features, which it mixes
        if _mixes_linearly(expr):
            return self.kept(self.mixed(expr, (), inner, order), around)
        return self.kept(self.mixed(expr, inner, (), order), [choice for choice in around if choice not in inner])

    def where(self, parts: Sequence[Expr], around: Choices, quiet: Choices, order: Source | None) -> Value:
        condition, *branches = parts
        guarded = self.select and not all(map(_is_linear, branches))
        choice = self.choice(condition, order) if guarded else Choice(self.condition(condition, order))
        values = [choice.condition]
        for chosen, branch in zip((True, False), branches, strict=True):
            values.append(self.of(branch, around, (*quiet, choice.on(chosen)) if guarded else quiet, order))
        if values[1].number and values[2].number:
            values[1] = self.tensor(values[1])
        return self.joined("torch.where({}, {}, {})", values)

    def choice(self, condition: Expr, order: Source | None = None) -> Choice:
        """Return a choice as a variable, which is assigned before what is being printed."""
        key = (condition, order.text if order else "")
        if key not in self.conditions:
            value = self.condition(condition, order)
            variable = self.names.fresh("chosen")
            self._statements.append(assign(variable, value.source))
            self.conditions[key] = replace(value, source=name(variable))
        return Choice(self.conditions[key])

    def condition(self, condition: Expr, order: Source | None) -> Value:
        known = self.conditions.get((condition, order.text if order else ""))
        return known or self.of(condition, order=order)

    def kept(self, value: Value, around: Sequence[Choice]) -> Value:
        """Return a value that is a constant where a choice around it falls on another branch."""
        for choice in around:
            if not value.number:
                value = self.joined("_kept({}, {})", [choice.condition, value])
        return value

    def joined(self, form: str, values: Sequence[Value], binding: int = ATOM) -> Value:
        """Return what a call makes of values, element by element."""
        rank = max(value.rank for value in values)
        return Value(
            code(form, *(self.aligned(value, rank).source for value in values), binding=binding), rank, any(v.batched for v in values)
        )

    def elementwise(self, expr: Expr, around: Choices, quiet: Choices, order: Source | None) -> Value:
        if not _is_sum(expr):
            around, quiet = (*around, *quiet), ()
        parts = [self.of(part, around, quiet, order) for part in children(expr)]
        if isinstance(expr, Call):
            return self.called(expr.function, parts)
        rank, number = max(part.rank for part in parts), all(part.number for part in parts)
        if number and isinstance(expr, Compare):
            parts[0] = self.tensor(parts[0])
        return Value(_operation(expr, [self.aligned(part, rank).source for part in parts]), rank, any(p.batched for p in parts), number)

    def called(self, function: str, parts: Sequence[Value]) -> Value:
        form = CALLS.get(function) or f"torch.{function}({', '.join(['{}'] * len(parts))})"
        tensors = [self.tensor(part) for part in parts]
        if form.startswith("-"):
            (part,) = tensors
            return replace(part, source=code(form, part.source.within(PRODUCT), binding=SUM))
        return self.joined(form, tensors)

    def mixed(self, expr: Expr, around: Choices, quiet: Choices, order: Source | None) -> Value:
        """Return the value of what is not elementwise."""
        match expr:
            case Number(value=value):
                return Value(literal(value), number=True)
            case Name(id=own):
                return self.values[own]
            case MatMul(left=left, right=right):
                return self.product(left, right, around, quiet)
            case Transpose(operand=operand):
                return Value(code("{}.T", self.of(operand, around, quiet).atom), 2)
            case Concat(parts=parts):
                return self.concatenated([self.of(part, around, quiet) for part in parts])
            case Call(function="eye"):
                assert order is not None, "shapes are checked: a matrix stands beside every `eye`"
                return Value(code("torch.eye({}, dtype={}.dtype, device={}.device)", order, self.like, self.like), 2)
            case Call(function=function, args=args):
                return self.structural(function, [self.of(arg, around, quiet) for arg in args])
        raise TypeError(f"not an expression: {expr!r}")

    def product(self, left: Expr, right: Expr, around: Choices, quiet: Choices) -> Value:
        v = self.of(right, around, quiet)
        if rank_of(left, self.cell.shapes) == 1:
            a = self.of(left, around, quiet)
            return Value(code("({} * {}).sum(-1)", a.source.within(PRODUCT), v.atom), 0, a.batched or v.batched)
        row = v.source.within(PRODUCT) if isinstance(right, MatMul) else v.atom
        turned = isinstance(left, Transpose)
        matrix = self.of(left.operand if isinstance(left, Transpose) else left, around, quiet).atom
        return Value(code("{} @ {}" if turned else "{} @ {}.T", row, matrix, binding=PRODUCT), 1, v.batched)

    def concatenated(self, parts: Sequence[Value]) -> Value:
        batched = any(part.batched for part in parts)
        whole = [part.source if part.batched == batched else code("{}.expand(*{}, -1)", part.atom, self.lead) for part in parts]
        return Value(code("torch.cat(({}), -1)", listed(whole)) if len(whole) > 1 else whole[0], 1, batched)

    def structural(self, function: str, args: Sequence[Value]) -> Value:
        value, *_ = args
        batched = any(arg.batched for arg in args)
        if function == "len":
            return Value(code("{}.shape[-1]", value.atom), number=True)
        if function in ("sum", "mean"):
            return Value(code("{}.{}({})", value.atom, function, "-1" if value.rank == 1 else ""), 0, batched)
        return Value(code(CALLS[function], *(arg.source for arg in args)), int(function in ("softmax", "layer_norm")), batched)

    def order(self, expr: Expr) -> Source | None:
        """Return the number of rows of `eye` in an elementwise expression: that of any other matrix in it."""
        return next((side for side in map(self.side, leaves(expr)) if side is not None), None)

    def side(self, leaf: Expr) -> Source | None:
        if isinstance(leaf, Transpose):
            return self.order(leaf.operand)
        of_matrix = isinstance(leaf, Name) and len(self.cell.shapes[leaf.id]) == 2
        return code("{}.shape[-1]", self.values[leaf.id].source) if isinstance(leaf, Name) and of_matrix else None


def _is_sum(expr: Expr) -> bool:
    """Say whether an elementwise expression hands a gradient on as it is, or with the other sign."""
    return isinstance(expr, Negative) or (isinstance(expr, Binary) and expr.op in "+-")


def _mixes_linearly(expr: Expr) -> bool:
    """Say whether an expression that is not elementwise is linear in what it mixes: a zero gradient stays zero."""
    return not (isinstance(expr, Call) and expr.function in ("softmax", "logsumexp", "layer_norm"))


def _is_linear(expr: Expr) -> bool:
    """Say whether a zero gradient by an expression is zero by all that it reads."""
    return (_is_sum(expr) if is_elementwise(expr) else _mixes_linearly(expr)) and all(map(_is_linear, children(expr)))


def _operation(expr: Expr, parts: Sequence[Source]) -> Source:
    """Return an operator's expression of its parts."""
    match expr:
        case Power(exponent=exponent):
            power = str(exponent) if exponent.denominator == 1 else repr(float(exponent))
            return code("{} ** {}", parts[0].within(ATOM), power, binding=PRODUCT)
        case Negative():
            return code("-{}", parts[0].within(PRODUCT), binding=SUM)
        case Binary(op=op):
            level = SUM if op in "+-" else PRODUCT
            return code(f"{{}} {op} {{}}", parts[0].within(level), parts[1].within(level + 1), binding=level)
        case Compare(op=op):
            return code(f"{{}} {op} {{}}", parts[0].within(SUM), parts[1].within(SUM), binding=0)
    raise TypeError(f"not an expression: {expr!r}")
