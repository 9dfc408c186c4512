"""The equations of one fused loop as a function of scalars: the mathematics of a kernel, apart from where its numbers lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import sympy as sp

from ...calculus.ir import Equation, FeatureSum, Map, Spread
from ...calculus.naming import Names
from ...calculus.symbols import extent_name, is_extent
from ...program.imperative import Place, VectorLoop
from ..expression import Expressions
from ..layout import CONSTANTS, INDENT, RUNTIME, wrapped
from ..source import Block, Comment, Source, Statement, printed

RESERVED = {"on", "real", "j", *RUNTIME}


@dataclass
class Equations:
    """What computes the values of one loop at one feature of one row.

    Attributes
    ----------
    name : str
        Of the function; its factory is called ``make_…``.
    code : Block
        Its source.
    reads : tuple of str
        The values that it takes, in order; then the `extents`, numbers of features, and the feature's own number if `position`.
    results : tuple of str
        The values that it returns: what is stored or summed.
    """

    name: str
    code: Block
    reads: tuple[str, ...]
    extents: tuple[str, ...]
    position: bool
    results: tuple[str, ...]


@dataclass
class _Body:
    """The statements of a loop's equations."""

    loop: VectorLoop
    say: Callable[[Equation], list[Comment]]
    places: Mapping[str, Place]
    stored: dict[Place, str] = field(default_factory=dict)  # the variable of what the loop has stored to a place
    names: Names = field(default_factory=lambda: Names(RESERVED))
    local: dict[str, str] = field(default_factory=dict)
    reads: dict[str, None] = field(default_factory=dict)
    extents: dict[str, str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    constants: dict[str, str] = field(default_factory=dict)
    position: bool = False

    def variable(self, name: str) -> str:
        """Return the variable of a value, which is an argument if nothing here computes it, or stores what it is a view of."""
        if name not in self.local and (place := self.places.get(name)) in self.stored:
            assert place is not None
            return self.stored[place]
        if name not in self.local:
            self.reads[name] = None
            self.local[name] = self.names.fresh(name)
        return self.local[name]

    def statements(self) -> list[str]:
        lines = []
        for compute in self.loop.computes:
            eq = compute.equation
            if isinstance(eq.node, FeatureSum):
                continue
            value = self.value(eq)
            self.local[eq.name] = self.names.fresh(eq.name)
            self.stored |= dict.fromkeys(compute.stores, self.local[eq.name])
            lines += [*printed(self.say(eq)), f"{self.local[eq.name]} = {value}"]
        return lines

    def value(self, eq: Equation) -> str:
        match eq.node:
            case Map(expr=expr):
                printer = Expressions(self.atom)
                source = printer.source(expr)
                self.functions |= source.reads - CONSTANTS - printer.constants.keys() - {"real"}
                self.constants |= printer.constants
                return source.text
            case Spread(value=v, index=k):
                self.functions.add("where")
                self.constants["zero"] = "0.0"
                self.position = True
                return f"where(j == {self.variable(k)}, {self.variable(v)}, zero)"
        raise TypeError(f"{type(eq.node).__name__} has no code in a loop over features")

    def atom(self, symbol: sp.Symbol) -> Source:
        if not is_extent(symbol):
            return Source(self.variable(symbol.name))
        size = extent_name(symbol)
        if size not in self.extents:
            self.extents[size] = self.names.fresh(size)
        return Source(f"real({self.extents[size]})")


def equations(name: str, loop: VectorLoop, say: Callable[[Equation], list[Comment]], places: Mapping[str, Place]) -> Equations:
    """Return the function of a loop's equations; `say` gives the comment of an equation, `places` are where values lie."""
    body = _Body(loop, say, places)
    statements = body.statements()
    summed = {c.equation.node.value for c in loop.computes if isinstance(c.equation.node, FeatureSum)}
    results = tuple(
        c.equation.name for c in loop.computes if not isinstance(c.equation.node, FeatureSum) and (c.stores or c.equation.name in summed)
    )
    arguments = [*(body.local[r] for r in body.reads), *body.extents.values(), *(["j"] if body.position else [])]
    head = [*taken(body.functions, "on.functions"), *(["real = on.real"] if body.constants or body.extents else [])]
    head += constants(body.constants)
    inner = wrapped(f"def {name}(", arguments, "):")
    result = ", ".join(body.local[r] for r in results)
    about = f'{INDENT}"""Equations of one feature of a row."""'
    lines = [f"def make_{name}(on):", about, *(INDENT + line for line in head), *([""] if head else []), f"{INDENT}@on.device"]
    lines += [INDENT + line for line in inner]
    lines += [2 * INDENT + line for line in (*statements, f"return {result}")]
    lines += ["", f"{INDENT}return {name}"]
    return Equations(name, as_block(lines), tuple(body.reads), tuple(body.extents), body.position, results)


def taken(names: set[str], source: str) -> list[str]:
    """Return the statement that takes names from an object."""
    found = sorted(names)
    groups = [found[k : k + 4] for k in range(0, len(found), 4)]
    return [f"{', '.join(group)} = {', '.join(f'{source}.{name}' for name in group)}" for group in groups]


def bound(pairs: Iterable[tuple[str, str]], body: Iterable[str]) -> list[str]:
    """Return the statements that bind the names which `body`, or a statement after them, uses; what comes from one place in one line."""
    text, kept = "\n".join(body), []
    for name, source in reversed(list(pairs)):
        if re.search(rf"(?<![\w.\"]){re.escape(name)}\b(?!\")", text):
            kept.append((name, source))
            text += "\n" + source
    lines: list[str] = []
    for _, group in groupby(reversed(kept), key=lambda pair: pair[1] if "(" in pair[1] else re.split(r"\.\w+$|\[", pair[1])[0]):
        lines += _together(list(group))
    return lines


def _together(pairs: list[tuple[str, str]]) -> list[str]:
    """Return statements of several names each, as long as lines allow."""
    lines, names, sources = [], [pairs[0][0]], [pairs[0][1]]
    for name, source in pairs[1:]:
        if len(", ".join([*names, name, *sources, source])) > 100:
            lines.append(f"{', '.join(names)} = {', '.join(sources)}")
            names, sources = [], []
        names, sources = [*names, name], [*sources, source]
    return [*lines, f"{', '.join(names)} = {', '.join(sources)}"]


def merged(lines: list[str]) -> list[str]:
    """Return statements with neighbouring blocks of one condition, or loops of one range, made one."""
    found: list[str] = []
    head: list[str] = []  # of the block that the last lines are in
    for line in lines:
        depth = len(line) - len(line.lstrip())
        while head and depth < len(head[-1]) - len(head[-1].lstrip()):
            head.pop()
        if head and line == head[-1]:
            continue
        if head and depth == len(head[-1]) - len(head[-1].lstrip()):
            head.pop()
        if line.endswith(":") and line.lstrip().startswith("if "):
            head.append(line)
        found.append(line)
    return found


def enclosed(text: str) -> bool:
    """Say whether one pair of brackets encloses the whole text."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return character == ")" and position == len(text) - 1
    return False


def as_block(lines: list[str]) -> Block:
    return Block(Statement((lines[0],)), tuple(Statement((line.removeprefix(INDENT),)) for line in lines[1:]))


def bare(text: str) -> str:
    """Return an expression without brackets around the whole."""
    return text[1:-1] if text.startswith("(") and enclosed(text) else text


def constants(values: dict[str, str]) -> list[str]:
    """Return the statements that make constants of the kernel's dtype: one of another would widen float32."""
    return [f"{name} = real({value})" for name, value in sorted(values.items(), key=lambda item: float(item[1]))]
