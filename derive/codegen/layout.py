"""Layout of emitted code, and the names that it keeps for itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ..calculus.functions import FUNCTIONS, Composed

RENAMED = {"abs": "absolute", "round": "nearest", "step": "heaviside"}  # not to shadow a builtin, or the module's own `step`

# Names of the emitted module and of its functions' own variables: a cell's names give way to them.
HOST = frozenset(
    {"np", "kernel", "call", "y", "dy", "params", "state", "final", "count", "saved", "initial", "dfinal", "static", "LAYER"}
    | {"parts", "how", "rows", "batch", "dtype", "empty", "memory"}
    | {"Params", "State", "Inputs", "Saved", "Tape", "Grads", "pack", "init", "zero_state", "spec", "forward", "infer", "step", "backward"}
    | {"Tape2", "Second", "SavedBackward", "backward_backward", "tangent", "hvp", "step_tangent", "given", "result", "saved_backward"}
)
INSIDE = frozenset(
    {
        "row",
        "kept",
        "state",
        "ring",
        "ahead",
        "piece",
        "pieces",
        "active",
        "inline",
        "sequence",
        "first",
        "last",
        "t",
        "seq",
        "head",
        "at",
        "j",
        "end",
        "real",
        "min",
        "range",
    }
)
_COMPUTED = [RENAMED.get(known, known) for known, kind in FUNCTIONS.items() if not issubclass(kind, Composed)]
ELEMENTARY = tuple(sorted({*_COMPUTED, "power", "square"}))
"""The functions that formulas call."""
FUNCTIONS_OF: dict[str, str] = {
    "static": ".runtime.common",
    **dict.fromkeys(("gather", "over_time", "spread", "total"), ".runtime.cpu.carries"),
    **dict.fromkeys(("put_both", "put_first", "put_last", "take_first", "take_last"), ".runtime.cpu.carries"),
    **dict.fromkeys(("host", "kernel", "share"), ".runtime.cpu.kernel"),
    **dict.fromkeys(("outer_sums", "workspace"), ".runtime.cpu.outer"),
    "cut": ".runtime.cpu.pointers",
    **dict.fromkeys(("multiply_spikes", "outer_spikes", "spike_room"), ".runtime.cpu.spikes"),
    **dict.fromkeys(("fill_panels", "fill_part", "multiply", "multiply_rows"), ".runtime.cpu.product"),
    **dict.fromkeys(("panel_room", "part_room", "row_parts"), ".runtime.cpu.product"),
    **dict.fromkeys(("NOTHING", "real_of", "some"), ".runtime.cpu.nothing"),
    **dict.fromkeys(("matvec", "matvec_t", "outer", "plus", "put_rows", "transposed"), ".runtime.cpu.static"),
    **dict.fromkeys(ELEMENTARY, ".runtime.cpu.vector"),
    **dict.fromkeys(("added", "feature_sum", "log_sum_exp", "square"), ".runtime.cpu.reduce"),
}
"""The modules of the runtime that functions of emitted code for the CPU come from."""
CONSTANTS = frozenset({"one", "two", "three", "four", "half", "zero"})
RUNTIME = frozenset(FUNCTIONS_OF) | CONSTANTS
"""Names that emitted code has for itself, on any kind of device."""
OF_ARRAYS = ("_rows", "_state", "_states", "_kept")
"""Ends of names that say that an array is meant."""
INDENT = "    "
WIDTH = 140


def rows_name(array: str, ends: tuple[str, ...] = OF_ARRAYS) -> str:
    """Return what a kernel calls an array: by its name if that has one of the `ends` that say what it is, else by that with one of them."""
    return array if array.endswith(ends) else f"{array}_rows"


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
