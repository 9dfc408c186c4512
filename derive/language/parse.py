"""From text to equations, blocks of them and single expressions."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

from .errors import CellError
from .reader import Reader
from .tree import Assignment, Block, Expr, Statement
from .vocabulary import MAX_COPIES, MAX_TEXT, bad_name

Constants = Mapping[str, Fraction | float]
Arguments = Mapping[str, tuple[str, ...]]


def parse(text: str, constants: Constants = MappingProxyType({}), functions: Arguments = MappingProxyType({})) -> tuple[Statement, ...]:
    """Read the equations of a cell.

    Parameters
    ----------
    text : str
        One assignment a line; comments, blank lines and any indentation are allowed.  The lines that a `for j in range(a, b):` repeats are
        indented below it.
    constants : mapping
        Values of named scalar constants, which exponents and bounds may use. In the tree they stay names everywhere else.
    functions : mapping
        Names of the arguments of each function of the cell's own.

    Raises
    ------
    CellError
        For anything that is not in the language, at its line and column.
    """
    if not isinstance(text, str):
        raise CellError(f"a cell's text must be str, not {type(text).__name__}")
    if len(text) > MAX_TEXT:
        raise CellError(f"the text has {len(text)} characters; at most {MAX_TEXT} are read")
    reader = _Lines(text, constants, functions)
    equations = tuple(map(reader.statement, reader.statements()))
    if not equations:
        raise CellError("the text has no equation: one assignment a line is needed, such as `h = tanh(W @ x + U @ h_prev + b)`")
    return equations


def parse_expression(text: str, constants: Constants = MappingProxyType({}), functions: Arguments = MappingProxyType({})) -> Expr:
    """Read a single expression, such as `1 - z`.

    Raises
    ------
    CellError
        If it is not one expression of the language.
    """
    if not isinstance(text, str) or not text.strip():
        raise CellError(f"an expression is text such as `0` or `1 - z`, not {text!r}")
    # in brackets a second statement, or a line's end, is a syntax error
    reader = Reader(f"({text}\n)", constants, functions)
    try:
        body = reader.tree().body
        if len(body) != 1 or not isinstance(body[0], ast.Expr):
            raise CellError(f"`{text[:80]}` is not one expression")
        return reader.expression(body[0].value, 0)
    except CellError as error:
        column = max(error.column - (error.line == 1), 0)
        raise CellError(error.message, error.line, column, text if error.text else "") from None


class _Lines(Reader):
    """Turns statements of `ast` into a cell's lines and blocks."""

    def statement(self, node: ast.stmt) -> Statement:
        return self.block(node, 1) if isinstance(node, ast.For) else self.assignment(node)

    def assignment(self, node: ast.stmt) -> Assignment:
        """One line."""
        if isinstance(node, ast.While | ast.AsyncFor):
            raise self.error("how often a loop runs is told beforehand: `for j in range(3):` repeats the lines below it", node)
        if not isinstance(node, ast.Assign):
            raise self.error("a line must be `name = expression`", node)
        if len(node.targets) != 1:
            raise self.error("two `=` on a line: one assignment a line is needed", node.targets[1])
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Tuple | ast.List):
            targets = tuple(map(self.target, target.elts))
            return Assignment(targets, self.split(value, len(targets)), self.span(node))
        return Assignment((self.target(target),), self.expression(value, 0), self.span(node))

    def target(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name):
            raise self.error("the left side must be a name, or names before a `split`", node)
        if reason := bad_name(node.id):
            raise self.error(reason, node)
        return node.id

    def split(self, node: ast.expr, count: int) -> Expr:
        """The vector that is split in `a, b, … = split(vector, count)`."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "split"):
            raise self.error(
                f"several names on the left need `split(vector, {count})` on the right; values of their own have a line each", node
            )
        if len(node.args) != 2 or node.keywords:
            raise self.error(f"`split` takes a vector and the number of parts: `split(vector, {count})`", node)
        parts = node.args[1]
        if not (isinstance(parts, ast.Constant) and type(parts.value) is int and parts.value == count):
            raise self.error(f"there are {count} names on the left: the second argument of `split` must be {count}", parts)
        return self.expression(node.args[0], 1)

    # Blocks

    def block(self, node: ast.For, copies: int) -> Block:
        """`for j in range(a, b):` and its lines, of which there are so many copies already."""
        variable = self.variable(node)
        start, stop = self.bounds(node)
        if stop <= start:
            raise self.error(f"`range({start}, {stop})` is empty: the block would have no line", node.iter)
        copies *= stop - start
        if copies > MAX_COPIES:
            raise self.error(f"the block is written out {copies} times: at most {MAX_COPIES} copies of a line are made", node.iter)
        inside = replace(self, variables=(*self.variables, variable))
        body = tuple(inside.block(line, copies) if isinstance(line, ast.For) else inside.assignment(line) for line in node.body)
        return Block(variable, start, stop, body, self.span(node))

    def variable(self, node: ast.For) -> str:
        if node.orelse:
            raise self.error("`else` after `for` is not in the language", node.orelse[0])
        if not isinstance(node.target, ast.Name):
            raise self.error("a block has one variable: `for j in range(3):`", node.target)
        name = node.target.id
        if reason := bad_name(name):
            raise self.error(reason, node.target)
        if name in self.variables:
            raise self.error(f"`{name}` is the variable of a block around: give this one another", node.target)
        return name

    def bounds(self, node: ast.For) -> tuple[int, int]:
        """The first number, and the one after the last."""
        call = node.iter
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range" and not call.keywords):
            raise self.error("a block runs over `range(n)` or `range(a, b)`", call)
        if not 1 <= len(call.args) <= 2:
            raise self.error(f"`range` takes an end, or a start and an end, got {len(call.args)} arguments", call)
        first, *rest = (self.bound(arg) for arg in call.args)
        return (first, *rest) if rest else (0, first)  # type: ignore[return-value]

    def bound(self, node: ast.expr) -> int:
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id not in self.constants]
        if names:
            raise self.error(f"a block's bounds are known beforehand: integers, or constants that are; `{names[0]}` is no constant", node)
        value = self.rational(node, 0)
        if value.denominator != 1:
            raise self.error(f"a block's bounds are integers, this one is {float(value):g}", node)
        return int(value)
