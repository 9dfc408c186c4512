"""Jacobian blocks as LaTeX and text: ``∂c_t/∂h_{t-1} = Diag(c_{t-1} ⊙ f ⊙ (1 - f)) U_f + …``"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from ..calculus.ir import Map, Recurrence
from ..calculus.jacobian import Jacobian, Key
from ..calculus.linear import IDENTITY, Block, Column, Diag, Factor, Matrix, Range, Row, Select, Term, Unit
from ..calculus.symbols import is_value
from ..language.definition import Definition
from .formula import Formulas
from .style import ATOM, PRODUCT, SUM, Latex, Style, Text
from .written import latex_of


def text_lines(jacobian: Jacobian) -> dict[Key, str]:
    """Return one line of plain text a block, such as ``∂c_t/∂c_{t-1} = Diag(f)``."""
    lines = BlockFormulas(jacobian.cell, jacobian.forward, Text({}))
    return {
        key: f"∂{lines.value(key[0])}/∂{lines.value(key[1])} = {lines.block(block, scalar=lines.scalar(*key))}"
        for key, block in jacobian.blocks.items()
    }


def latex_lines(jacobian: Jacobian) -> dict[Key, str]:
    """Return the LaTeX of each block's equation."""
    lines = BlockFormulas(jacobian.cell, jacobian.forward, latex_of(jacobian.cell))
    heads = {(of, by): rf"\frac{{\partial {lines.value(of)}}}{{\partial {lines.value(by)}}}" for of, by in jacobian.blocks}
    return {key: f"{heads[key]} = {lines.block(block, scalar=lines.scalar(*key))}" for key, block in jacobian.blocks.items()}


@dataclass(frozen=True)
class BlockFormulas:
    """Formulas of sums of products of factors."""

    cell: Definition
    forward: Recurrence
    style: Style

    @property
    def formulas(self) -> Formulas:
        return Formulas(self.cell, self.forward, self.style)

    def scalar(self, *names: str) -> bool:
        """Say whether all of `names` are numbers a row."""
        return not any(self.forward.types[name].shape for name in names)

    def value(self, name: str) -> str:
        """Return a value with its time, which plain text elsewhere leaves out if it is t."""
        text = self.formulas.left(name)
        timeless = isinstance(self.style, Text) and name not in self.forward.contexts and "_{" not in text
        return f"{text}_t" if timeless else text

    def block(self, block: Block, *, scalar: bool = False) -> str:
        """Return the formula of a sum of products; `scalar` says that it is a number a row."""
        if block.is_zero:
            return "0"
        (sign, first), *rest = (self.term(term, scalar=scalar) for term in block.terms)
        return ("-" if sign < 0 else "") + first + "".join(f" {'-' if sign < 0 else '+'} {text}" for sign, text in rest)

    def term(self, term: Term, *, scalar: bool) -> tuple[int, str]:
        """Return a product's sign and its formula without it."""
        sign, parts, alone = 1, [], len(term.factors) == 1
        for factor in term.factors:
            if isinstance(factor, Diag | Column | Row) and factor.expr.as_coeff_Mul()[0].is_negative:
                sign, factor = -sign, replace(factor, expr=-factor.expr)
            if scalar and alone and isinstance(factor, Diag):
                return sign, self.elementwise(factor.expr, PRODUCT)
            if alone or factor != IDENTITY:
                parts.append(self.factor(factor, alone=alone))
        return sign, self.style.space.join(parts)

    def factor(self, factor: Factor, *, alone: bool) -> str:
        style = self.style
        match factor:
            case Diag(expr=expr, scalar=True):
                product = expr.is_Mul and not any(f.is_Pow and f.exp.is_negative for f in expr.args)
                head = "" if expr == 1 else self.elementwise(expr, PRODUCT if product else ATOM)
                return style.space.join(t for t in (head, "I" if alone else "") if t)
            case Diag(expr=expr):
                return style.apply("Diag", self.elementwise(expr, SUM))
            case Column(expr=expr):
                return self.vector(expr, PRODUCT if alone else ATOM)
            case Row(expr=expr):
                return style.transposed(self.vector(expr, ATOM))
            case Matrix(name=name, transposed=transposed, rows=rows, columns=columns):
                text = style.transposed(self.formulas.operand(name)) if transposed else self.formulas.operand(name)
                return text if rows is columns is None else style.picked(text, f"{self.span(rows)}, {self.span(columns)}")
            case Select(part=part, transposed=transposed):
                return style.picked("I", f":, {self.span(part)}" if transposed else f"{self.span(part)}, :")
            case Unit(index=index, transposed=transposed):
                unit = style.unit(self.formulas.name(index))
                return style.transposed(unit) if transposed else unit

    def span(self, part: Range | None) -> str:
        return ":" if part is None else self.style.span(part.start, part.start + part.size)

    def vector(self, expr: sp.Expr, level: int) -> str:
        """Return a column: an expression of numbers alone is that many times the vector of ones."""
        types = self.forward.types
        if any(types[s.name].shape for s in expr.free_symbols if is_value(s)):
            return self.elementwise(expr, level)
        ones = r"\mathbf{1}" if isinstance(self.style, Latex) else "1"
        if expr == 1:
            return ones
        text = f"{self.elementwise(expr, ATOM)}{self.style.space}{ones}"
        return text if level <= PRODUCT else self.style.group(text)

    def elementwise(self, expr: sp.Expr, level: int) -> str:
        text, binding = self.formulas.node(Map(expr))
        return text if binding >= level else self.style.group(text)
