"""Emitted code as a small tree: expressions that know which names they read, statements that know which they define.

What a function needs at its head, and a module among its imports, is asked of the tree; no text is searched.

>>> rows = code("empty(({}, {}), call.dtype)", name("count"), name("n"), uses=("empty",))
>>> tree = (assign("x", rows), do(code("run({})", name("x"))))
>>> sorted(free(tree))
['count', 'empty', 'n']
>>> print(*printed(tree), sep="\\n")
x = empty((count, n), call.dtype)
run(x)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .layout import INDENT, commented, wrapped

SUM, PRODUCT, ATOM = 1, 2, 3  # how tightly an expression binds


@dataclass(frozen=True)
class Source:
    """An expression: its text, the names that it reads and that something else must define or import, and how tightly it binds."""

    text: str
    reads: frozenset[str] = frozenset()
    binding: int = ATOM

    def within(self, level: int) -> Source:
        """Return the expression as a part of one that binds as tightly as `level`: in brackets, if it does less."""
        return self if self.binding >= level else replace(self, text=f"({self.text})", binding=ATOM)

    def __str__(self) -> str:
        """Refuse to be a part of a string, where what it reads would be lost: see `code`."""
        raise TypeError(f"`{self.text}` is an expression of emitted code: put it into another by `code`")


Part = Source | str | int | bool


def name(text: str) -> Source:
    """Return a name as an expression, which reads it."""
    return Source(text, frozenset((text,)))


def attribute(of: str, field: str) -> Source:
    """Return ``of.field``, which reads `of`."""
    return Source(f"{of}.{field}", frozenset((of,)))


def code(template: str, *parts: Part, uses: Iterable[str] = (), binding: int = ATOM) -> Source:
    """Return the expression that `template` makes of `parts`, put in the places of its ``{}``.

    It reads what they read, and `uses`: names that the template itself has.
    """
    reads = frozenset(uses).union(*(part.reads for part in parts if isinstance(part, Source)))
    return Source(template.format(*(part.text if isinstance(part, Source) else part for part in parts)), reads, binding)


def listed(parts: Iterable[Part], between: str = ", ") -> Source:
    """Return expressions one after the other."""
    found = list(parts)
    return code(between.join(["{}"] * len(found)), *found)


def tuple_of(parts: Iterable[Part]) -> Source:
    """Return a tuple of expressions."""
    found = list(parts)
    return code("({},)" if len(found) == 1 else "({})", listed(found))


@dataclass(frozen=True)
class Statement:
    """A statement on one line or more; `defines` are the names that it binds, `value` what an assignment binds them to."""

    lines: tuple[str, ...]
    defines: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    value: Source | None = None


@dataclass(frozen=True)
class Comment:
    """A comment above what follows."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A statement with others under it: a loop, a condition, its ``else``, a function."""

    head: Statement
    body: tuple[Tree, ...]


Tree = Statement | Comment | Block


def assign(targets: str | Sequence[str], value: Source) -> Statement:
    """Return ``target = value``; several targets take a tuple apart, a tuple of one target too."""
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    left = ", ".join(names) + ("," if len(names) == 1 and not isinstance(targets, str) else "")
    return Statement((f"{left} = {value.text}",), names, value.reads, value)


def together(statements: Sequence[Statement]) -> Statement:
    """Return assignments of one name each as one of several: ``a, b = x, y``."""
    names = tuple(made for statement in statements for made in statement.defines)
    values = listed(statement.value for statement in statements if statement.value is not None)
    return Statement((f"{', '.join(names)} = {values.text}",), names, values.reads, values)


def store(target: Source, value: Source) -> Statement:
    """Return the statement that writes to an element, or a part, of an array: it reads the array's name."""
    return do(code("{} = {}", target, value))


def add(target: str, value: Source) -> Statement:
    """Return ``target += value``."""
    return Statement((f"{target} += {value.text}",), (target,), value.reads | {target})


def do(value: Source) -> Statement:
    """Return an expression as a statement."""
    return Statement((value.text,), (), value.reads)


def returned(value: Source) -> Statement:
    """Return the statement that hands out a value."""
    return Statement((f"return {value.text}",), (), value.reads)


def spelt(head: Part, items: Iterable[Part], tail: str, *, defines: Sequence[str] = (), indent: int = 8) -> Statement:
    """Return the statement ``head item, item, … tail``, on as many lines as it takes."""
    found = [item if isinstance(item, Source) else code("{}", item) for item in items]
    start = head if isinstance(head, Source) else code("{}", head)
    reads = start.reads.union(*(item.reads for item in found))
    return Statement(tuple(wrapped(start.text, [item.text for item in found], tail, indent)), tuple(defines), reads)


def note(text: str) -> Comment:
    """Return a comment, on as many lines as it takes."""
    return Comment(tuple(commented(text)))


def block(head: Source | Statement, body: Iterable[Tree], *, defines: Sequence[str] = ()) -> Block:
    """Return `head`, which ends in a colon, with statements under it; `defines` are the names that it binds, as a loop does."""
    statement = replace(do(head), defines=tuple(defines)) if isinstance(head, Source) else head
    return Block(statement, tuple(body))


def function(head: Statement, body: Iterable[Tree], doc: str = "") -> Block:
    """Return a function; its `head` defines its arguments for the body."""
    told = (Statement((f'"""{doc}"""',)),) if doc else ()
    return Block(head, (*told, *body))


def printed(trees: Iterable[Tree], depth: int = 0) -> list[str]:
    """Return the lines of statements."""
    lines: list[str] = []
    for tree in trees:
        if isinstance(tree, Block):
            lines += [*(INDENT * depth + line for line in tree.head.lines), *printed(tree.body, depth + 1)]
        else:
            lines += [INDENT * depth + line if line else line for line in tree.lines]
    return lines


def read(trees: Iterable[Tree]) -> frozenset[str]:
    """Return every name that statements read."""
    found: set[str] = set()
    for tree in trees:
        if isinstance(tree, Statement):
            found |= tree.reads
        elif isinstance(tree, Block):
            found |= tree.head.reads | read(tree.body)
    return frozenset(found)


def defined(trees: Iterable[Tree]) -> tuple[str, ...]:
    """Return every name that statements define, in order."""
    found: dict[str, None] = {}
    for tree in trees:
        if isinstance(tree, Statement):
            found |= dict.fromkeys(tree.defines)
        elif isinstance(tree, Block):
            found |= dict.fromkeys((*tree.head.defines, *defined(tree.body)))
    return tuple(found)


def free(trees: Iterable[Tree], known: Iterable[str] = ()) -> frozenset[str]:
    """Return the names that statements read before one of them defines them; `known` are defined before."""
    bound, found = set(known), set[str]()
    for tree in trees:
        if isinstance(tree, Statement):
            found |= tree.reads - bound
        elif isinstance(tree, Block):
            found |= tree.head.reads - bound
            found |= free(tree.body, bound.union(tree.head.defines))
        bound |= set(defined([tree]))
    return frozenset(found)


def needed(candidates: Iterable[Statement], trees: Iterable[Tree]) -> list[Statement]:
    """Return those of `candidates`, in order, whose names `trees` need defined, or others of them that are needed."""
    wanted, kept = set(free(trees)), []
    for statement in reversed(list(candidates)):
        if not wanted.isdisjoint(statement.defines):
            kept.append(statement)
            wanted |= statement.reads
    return kept[::-1]


def merged(trees: Iterable[Tree]) -> list[Tree]:
    """Return statements in which neighbouring blocks under one condition are one, and so on inside them; loops, which bind names, stay."""
    found: list[Tree] = []
    for tree in trees:
        last = found[-1] if found else None
        if isinstance(tree, Block) and isinstance(last, Block) and tree.head == last.head and not tree.head.defines:
            found[-1] = Block(last.head, (*last.body, *tree.body))
        else:
            found.append(tree)
    return [Block(tree.head, tuple(merged(tree.body))) if isinstance(tree, Block) else tree for tree in found]
