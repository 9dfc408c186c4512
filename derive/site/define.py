"""A cell as Python that makes it, and the few lines that use its kernels."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..cell import Cell
from ..check import classes
from ..sizes import Shape

STEPS, BATCH, SIZE = 100, 32, 128
WIDEST = 80  # characters of a declaration on one line


def definition(cell: Cell) -> str:
    """Return the call of `Cell` that defines `cell`, without its texts for people; arrays are named by their shapes alone."""
    body = textwrap.indent(textwrap.dedent(cell.text).strip("\n"), "    ")
    lines = [f"{cell.name} = Cell(", '    """', body, '    """,', f'    name="{cell.name}",', f'    output="{cell.output}",']
    return "\n".join(["from derive import Cell", "", *lines, *(f"    {line}," for line in _declarations(cell)), ")"])


def _declarations(cell: Cell) -> Iterator[str]:
    if cell.inputs != ("x",):
        yield f"inputs={_tuple(cell.inputs)}"
    for what in ("context", "fixed"):
        if names := getattr(cell, what):
            yield f"{what}={_tuple(names)}"
    for what, mapping in (("shapes", cell.declared_shapes), ("constants", cell.constants), ("init", cell.init), ("latex", cell.latex)):
        if mapping:
            line = f"{what}={_mapping(mapping)}"
            yield line if len(line) <= WIDEST else f"{what}={_mapping(mapping, apart=True)}"


def _tuple(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(f'"{name}"' for name in names) + ("," if len(names) == 1 else "") + ")"


def _mapping(mapping: Mapping[str, Any], *, apart: bool = False) -> str:
    entries = [f'"{name}": {_value(name, value)}' for name, value in mapping.items()]
    return "{\n" + "".join(f"        {entry},\n" for entry in entries) + "    }" if apart else "{" + ", ".join(entries) + "}"


def _value(name: str, value: Any) -> str:
    if np.ndim(value):
        return name  # a matrix of numbers says less than its name
    return f'r"{value}"' if isinstance(value, str) and "\\" in value else f'"{value}"' if isinstance(value, str) else repr(value)


def example(cell: Cell, package: str) -> str:
    """Return Python that imports the kernels of `cell`, and takes a sequence forward and back."""
    sizes = [*dict.fromkeys((*cell.sizes, *(s for pair in cell.equal_sizes for s in pair)))]
    sizes.sort(key=lambda s: (s != "d", s != "n", s))
    given = [f"{name} = {_array(cell, name, (STEPS, BATCH))}" for name in cell.inputs]
    given += [f"{name} = {_array(cell, name, (BATCH,))}" for name in cell.context]
    first = cell.inputs[0] if cell.inputs else "None"
    keywords = [f"{name}={name}" for name in (*cell.inputs[1:], *cell.context)] + ([] if cell.inputs else [f"steps={STEPS}"])
    module = cell.name if cell.name not in (*cell.inputs, *cell.context) else f"{cell.name}_module"
    renamed = "" if module == cell.name else f" as {module}"
    y, params = ("output", "params") if "y" in (*cell.inputs, *cell.context) else ("y", "params")
    lines = [
        "import numpy as np",
        f"from {package} import {cell.name}{renamed}",
        "",
        f"{params} = {module}.init({', '.join(f'{name}={SIZE}' for name in sizes)})",
        *given,
        f"{y}, final, tape = {module}.forward({', '.join([first, params, *keywords])})",
        "# gradients of the sum of all outputs: by params, inputs and initial state",
        f"grads = {module}.backward(np.ones_like({y}), tape)",
    ]
    return "\n".join(lines)


def _array(cell: Cell, name: str, lead: tuple[int, ...]) -> str:
    shape: Shape = cell.shapes[name]
    values = dict.fromkeys(cell.sizes, SIZE)
    extents = ", ".join(str(k) for k in (*lead, *(size.evaluate(values) for size in shape)))
    if name in cell.integers:
        return f"np.random.default_rng(0).integers({classes(cell, name, values)}, size=({extents}))"
    return f"np.random.default_rng(0).standard_normal(({extents}), dtype=np.float32)"
