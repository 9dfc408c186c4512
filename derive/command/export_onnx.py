"""`derive export onnx`: a cell as a model of ONNX."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cell import Cell
from ..cells.load import cells_named
from ..language.errors import CellError
from ..package import sizes

if TYPE_CHECKING:
    from onnx import ModelProto

HELP = "Write a cell with its parameters as an ONNX model."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cell, where its parameters are from, and how the model is to be."""
    add = parser.add_argument
    add("cell", metavar="CELL", help="a cell's name, or a file of cells")
    add("--out", type=Path, metavar="FILE", help="the model (default: CELL.onnx)")
    add("--weights", type=Path, metavar="FILE.npz", help="the parameters, by their names (default: drawn as init does)")
    add("--size", action="append", default=[], metavar="NAME=N", help="a size, where no weights tell it; once for each")
    add("--seed", type=int, default=0, help="what drawn parameters come from (default: 0)")
    add("--dtype", choices=("float32", "float64"), help="of all numbers (default: that of the parameters)")
    add("--scan", action="store_true", help="step through the equations, even where ONNX has the cell as an operator")
    add("--batch-first", action="store_true", help="inputs and output are (B, T, …), not (T, B, …)")
    add("--lengths", action="store_true", help="one more input: how many steps each sequence has")
    add("--zero-state", action="store_true", help="no inputs for initial states: begin with the cell's own")


def run(options: argparse.Namespace) -> int:
    """Write a model for each cell, and say what it is given and hands out."""
    from ..package.onnx import model, write
    from ..package.parameters import load

    cells = cells_named(options.cell)
    if len(cells) > 1 and (options.out or options.weights):
        raise CellError(f"`{options.cell}` has the cells {', '.join(cell.name for cell in cells)}: --out and --weights are for one")
    form: dict[str, Any] = {"sizes": sizes.given(options.size)}
    form |= {name: getattr(options, name) for name in ("seed", "dtype", "scan", "batch_first", "lengths", "zero_state")}
    params = load(options.weights) if options.weights else None
    made = [(options.out or Path(f"{cell.name}.onnx"), _made(model, cell, params, **form)) for cell in cells]
    for path, found in made:
        write(found, path)
        print("\n".join([f"{path}: opset {found.opset_import[0].version}", *_ports(found)]))
    return 0


def _made(model: Any, cell: Cell, params: Any, **form: Any) -> ModelProto:
    try:
        found: ModelProto = model(cell, params, **form)
    except ValueError as error:
        raise error if isinstance(error, CellError) else CellError(str(error)) from error
    return found


def _ports(model: ModelProto) -> Iterator[str]:
    """Yield a line for each value that a model is given or hands out."""
    for said, ports in (("takes", model.graph.input), ("gives", model.graph.output)):
        for port in ports:
            dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in port.type.tensor_type.shape.dim)
            yield f"  {said} {port.name} ({dims})"
