"""The few lines of Python that use a cell's kernels."""

from __future__ import annotations

from ..cell import Cell
from ..codegen.interface import init_sizes
from ..verify.problem import classes
from .symbols import SIZE, usual

STEPS, BATCH = 100, 32


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
