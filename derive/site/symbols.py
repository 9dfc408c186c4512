"""What the symbols of a cell are: shapes, where each comes from, and how many numbers its parameters hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from ..cell import Cell
from ..language.declarations import RULES
from ..language.sizes import Size, axes_text
from ..notation.lines import LineFormulas
from ..notation.reasons import listed
from ..notation.written import latex_of
from .formulas import inline

SIZE, HEADS = 128, 8  # of examples


@dataclass(frozen=True)
class Symbol:
    """One row of the table: LaTeX, the name in code, the shape of a row, and what it is, as a sentence."""

    tex: str
    name: str
    shape: str
    what: str


def symbols(cell: Cell) -> list[Symbol]:
    """Return inputs, context, states, parameters, constants and then what the lines make."""
    formulas = LineFormulas(cell, latex_of(cell))
    return [
        Symbol(formulas.name(name), name, axes_text(shape=shape) if (shape := cell.axes[name]) else "a number", what)
        for name, what in _found(cell)
    ]


def _found(cell: Cell) -> Iterator[tuple[str, str]]:
    yield from ((name, "input: the class, an integer" if name in cell.integers else _given(cell, name, "input")) for name in cell.inputs)
    yield from ((name, _given(cell, name, "context: given once for a sequence")) for name in cell.context)
    yield from ((f"{state}_prev", _state(cell, state)) for state in cell.states)
    yield from ((name, _parameter(cell, name)) for name in cell.parameters)
    yield from ((name, f"constant, {value}") for name, value in cell.scalar_constants.items())
    yield from ((name, "constant") for name in cell.constant_arrays)
    for number, line in zip(cell.unrolled.numbers, cell.equations, strict=True):
        for name in line.targets:
            ways = [
                f"computed in [F{number}]",
                *(["state"] if name in cell.states else []),
                *(["the output"] if name == cell.output else []),
            ]
            yield name, ", ".join(ways)


def _state(cell: Cell, state: str) -> str:
    start = f"{cell.init[state]:g}" if state in cell.init else "zero"
    return f"state before the step; {start} before the first"


def _given(cell: Cell, name: str, what: str) -> str:
    return f"{what}, without a gradient" if name in cell.fixed else what


def _parameter(cell: Cell, name: str) -> str:
    kind = "parameter without a gradient" if name in cell.fixed else "parameter"
    rule = cell.init.get(name)
    if rule is None:
        return kind
    return f"{kind}, starts by the rule `{rule}`" if rule in RULES else f"{kind}, starts at {rule:g}"


def sizes(cell: Cell) -> dict[str, str]:
    """Return what the usual sizes of a cell are the numbers of."""
    heads = {cell.heads: "heads"} if cell.heads else {}
    known = heads | {"d": "features of the input", "n": "features of the state (hidden size)" if cell.states else "features of the output"}
    return {name: text for name, text in known.items() if name in cell.sizes}


def usual(cell: Cell) -> dict[str, int]:
    """Return the sizes of an example."""
    return {name: HEADS if name == cell.heads else SIZE for name in cell.sizes}


def at(cell: Cell) -> str:
    """Return HTML that says at which sizes an example is; nothing, if the cell has none."""
    return f" with {listed([inline(f'{name} = {number}') for name, number in usual(cell).items()])}" if cell.sizes else ""


def parameter_count(cell: Cell) -> sp.Expr:
    """Return how many numbers the parameters hold, as a polynomial in the sizes."""
    return sp.expand(sum((sp.Mul(*map(_expression, cell.axes[name])) for name in cell.parameters), start=sp.Integer(0)))


def parameter_tex(cell: Cell) -> str:
    """Return `parameter_count` in LaTeX, the highest powers first."""
    return sp.latex(parameter_count(cell), mul_symbol="\\,") if cell.parameters else "0"


def count_at(cell: Cell, values: dict[str, int]) -> int:
    """Return the number of parameters at the given sizes."""
    return int(parameter_count(cell).subs({sp.Symbol(name): values[name] for name in cell.sizes}))


def _expression(size: Size) -> sp.Expr:
    products = (sp.Mul(k, *map(sp.Symbol, product.split("*"))) for product, k in size.terms)
    return sp.Add(sp.Integer(size.constant), *products)
