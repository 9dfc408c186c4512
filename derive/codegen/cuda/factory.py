"""What makes a function that a machine runs: ``make_…(on)``, which takes what it needs from the machine `on` and binds it once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..layout import ELEMENTARY
from ..source import Block, Source, Statement, Tree, assign, block, code, function, name, needed, returned, spelt, together

ON = name("on")
PLAN = name("plan")
LONGEST = 101  # of a line that binds several names
BLANK = Statement(("",))


@dataclass(frozen=True)
class Binding:
    """A statement that binds a name, made only where the name is needed; `of` is what its value is a part of, if it is of something."""

    statement: Statement
    of: Source | None = None


def bind(target: str, value: Source) -> Binding:
    """Return ``target = value``."""
    return Binding(assign(target, value))


def taken(target: str, of: Source, attribute: str) -> Binding:
    """Return ``target = of.attribute``."""
    return Binding(assign(target, code("{}.{}", of, attribute)), of)


def item(target: str, of: Source, key: str) -> Binding:
    """Return ``target = of["key"]``."""
    return Binding(assign(target, code('{}["{}"]', of, key)), of)


def on_machine(names: Iterable[str]) -> list[Binding]:
    """Return what binds names that the machine has by the same name."""
    return [taken(found, ON, found) for found in names]


def functions() -> list[Binding]:
    """Return what binds the functions that formulas call."""
    return [taken(found, code("{}.functions", ON), found) for found in ELEMENTARY]


def constants(values: Mapping[str, str]) -> list[Binding]:
    """Return what makes constants of the kernel's dtype: one of another would widen float32."""
    pairs = sorted(values.items(), key=lambda pair: float(pair[1]))
    return [bind(constant, code("real({})", value, uses=("real",))) for constant, value in pairs]


def bound(bindings: Iterable[Binding], body: Iterable[Tree]) -> list[Statement]:
    """Return the statements that bind what `body`, or a statement after them, reads; parts of one thing side by side."""
    found = list(bindings)
    kept = set(needed([binding.statement for binding in found], body))
    lines: list[Statement] = []
    for _, group in groupby((b for b in found if b.statement in kept), key=lambda b: b.of or b.statement):
        lines += _side_by_side([binding.statement for binding in group])
    return lines


def _side_by_side(statements: Sequence[Statement]) -> list[Statement]:
    """Return statements as few that bind several names each, as long as lines allow."""
    lines = [[statements[0]]]
    for statement in statements[1:]:
        if len(together([*lines[-1], statement]).lines[0]) > LONGEST:
            lines.append([])
        lines[-1].append(statement)
    return [together(line) for line in lines]


def factory(called: str, about: str, binds: Sequence[Tree], decorator: str, arguments: Sequence[str], body: Iterable[Tree]) -> Block:
    """Return the function ``make_…`` that makes the function `called` on a machine.

    Parameters
    ----------
    called : str
    about : str
        What it says of itself.
    binds : sequence of statements
        What it takes from the machine.
    decorator : str
        How the machine makes it of the function with `arguments` and `body`.
    """
    inner = block(spelt(f"def {called}(", arguments, "):", defines=(called, *arguments)), body)
    made: list[Tree] = [_decorated(decorator), inner, BLANK, returned(name(called))]
    head = Statement((f"def make_{called}(on):",), ("on",))
    return function(head, [*binds, *([BLANK] if binds else []), *made], about)


def _decorated(decorator: str) -> Statement:
    """Return the line above a function that a machine makes its own."""
    return Statement((f"@on.{decorator}",), (), ON.reads)
