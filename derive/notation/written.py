"""A cell's lines as its author wrote them: blocks as blocks, functions of the cell's own by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..language.definition import Definition
from ..language.parse import parse_expression
from ..language.tree import Block, Statement
from ..language.unroll import blocks
from .lines import LineFormulas
from .style import Latex, Style, Text


@dataclass(frozen=True)
class Written:
    """A line, or the head of a block.

    Attributes
    ----------
    tag : str
        Its number, `F2`; `F3.j` for the copies that a block makes, with the variable of that; none for a head.
    text : str
    depth : int
        How many blocks are around.
    """

    tag: str
    text: str
    depth: int


def written(cell: Definition, style: Style | None = None) -> list[Written]:
    """Return the lines of `cell`."""
    style = style or Text({})
    count = iter(range(1, len(cell.equations) + 1))
    again = frozenset(name for name, _ in cell.unrolled.versions.values())

    def visit(statements: tuple[Statement, ...], variables: tuple[str, ...]) -> Iterator[Written]:
        formulas = LineFormulas(cell, style, variables)
        for statement in statements:
            if isinstance(statement, Block):
                first, last = statement.start, statement.stop - 1
                head = style.block(style.name(statement.variable), str(first), str(last))
                yield Written("", head, len(variables))
                yield from visit(statement.body, (*variables, statement.variable))
            else:
                tag = ".".join([f"F{next(count)}", *variables])
                yield Written(tag, formulas.line(statement, again=not again.isdisjoint(statement.targets)), len(variables))

    return list(visit(cell.statements, ()))


def has_blocks(cell: Definition) -> bool:
    """Say whether lines are repeated, so that what is computed is more than what is written."""
    return next(blocks(cell.statements), None) is not None


def own_functions(cell: Definition, style: Style | None = None) -> list[str]:
    """Return the functions of the cell's own: what each is, and the derivative that is put for its own."""
    style = style or Text({})
    found = []
    for (name, names), text in zip(cell.arguments.items(), cell.functions.values(), strict=True):
        formulas = LineFormulas(cell, style, names)
        texts = (text,) if isinstance(text, str) else tuple(text)
        value, *slope = (formulas.text(parse_expression(part, cell.scalar_constants, cell.arguments)) for part in texts)
        given = [style.name(argument) for argument in names]
        line = style.equals(style.function(name, *given), value)
        found.append(style.listed([line, style.equals(style.function(name, *given, slope=True), slope[0])]) if slope else line)
    return found


def lines(cell: Definition) -> list[str]:
    """Return the lines of `cell` as text, with their numbers, and what its own functions are."""
    shown = written(cell)
    width = max((len(line.tag) for line in shown), default=0) + 2
    rows = [
        f"{f'({line.tag})' if line.tag else '':<{width}}  {'    ' * line.depth}{line.text}{'' if line.tag else ':'}".rstrip()
        if has_blocks(cell)
        else f"({line.tag})  {line.text}"
        for line in shown
    ]
    named = own_functions(cell)
    return [*rows, *(["where", *(f"    {line}" for line in named)] if named else [])]


def typeset(cell: Definition) -> Mapping[str, str]:
    """Return how names are typeset in LaTeX: as the author says, and of a value that a block makes again, which of them it is."""
    plain = Latex(cell.latex)
    found = {}
    for version, (name, number) in cell.unrolled.versions.items():
        head, _, rest = plain.name(name).partition("_")
        head = f"{{{head}}}" if "^" in head else head
        found[version] = f"{head}^{{({number})}}" + (f"_{rest}" if rest else "")
    return {**found, **cell.latex}


def latex_of(cell: Definition) -> Latex:
    """Return the notation of a cell's formulas."""
    return Latex(typeset(cell))
