"""What blocks, numbered parameters and functions of a cell's own must satisfy."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .errors import CellError
from .names import is_previous
from .tree import Assignment, Block, Indexed, Statement
from .unroll import blocks, lines_of
from .walks import names_of, walk


def check(
    text: str, statements: tuple[Statement, ...], equations: tuple[Assignment, ...], given: Mapping[str, str], functions: Collection[str]
) -> None:
    """Check the names that blocks and functions claim.

    Parameters
    ----------
    text : str
    statements, equations : tuple
        The lines as they are written, and written out.
    given : mapping
        What each declared name is.
    functions : names
        Of the cell's own.
    """
    lines = list(lines_of(statements))
    known = {**given, **{target: "assigned" for line in lines for target in line.targets}}
    read = {name: line for line in equations for name in names_of(line.value)}
    for name in functions:
        if name in known or name in read:
            raise CellError(
                f"functions: `{name}` is {known.get(name, 'a parameter')} in the text: give the function another name", text=text
            )
    for block in blocks(statements):
        name = block.variable
        if name in known:
            raise CellError.at(block.span, text, f"the variable `{name}` of the block hides what is {known[name]}: give it another name")
        if name in functions:
            raise CellError.at(block.span, text, f"the variable `{name}` of the block hides a function: give it another name")
        if name in read:
            raise CellError.at(read[name].span, text, f"`{name}` is the variable of a block: outside of that nothing can be called so")
    _check_again(text, statements)


def _check_again(text: str, statements: tuple[Statement, ...]) -> None:
    """Check that what blocks assign is assigned outside of them once at most, and before."""
    inside: dict[str, int] = {}
    before: dict[str, int] = {}
    for statement in statements:
        if isinstance(statement, Block):
            inside |= {target: line.span.line for line in lines_of((statement,)) for target in line.targets}
            continue
        for target in statement.targets:
            if target in inside:
                message = f"`{target}` is assigned in a block before, in line {inside[target]}: give one of them another name"
                raise CellError.at(statement.span, text, message)
            if target in before:
                message = f"`{target}` is assigned twice, first in line {before[target]}: give one of them another name"
                raise CellError.at(statement.span, text, message)
            before[target] = statement.span.line


def check_members(
    text: str,
    statements: tuple[Statement, ...],
    families: Mapping[str, tuple[str, ...]],
    declared: Collection[str],
    given: Mapping[str, str],
) -> None:
    """Check that numbered parameters are parameters, and that all are declared where some are."""
    targets = {target: line.span.line for line in lines_of(statements) for target in line.targets}
    for line in lines_of(statements):
        for node in walk(line.value):
            if not isinstance(node, Indexed):
                continue
            members = families[node.name]
            if is_previous(node.name):
                message = f"`{node.name}` is a value of the step before: only parameters have numbers"
                raise CellError.at(node.span, text, message)
            if node.name in given:
                raise CellError.at(node.span, text, f"`{node.name}` is {given[node.name]}: only parameters have numbers")
            known = [name for name in members if name in declared]
            if known and (missing := [name for name in members if name not in declared]):
                raise CellError.at(
                    node.span,
                    text,
                    f"`{_bracketed(missing[0])}` is out of the shapes that are declared: {', '.join(map(_bracketed, known))}; "
                    f'`shapes={{"{node.name}": …}}` is for all of them',
                )
            if wrong := next((name for name in (node.name, *members) if name in targets), ""):
                raise CellError.at(node.span, text, f"`{wrong}` is assigned, in line {targets[wrong]}: only parameters have numbers")


def _bracketed(member: str) -> str:
    name, _, number = member.rpartition("_")
    return f"{name}[{number}]"
