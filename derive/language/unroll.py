"""From lines and blocks to plain lines: blocks written out, numbered parameters by their names, each name assigned once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from .errors import CellError
from .names import fresh
from .tree import Assignment, Block, Expr, Indexed, Name, Negative, Number, Statement
from .vocabulary import MAX_EQUATIONS
from .walks import names_of, walk, with_leaves


@dataclass(frozen=True)
class Unrolled:
    """Plain lines.

    Attributes
    ----------
    equations : tuple of Assignment
    numbers : tuple of str
        Of each, the number of its line in the text, from 1, and of its copy: ``3``, or ``3.0`` and ``3.1`` in a block.
    versions : mapping
        From the name of each value that a name has before its last one to that name, and which of its values it is, from 1.
    families : mapping
        From the name of numbered parameters to those of the parameters.
    """

    equations: tuple[Assignment, ...]
    numbers: tuple[str, ...]
    versions: Mapping[str, tuple[str, int]]
    families: Mapping[str, tuple[str, ...]]


def unrolled(statements: tuple[Statement, ...], text: str, taken: Collection[str] = ()) -> Unrolled:
    """Return the lines of a text, written out.

    Parameters
    ----------
    statements : tuple of Assignment and Block
    text : str
    taken : names, optional
        That values cannot be given, beside those of the text.

    Raises
    ------
    CellError
        If there are too many, or a parameter's number is negative.
    """
    found = list(_copies(statements, text))
    if len(found) > MAX_EQUATIONS:
        raise CellError.at(found[-1].line.span, text, f"more than {MAX_EQUATIONS} equations, blocks written out")
    families: dict[str, dict[str, None]] = defaultdict(dict)
    for copy in found:
        for node in walk(copy.line.value):
            if isinstance(node, Indexed):
                families[node.name][_numbered(node, copy.values)] = None
    lines = [replace(copy.line, value=_plain(copy.line.value, copy.values)) for copy in found]
    repeated = {name for block in blocks(statements) for line in lines_of(block.body) for name in line.targets}
    names = {name for line in lines for name in (*line.targets, *names_of(line.value))}
    equations, versions = _single(lines, repeated, names.union(taken))
    numbers = tuple(copy.number for copy in found)
    return Unrolled(tuple(equations), numbers, versions, {name: tuple(members) for name, members in families.items()})


def blocks(statements: tuple[Statement, ...]) -> Iterator[Block]:
    """Yield all blocks, those within others after them."""
    for statement in statements:
        if isinstance(statement, Block):
            yield statement
            yield from blocks(statement.body)


def lines_of(statements: tuple[Statement, ...]) -> Iterator[Assignment]:
    """Yield the lines of a text as they are written, those in blocks too."""
    for statement in statements:
        if isinstance(statement, Block):
            yield from lines_of(statement.body)
        else:
            yield statement


@dataclass(frozen=True)
class _Copy:
    """A line with the values that the variables of the blocks around have."""

    line: Assignment
    values: Mapping[str, int]
    number: str


def _copies(statements: tuple[Statement, ...], text: str) -> Iterator[_Copy]:
    """Yield the lines in the order in which they are computed."""
    count = iter(range(1, MAX_EQUATIONS + 2))
    numbers: dict[int, int] = {}  # by the line's place in the text, so that copies share theirs

    def visit(statements: tuple[Statement, ...], values: Mapping[str, int]) -> Iterator[_Copy]:
        for statement in statements:
            if isinstance(statement, Block):
                for value in range(statement.start, statement.stop):
                    yield from visit(statement.body, {**values, statement.variable: value})
            else:
                number = numbers[id(statement)] if id(statement) in numbers else numbers.setdefault(id(statement), next(count))
                yield _Copy(_checked(statement, values, text), values, ".".join(map(str, (number, *values.values()))))

    yield from visit(statements, {})


def _checked(line: Assignment, values: Mapping[str, int], text: str) -> Assignment:
    for node in walk(line.value):
        if isinstance(node, Indexed) and (number := values.get(node.variable, 0) + node.offset) < 0:
            raise CellError.at(node.span, text, f"`{node.name}[{number}]`: parameters are numbered from 0")
    return line


def _numbered(node: Indexed, values: Mapping[str, int]) -> str:
    return f"{node.name}_{values.get(node.variable, 0) + node.offset}"


def _plain(expr: Expr, values: Mapping[str, int]) -> Expr:
    """Return an expression with numbers for the variables of blocks, and parameters by their names."""

    def plain(leaf: Expr) -> Expr:
        match leaf:
            case Indexed():
                return Name(_numbered(leaf, values), span=leaf.span)
            case Name(id=name) if name in values:
                value = Number(Fraction(abs(values[name])), span=leaf.span)
                return value if values[name] >= 0 else Negative(value, span=leaf.span)
        return leaf

    return with_leaves(expr, plain)


def _single(
    lines: list[Assignment], repeated: Collection[str], taken: Collection[str]
) -> tuple[list[Assignment], dict[str, tuple[str, int]]]:
    """Return lines that assign each name once, and the names of all but the last values of a name, which keeps its own."""
    count = Counter(name for line in lines for name in line.targets if name in repeated)
    seen: Counter[str] = Counter()
    now: dict[str, str] = {}  # by the author's name, that of its value at this line
    versions: dict[str, tuple[str, int]] = {}
    found = []
    for line in lines:
        value = _renamed(line.value, now)
        targets = []
        for name in line.targets:
            seen[name] += 1
            now[name] = name
            if name in repeated and seen[name] < count[name]:
                now[name] = fresh(f"{name}_{seen[name]}", {*taken, *versions})
                versions[now[name]] = (name, seen[name])
            targets.append(now[name])
        found.append(replace(line, targets=tuple(targets), value=value))
    return found, versions


def _renamed(expr: Expr, names: Mapping[str, str]) -> Expr:
    return with_leaves(expr, lambda leaf: replace(leaf, id=names.get(leaf.id, leaf.id)) if isinstance(leaf, Name) else leaf)
