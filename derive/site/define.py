"""A cell as Python that makes it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from numbers import Number
from typing import Any

from ..cell import Cell
from ..codegen.layout import tuple_source

WIDEST = 80  # characters of a declaration on one line


def definition(cell: Cell) -> str:
    """Return the call of `Cell` that defines `cell`, without its texts for people; arrays are names."""
    lines = [f"{cell.name} = Cell(", '    """', block(cell.text), '    """,', f'    name="{cell.name}",', f'    output="{cell.output}",']
    return "\n".join(["from derive import Cell", "", *lines, *(f"    {line}," for line in declarations(cell)), ")"])


def declarations(cell: Cell) -> Iterator[str]:
    """Yield the keyword arguments that say the rest of a definition, beside text, name and output."""
    if cell.inputs != ("x",):
        yield f"inputs={_names(cell.inputs)}"
    for what in ("context", "fixed", "shared"):
        if names := getattr(cell, what):
            yield f"{what}={_names(names)}"
    if cell.heads:
        yield f"heads={quoted(cell.heads)}"
    for what, mapping in (
        ("shapes", cell.declared_shapes),
        ("constants", cell.constants),
        ("init", cell.init),
        ("latex", cell.latex),
        ("functions", cell.functions),
    ):
        if mapping:
            line = f"{what}={_mapping(mapping)}"
            yield line if len(line) <= WIDEST else f"{what}={_mapping(mapping, apart=True)}"


def _names(names: tuple[str, ...]) -> str:
    return tuple_source(map(quoted, names))


def _mapping(mapping: Mapping[str, Any], *, apart: bool = False) -> str:
    entries = [f"{quoted(name)}: {_value(name, value)}" for name, value in mapping.items()]
    return "{\n" + "".join(f"        {entry},\n" for entry in entries) + "    }" if apart else "{" + ", ".join(entries) + "}"


def _value(name: str, value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(quoted, value)) + ")"
    return repr(value) if isinstance(value, Number) else name  # a matrix of numbers says less than its name


def quoted(text: str) -> str:
    """Return a string as Python that makes it, whoever wrote it: in double quotes, raw where that reads better."""
    if '"' in text or not text.isprintable() or text.endswith("\\"):
        return repr(text)
    return f'r"{text}"' if "\\" in text else f'"{text}"'


def block(text: str) -> str:
    """Return a text of several lines as what stands between three double quotes, whoever wrote it."""
    return textwrap.indent(textwrap.dedent(text).strip("\n"), "    ").replace("\\", r"\\").replace('"""', r"\"\"\"")
