"""Functions of a cell's own: an expression that is put in where it is called, or a value with a derivative that is not its own."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from .errors import CellError, in_words
from .names import canonical
from .parse import parse_expression
from .tree import Block, Call, Expr, Name, Span, Statement
from .vocabulary import GRADIENTS, MAX_DEPTH, RESERVED, bad_name
from .walks import children, is_elementwise, names_of, rebuild, walk

MAX_NODES = 10_000  # of an expression with functions put in
SIGNATURE = (
    'a function is named with its arguments: {"f(v, w)": "W @ v + w"}, or {"spike(u)": ("step(u)", "exp(-u * u)")} with a derivative'
)


@dataclass(frozen=True)
class Macro:
    """A function whose expression, with what it is called with for its arguments, is put in where it is called."""

    name: str
    arguments: tuple[str, ...]
    body: Expr


@dataclass(frozen=True)
class Surrogate:
    """An elementwise function of one argument with a derivative of its own: `slope` stands for the derivative of `value`."""

    name: str
    argument: str
    value: Expr
    slope: Expr


@dataclass(frozen=True)
class Functions:
    """The functions of a cell's own, by name: those that are put in, and those with a derivative of their own."""

    macros: Mapping[str, Macro] = field(default_factory=dict)
    surrogates: Mapping[str, Surrogate] = field(default_factory=dict)


def arguments(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of each function's arguments.

    Raises
    ------
    CellError
        If a key is no name with arguments, or a name cannot be that of a function.
    """
    found: dict[str, tuple[str, ...]] = {}
    for key in given:
        name, names = _signature(key)
        if name in RESERVED:
            raise CellError(f"functions: `{name}` is a function of the language: give yours another name")
        if name in found:
            raise CellError(f"functions: `{name}` is defined twice")
        for each in (name, *names):
            if reason := bad_name(each):
                raise CellError(f"functions: `{key}`: {reason}")
        if len({*names}) < len(names):
            raise CellError(f"functions: `{key}` has two arguments of one name")
        found[name] = names
    return found


def _signature(key: Any) -> tuple[str, tuple[str, ...]]:
    try:
        node = ast.parse(canonical(key).strip(), mode="eval").body
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise CellError(f"functions: {str(key)[:80]!r}: {SIGNATURE}") from None
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args and not node.keywords):
        raise CellError(f"functions: {str(key)[:80]!r}: {SIGNATURE}")
    if not all(isinstance(arg, ast.Name) for arg in node.args):
        raise CellError(f"functions: {str(key)[:80]!r}: {SIGNATURE}")
    return node.func.id, tuple(arg.id for arg in node.args if isinstance(arg, ast.Name))


def read(given: Mapping[str, Any], constants: Mapping[str, Fraction | float]) -> Functions:
    """Return the functions that are given as texts, each with those that it calls put in.

    Raises
    ------
    CellError
        If one is no expression, calls itself, or is not what a function with a derivative of its own can be.
    """
    known = arguments(given)
    texts = dict(zip(known, given.values(), strict=True))
    pairs = {name for name, text in texts.items() if not isinstance(text, str)}
    for name in pairs:
        if not isinstance(texts[name], tuple | list) or len(texts[name]) != 2:
            raise CellError(f"functions: `{name}` needs a text, or two: its value and its derivative")
    plain = {name: Macro(name, known[name], _parsed(name, texts[name], constants, known)) for name in known if name not in pairs}
    macros: dict[str, Macro] = {}
    for name in _ordered(plain):
        macros[name] = replace(plain[name], body=put_in(plain[name].body, macros, f"functions: `{name}`"))
    return Functions(
        macros, {name: _surrogate(name, known[name], texts[name], constants, known, macros) for name in known if name in pairs}
    )


def _parsed(name: str, text: Any, constants: Mapping[str, Fraction | float], known: Mapping[str, tuple[str, ...]]) -> Expr:
    try:
        return parse_expression(text, constants, known)
    except CellError as error:
        raise CellError(f"functions: `{name}`: {in_words(error)}") from None


def _ordered(macros: Mapping[str, Macro]) -> Iterator[str]:
    """Yield names so that a function comes after those that it calls; CellError if one calls itself, by whatever way."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            raise CellError(f"functions: `{name}` calls itself: {' → '.join((*path[path.index(name) :], name))}")
        if name not in done:
            for other in _called(macros[name].body):
                if other in macros:
                    yield from visit(other, (*path, name))
            if name not in done:
                done.add(name)
                yield name

    for name in macros:
        yield from visit(name, ())


def _called(expr: Expr) -> Iterator[str]:
    yield from (node.function for node in walk(expr) if isinstance(node, Call))


def _surrogate(
    name: str,
    names: tuple[str, ...],
    texts: Any,
    constants: Mapping[str, Fraction | float],
    known: Mapping[str, tuple[str, ...]],
    macros: Mapping[str, Macro],
) -> Surrogate:
    if len(names) != 1:
        raise CellError(f"functions: `{name}` has a derivative of its own, and so one argument; it has {len(names)}: {', '.join(names)}")
    parts = [put_in(_parsed(name, text, constants, known), macros, f"functions: `{name}`") for text in texts]
    for what, part in zip(("value", "derivative"), parts, strict=True):
        for node in walk(part):
            if isinstance(node, Call) and (node.function in known or node.function in (*GRADIENTS, "detach")):
                raise CellError(f"functions: the {what} of `{name}` calls `{node.function}`: it is made of functions that have derivatives")
            if (children(node) and not is_elementwise(node)) or (isinstance(node, Call) and node.function == "eye"):
                raise CellError(f"functions: the {what} of `{name}` works on each element by itself: no product, sum or matrix")
        for other in names_of(part):
            if other != names[0] and other not in constants:
                allowed = f"it may read its argument `{names[0]}` and constants that are numbers"
                raise CellError(f"functions: the {what} of `{name}` reads `{other}`: {allowed}")
    return Surrogate(name, names[0], *parts)


# Putting in


def put_in_lines(statements: tuple[Statement, ...], macros: Mapping[str, Macro], text: str) -> tuple[Statement, ...]:
    """Return lines and blocks with functions put in where they are called."""

    def line(statement: Statement) -> Statement:
        if isinstance(statement, Block):
            return replace(statement, body=tuple(map(line, statement.body)))
        return replace(statement, value=put_in(statement.value, macros, text=text))

    return tuple(map(line, statements)) if macros else statements


def put_in(expr: Expr, macros: Mapping[str, Macro], what: str = "", text: str = "") -> Expr:
    """Return an expression with functions put in where they are called; what is put in stands where the call does.

    Raises
    ------
    CellError
        If what results is too large, or what an argument does to gradients would be done twice; `what` begins the message where the place
        is not in `text`.
    """

    def fail(span: Span, message: str) -> CellError:
        return CellError.at(span, text, message) if text else CellError(f"{what}: {message}")

    def visit(node: Expr) -> Expr:
        node = rebuild(node, tuple(map(visit, children(node))))
        if not isinstance(node, Call) or node.function not in macros:
            return node
        macro = macros[node.function]
        values = dict(zip(macro.arguments, node.args, strict=True))
        uses = Counter(names_of(macro.body))
        for name, value in values.items():
            if uses[name] > 1 and (held := next((call for call in _called(value) if call in GRADIENTS), "")):
                raise fail(
                    node.span, f"`{macro.name}` reads `{name}` {uses[name]} times, each with a `{held}`: name it on a line of its own"
                )
        found = _placed(macro.body, values, node.span)
        size, depth = _extent(found)
        if size > MAX_NODES or depth > MAX_DEPTH:
            raise fail(node.span, f"`{macro.name}` put in makes too large an expression: name its arguments on lines of their own")
        return found

    return visit(expr)


def _placed(expr: Expr, values: Mapping[str, Expr], span: Span) -> Expr:
    """Return an expression with others put for names, at the place of a call."""
    if isinstance(expr, Name) and expr.id in values:
        return values[expr.id]
    return replace(rebuild(expr, tuple(_placed(part, values, span) for part in children(expr))), span=span)


def _extent(expr: Expr) -> tuple[int, int]:
    """Return how many nodes an expression has, and how deep it is."""
    size, deepest, stack = 0, 0, [(expr, 1)]
    while stack and size <= MAX_NODES:
        node, depth = stack.pop()
        size, deepest = size + 1, max(deepest, depth)
        stack += [(part, depth + 1) for part in children(node)]
    return size, deepest
