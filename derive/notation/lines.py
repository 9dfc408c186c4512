"""Formulas of a cell's own lines, as their author ordered them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ..calculus.functions import COMPARISONS, FUNCTIONS
from ..language.definition import Definition
from ..language.functions import put_in
from ..language.shapes import rank_of, shape_of
from ..language.sizes import Size
from ..language.tree import Assignment, Binary, Call, Compare, Concat, Expr, Indexed, MatMul, Name, Negative, Number, Power, Transpose
from ..language.walks import with_leaves
from .style import ATOM, PRODUCT, SUM, Latex, Style


@dataclass(frozen=True)
class LineFormulas:
    """Formulas of a cell's own lines, from its expression trees."""

    cell: Definition
    style: Style
    variables: tuple[str, ...] = ()  # of blocks around, or arguments of a function

    def line(self, line: Assignment, *, again: bool = False) -> str:
        """Return a line; with `again`, of names that get other values within the step."""
        targets = [self.name(t) for t in line.targets]
        left = targets[0] if len(targets) == 1 else self.style.concat(targets)
        return (self.style.becomes if again else self.style.equals)(left, self.text(line.value))

    def name(self, identifier: str) -> str:
        cell = self.cell
        if identifier in self.variables:
            return self.style.name(identifier)
        for state in cell.states:
            if identifier == f"{state}_prev":
                return self.style.name(state, "t-1")
        if identifier in cell.inputs and identifier not in cell.integers:
            return self.style.current(identifier)
        varying = identifier in cell.batched and identifier not in cell.context
        return self.style.name(identifier, "t" if varying else "")

    def text(self, expr: Expr) -> str:
        return self._print(expr)[0]

    def _within(self, expr: Expr, level: int) -> str:
        text, binding = self._print(expr)
        return text if binding >= level else self.style.group(text)

    def scalar(self, expr: Expr) -> bool:
        """Say whether a factor is a number a row."""
        return self.rank(expr) == 0

    def rank(self, expr: Expr) -> int:
        """Return how many axes a value has; of arguments nothing is known, and they are taken for vectors."""
        shapes = {**self.cell.shapes, **dict.fromkeys(self.variables, ())} if self.variables else self.cell.shapes
        try:
            return rank_of(self._opened(expr), shapes)
        except KeyError:
            return 1

    def size(self, expr: Expr) -> Size | None:
        """Return the number of a vector's features; None for an argument, of which nothing is known."""
        try:
            return shape_of(self._opened(expr), self.cell.shapes)[0]
        except KeyError:
            return None

    def _opened(self, expr: Expr) -> Expr:
        """Return an expression with its functions put in, and one of several parameters for all."""
        families, macros = self.cell.unrolled.families, self.cell.own.macros
        if families:
            expr = with_leaves(expr, lambda leaf: Name(families[leaf.name][0]) if isinstance(leaf, Indexed) else leaf)
        return put_in(expr, macros) if macros else expr

    def _print(self, expr: Expr) -> tuple[str, int]:
        style = self.style
        match expr:
            case Number(value=value):
                return style.number(value), ATOM if value >= 0 else SUM
            case Name(id=name):
                return self.name(name), ATOM
            case Indexed(name=name, variable=variable, offset=offset):
                return style.numbered(name, variable, offset), ATOM
            case Negative(operand=operand):
                return "-" + self._within(operand, PRODUCT), SUM
            case Binary(op="+" | "-" as op, left=left, right=right):
                return f"{self._within(left, SUM)} {op} {self._within(right, SUM if op == '+' else PRODUCT)}", SUM
            case Binary(op="/", left=left, right=right):
                if isinstance(style, Latex):
                    return style.fraction(self.text(left), self.text(right)), ATOM
                return style.fraction(self._within(left, PRODUCT), self._within(right, ATOM)), PRODUCT
            case Binary(left=left, right=right):
                sign = style.space if self.scalar(left) or self.scalar(right) else style.hadamard
                return f"{self._within(left, PRODUCT)}{sign}{self._within(right, PRODUCT)}", PRODUCT
            case Power(base=base, exponent=exponent):
                return style.power(self._within(base, ATOM), style.number(exponent)), ATOM
            case MatMul(left=left, right=right):
                inner = self.rank(left) < 2  # an argument may be taken for a number
                first = self._within(left, PRODUCT)
                return f"{style.transposed(first) if inner else first}{style.space}{self._within(right, ATOM)}", PRODUCT
            case Transpose(operand=operand):
                return style.transposed(self._within(operand, ATOM)), ATOM
            case Concat(parts=parts):
                return style.concat([self.text(p) for p in parts]), ATOM
            case Compare(op=op, left=left, right=right):
                return self._template(COMPARISONS[op].info.name, [left, right]), SUM
            case Call(function="eye"):
                return "I", ATOM
            case Call(function="outer", args=(left, right)):
                column, row = (self._within(part, ATOM) if self.rank(part) else "1" for part in (left, right))
                numbers = [self._within(part, ATOM) for part in (left, right) if not self.rank(part) and part != Number(Fraction(1))]
                return style.space.join([*numbers, column, style.transposed(row)]), PRODUCT
            case Call(function="sum", args=(value, Number(value=axis))):
                matrix = self._within(value, ATOM)
                return f"{matrix if axis else style.transposed(matrix)}{style.space}1", PRODUCT
            case Call(function="merge" | "part" as function, args=(value, *_)):
                return style.apply(function, self.text(value)), ATOM
            case Call(function="len", args=(value,)) if (size := self.size(value)) is not None:
                return str(size), ATOM if len(size.names) == 1 else SUM
            case Call(function="pick", args=(vector, index)):
                return style.picked(self.text(vector), self.text(index)), ATOM
            case Call(function="sum", args=(value,)):
                return style.sum_features(self._within(value, PRODUCT), "ij"[2 - self.rank(value) :]), PRODUCT
            case Call(function=name, args=args) if name in self.cell.arguments:
                return style.function(name, *(self.text(a) for a in args)), ATOM
            case Call(function=name, args=args) if name in FUNCTIONS:
                return self._template(name, list(args)), ATOM
            case Call(function=name, args=args):
                return style.apply(name, *(self.text(a) for a in args)), ATOM
        raise TypeError(f"no formula for {type(expr).__name__}")

    def _template(self, function: str, args: list[Expr]) -> str:
        info = FUNCTIONS[function].info
        return (info.latex if isinstance(self.style, Latex) else info.text).format(*(self.text(a) for a in args))
