"""The equations of one fused loop as a function of scalars: the mathematics of a kernel, apart from where its numbers lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import sympy as sp

from ...calculus.ir import Equation, FeatureSum, HeadSum, Map, Spread
from ...calculus.naming import Names
from ...calculus.symbols import extent_name, is_extent
from ...program.imperative import Place, VectorLoop
from ..expression import Expressions
from ..layout import RUNTIME
from ..source import Block, Comment, Source, Statement, Tree, assign, code, listed, name, needed, read, returned, together
from .factory import constants, factory, functions, on_machine

RESERVED = {"on", "real", "j", *RUNTIME}
SIDE_BY_SIDE = 4  # functions that one line binds


@dataclass(frozen=True)
class Equations:
    """What computes the values of one loop at one feature of one row.

    Attributes
    ----------
    name : str
        Of the function; its factory is called ``make_…``.
    code : Block
        Its factory.
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
    constants: dict[str, str] = field(default_factory=dict)

    def variable(self, value: str) -> Source:
        """Return the variable of a value, which is an argument if nothing here computes it, or stores what it is a view of."""
        if value not in self.local and (place := self.places.get(value)) in self.stored:
            assert place is not None
            return name(self.stored[place])
        if value not in self.local:
            self.reads[value] = None
            self.local[value] = self.names.fresh(value)
        return name(self.local[value])

    def statements(self) -> list[Tree]:
        lines: list[Tree] = []
        for compute in self.loop.computes:
            eq = compute.equation
            if isinstance(eq.node, FeatureSum | HeadSum):
                continue
            value = self.value(eq)
            self.local[eq.name] = self.names.fresh(eq.name)
            self.stored |= dict.fromkeys(compute.stores, self.local[eq.name])
            lines += [*self.say(eq), assign(self.local[eq.name], value)]
        return lines

    def value(self, eq: Equation) -> Source:
        match eq.node:
            case Map(expr=expr):
                printer = Expressions(self.atom)
                source = printer.source(expr)
                self.constants |= printer.constants
                return source
            case Spread(value=v, index=k):
                self.constants["zero"] = "0.0"
                return code("where(j == {}, {}, zero)", self.variable(k), self.variable(v), uses=("where", "j", "zero"))
        raise TypeError(f"{type(eq.node).__name__} has no code in a loop over features")

    def atom(self, symbol: sp.Symbol) -> Source:
        if not is_extent(symbol):
            return self.variable(symbol.name)
        size = extent_name(symbol)
        if size not in self.extents:
            self.extents[size] = self.names.fresh(size)
        return code("real({})", name(self.extents[size]), uses=("real",))


def equations(called: str, loop: VectorLoop, say: Callable[[Equation], list[Comment]], places: Mapping[str, Place]) -> Equations:
    """Return the function of a loop's equations; `say` gives the comment of an equation, `places` are where values lie."""
    body = _Body(loop, say, places)
    statements = body.statements()
    results = _results(loop)
    statements.append(returned(listed(name(body.local[result]) for result in results)))
    position = "j" in read(statements)
    arguments = [*(body.local[value] for value in body.reads), *body.extents.values(), *(["j"] if position else [])]
    binds = _taken(statements, body.constants)
    made = factory(called, "Equations of one feature of a row.", binds, "device", arguments, statements)
    return Equations(called, made, tuple(body.reads), tuple(body.extents), position, results)


def _results(loop: VectorLoop) -> tuple[str, ...]:
    """Return the values of a loop that are stored or summed."""
    summed = {c.equation.node.value for c in loop.computes if isinstance(c.equation.node, FeatureSum | HeadSum)}
    made = [c for c in loop.computes if not isinstance(c.equation.node, FeatureSum | HeadSum)]
    return tuple(c.equation.name for c in made if c.stores or c.equation.name in summed)


def _taken(statements: list[Tree], values: Mapping[str, str]) -> list[Statement]:
    """Return what binds the functions and constants that statements read."""
    called = needed([binding.statement for binding in functions()], statements)
    groups = [called[k : k + SIDE_BY_SIDE] for k in range(0, len(called), SIDE_BY_SIDE)]
    made = [binding.statement for binding in (*on_machine(["real"]), *constants(values))]
    return [*map(together, groups), *needed(made, statements)]
