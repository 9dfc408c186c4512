"""Layout of emitted code, and the names that it keeps for itself."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable

from ..calculus.functions import FUNCTIONS
from ..language.sizes import Size
from .expression import RENAMED

# Names of the emitted module and of its functions' own variables: a cell's names give way to them.
HOST = frozenset(
    {"np", "kernel", "call", "y", "dy", "params", "state", "final", "count", "saved", "initial", "dfinal", "static", "LAYER"}
    | {"Params", "State", "Inputs", "Saved", "Tape", "Grads", "pack", "init", "zero_state", "spec", "forward", "infer", "step", "backward"}
)
INSIDE = frozenset(
    {
        "row",
        "kept",
        "state",
        "ring",
        "ahead",
        "active",
        "inline",
        "sequence",
        "first",
        "last",
        "t",
        "seq",
        "at",
        "j",
        "end",
        "real",
        "min",
        "range",
    }
)
RUNTIME = frozenset(
    {RENAMED.get(name, name) for name in FUNCTIONS}
    | {
        "power",
        "square",
        "added",
        "feature_sum",
        "log_sum_exp",
        "multiply",
        "panels",
        "empty",
        "stacked",
        "run_rows",
        "multiply_rows",
        "sums",
    }
    | {"state_rows", "carried_rows", "last_rows", "first_rows", "one", "two", "three", "four", "half", "zero"}
)
INDENT = "    "
WIDTH = 140


def size_source(size: Size, name_of: Callable[[str], str]) -> str:
    """Return the source of a size, whose named sizes are called as `name_of` says."""
    terms = [f"{'' if k == 1 else f'{k} * '}{name_of(name)}" for name, k in size.terms]
    if size.constant or not terms:
        terms.append(str(size.constant))
    return " + ".join(terms).replace("+ -", "- ")


def tuple_source(items: Iterable[str]) -> str:
    """Return the source of a tuple of expressions."""
    found = list(items)
    return f"({', '.join(found)}{',' if len(found) == 1 else ''})"


def commented(text: str) -> list[str]:
    """Return a comment, on as many lines as it takes."""
    return textwrap.wrap(text, WIDTH - 24, initial_indent="# ", subsequent_indent="#     ", break_long_words=False)


def wrapped(head: str, items: Iterable[str], tail: str, indent: int = 8) -> list[str]:
    """Return ``head item, item, … tail`` on as many lines as it takes, indented by one level."""
    items = list(items)
    if len(head) + sum(len(i) + 2 for i in items) + indent <= WIDTH:
        return [head + ", ".join(items) + tail]
    lines = [head]
    for item in items:
        if len(lines) > 1 and len(lines[-1]) + len(item) + 2 + indent <= WIDTH:
            lines[-1] += f" {item},"
        else:
            lines.append(f"{INDENT}{item},")
    return [*lines, tail]
