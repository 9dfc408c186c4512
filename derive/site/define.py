"""A cell as Python that makes it, and the few lines that use its kernels."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..cell import Cell
from ..codegen.interface import init_sizes
from ..codegen.layout import tuple_source
from ..verify.problem import classes

STEPS, BATCH, SIZE, HEADS = 100, 32, 128, 8
WIDEST = 80  # characters of a declaration on one line


def usual(cell: Cell) -> dict[str, int]:
    """Return the sizes of an example."""
    return {name: HEADS if name == cell.heads else SIZE for name in cell.sizes}


def definition(cell: Cell) -> str:
    """Return the call of `Cell` that defines `cell`, without its texts for people; arrays are names."""
    body = textwrap.indent(textwrap.dedent(cell.text).strip("\n"), "    ")
    lines = [f"{cell.name} = Cell(", '    """', body, '    """,', f'    name="{cell.name}",', f'    output="{cell.output}",']
    return "\n".join(["from derive import Cell", "", *lines, *(f"    {line}," for line in _declarations(cell)), ")"])


def _declarations(cell: Cell) -> Iterator[str]:
    if cell.inputs != ("x",):
        yield f"inputs={_names(cell.inputs)}"
    for what in ("context", "fixed", "shared"):
        if names := getattr(cell, what):
            yield f"{what}={_names(names)}"
    if cell.heads:
        yield f'heads="{cell.heads}"'
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
    return tuple_source(f'"{name}"' for name in names)


def _mapping(mapping: Mapping[str, Any], *, apart: bool = False) -> str:
    entries = [f'"{name}": {_value(name, value)}' for name, value in mapping.items()]
    return "{\n" + "".join(f"        {entry},\n" for entry in entries) + "    }" if apart else "{" + ", ".join(entries) + "}"


def _value(name: str, value: Any) -> str:
    if not isinstance(value, str | tuple) and np.ndim(value):
        return name  # a matrix of numbers says less than its name
    if isinstance(value, tuple):
        return "(" + ", ".join(f'"{part}"' for part in value) + ")"
    return f'r"{value}"' if isinstance(value, str) and "\\" in value else f'"{value}"' if isinstance(value, str) else repr(value)


def example(cell: Cell, package: str) -> str:
    """Return Python that imports the kernels of `cell`, and takes a sequence forward and back."""
    given = [f"{name} = {_array(cell, name, (STEPS, BATCH))}" for name in cell.inputs]
    given += [f"{name} = {_array(cell, name, (BATCH,))}" for name in cell.context]
    keywords = [f"{name}={name}" for name in (*cell.inputs[1:], *cell.context)] + ([] if cell.inputs else [f"steps={STEPS}"])
    arguments = [cell.inputs[0] if cell.inputs else "None", "params", *keywords]
    module = cell.name if cell.name not in (*cell.inputs, *cell.context) else f"{cell.name}_module"
    renamed = "" if module == cell.name else f" as {module}"
    y = "output" if "y" in (*cell.inputs, *cell.context) else "y"
    lines = [
        "import numpy as np",
        f"from {package} import {cell.name}{renamed}",
        "",
        f"params = {module}.init({', '.join(f'{name}={usual(cell).get(name, SIZE)}' for name in init_sizes(cell))})",
        *given,
        f"{y}, final, tape = {module}.forward({', '.join(arguments)})",
        "# gradients of the sum of all outputs, with respect to parameters, inputs and initial state",
        f"grads = {module}.backward(np.ones_like({y}), tape)",
    ]
    return "\n".join(lines)


def _array(cell: Cell, name: str, lead: tuple[int, ...]) -> str:
    values = usual(cell)
    extents = ", ".join(str(k) for k in (*lead, *(size.evaluate(values) for size in cell.shapes[name])))
    if name in cell.integers:
        return f"np.random.default_rng(0).integers({classes(cell, name, values)}, size=({extents}))"
    return f"np.random.default_rng(0).standard_normal(({extents}), dtype=np.float32)"
