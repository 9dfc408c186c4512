"""Jacobian blocks as LaTeX and text: ``∂c_t/∂h_{t-1} = Diag(c_{t-1} ⊙ f ⊙ (1 - f)) U_f + …``"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from ..cell import Cell
from ..ir import Map, Recurrence
from ..linear import Block, Column, Diag, Factor, Matrix, Range, Row, Select, Term, Unit
from .formula import ATOM, PRODUCT, SUM, Formulas
from .notation import Latex, Style, Text

Key = tuple[str, str]


def text_lines(cell: Cell, forward: Recurrence, blocks: Mapping[Key, Block]) -> dict[Key, str]:
    """Return one line of plain text a block."""
    lines = BlockFormulas(cell, forward, Text({}))
    return {key: f"∂{lines.value(key[0])}/∂{lines.value(key[1])} = {lines.block(block)}" for key, block in blocks.items()}


def latex_lines(cell: Cell, forward: Recurrence, blocks: Mapping[Key, Block]) -> dict[Key, str]:
    """Return the LaTeX of each block's equation."""
    lines = BlockFormulas(cell, forward, Latex(cell.latex))
    heads = {(of, by): rf"\frac{{\partial {lines.value(of)}}}{{\partial {lines.value(by)}}}" for of, by in blocks}
    return {key: f"{heads[key]} = {lines.block(block)}" for key, block in blocks.items()}


@dataclass(frozen=True)
class BlockFormulas:
    """Formulas of sums of products of factors."""

    cell: Cell
    forward: Recurrence
    style: Style

    @property
    def formulas(self) -> Formulas:
        return Formulas(self.cell, self.forward, self.style)

    def value(self, name: str) -> str:
        """Return a value with its time, which plain text elsewhere leaves out if it is t."""
        text = self.formulas.left(name)
        timeless = isinstance(self.style, Text) and name not in self.forward.contexts and "_{" not in text
        return f"{text}_t" if timeless else text

    def block(self, block: Block) -> str:
        if block.is_zero:
            return "0"
        (sign, first), *rest = (self.term(term) for term in block.terms)
        return ("-" if sign < 0 else "") + first + "".join(f" {'-' if sign < 0 else '+'} {text}" for sign, text in rest)

    def term(self, term: Term) -> tuple[int, str]:
        """Return a product's sign and its formula without it."""
        sign, parts = 1, []
        for factor in term.factors:
            if isinstance(factor, Diag | Column | Row) and factor.expr.as_coeff_Mul()[0].is_negative:
                sign, factor = -sign, type(factor)(-factor.expr, *list(vars(factor).values())[1:])
            if not (isinstance(factor, Diag) and factor.expr == 1 and len(term.factors) > 1):
                parts.append(self.factor(factor, alone=len(term.factors) == 1))
        return sign, self.style.space.join(parts)

    def factor(self, factor: Factor, *, alone: bool) -> str:
        style = self.style
        match factor:
            case Diag(expr=expr, scalar=True):
                head = "" if expr == 1 else self.elementwise(expr, PRODUCT)
                return style.space.join(t for t in (head, "I" if alone else "") if t)
            case Diag(expr=expr):
                return style.diagonal(self.elementwise(expr, SUM))
            case Column(expr=expr, size=size):
                return self.vector(expr, ATOM if alone else PRODUCT)
            case Row(expr=expr):
                return self.vector(expr, ATOM) + style.transpose
            case Matrix(name=name, transposed=transposed, rows=rows, columns=columns):
                text = self.formulas.operand(name) + (style.transpose if transposed else "")
                return text if rows is columns is None else style.picked(text, f"{self.range(rows)}, {self.range(columns)}")
            case Select(part=part, transposed=transposed):
                return style.picked("I", f"{self.range(part)}, :" if not transposed else f":, {self.range(part)}")
            case Unit(index=index, transposed=transposed):
                return style.unit(self.formulas.name(index)) + (style.transpose if transposed else "")

    def range(self, part: Range | None) -> str:
        return ":" if part is None else f"{part.start} : {part.start + part.size}"

    def vector(self, expr: sp.Expr, level: int) -> str: ...

    def elementwise(self, expr: sp.Expr, level: int) -> str:
        text, binding = self.formulas.node(Map(expr))
        return text if binding >= level else self.style.group(text)
