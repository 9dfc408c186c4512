"""`derive convert`: weights from and to other frameworks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..cell import Cell
from ..cells.load import cells_named
from ..convert import ConvertError, Weights, read, write
from ..convert.files import contents, is_shipped, without_layers
from ..convert.source import check_free, write_source


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` the files, the cell and the layer."""
    add = parser.add_argument
    add("source", type=Path, metavar="FROM", help="file of weights: .pt, .pth, .safetensors, .npz, .keras, .h5, .weights.h5 or .onnx")
    add("target", type=Path, metavar="TO", nargs="?", help="file to write, of any of these kinds but .onnx; without it, layers are listed")
    add("--cell", metavar="CELL", default="", help="a cell's name, or a file of one cell; may be left out where FROM tells")
    add("--layer", metavar="NAME", default="", help="which recurrent layer of FROM, where it has several")


def run(options: argparse.Namespace) -> int:
    """Convert weights, or list layers; return 1 if they cannot be."""
    try:
        return _converted(options) if options.target else _listed(options.source)
    except ConvertError as error:
        print(f"derive convert: {error}", file=sys.stderr)
        return 1


def _listed(path: Path) -> int:
    found = contents(path)
    for layer in found.layers:
        print(f"{layer.name}: {layer.refusal or ', '.join(layer.cells)}{', from the last step to the first' if layer.reverse else ''}")
    if not found.layers:
        print(without_layers(found, path))
    return 0


def _converted(options: argparse.Namespace) -> int:
    weights = read(options.source, _cell(options.cell), options.layer)
    made = not is_shipped(weights.cell) and not options.cell
    beside = options.target.with_name(f"{options.target.name.partition('.')[0]}.py")
    if made:
        check_free(beside, weights.cell)
    write(options.target, weights)
    _tell(options.target, weights)
    if made:
        write_source(beside, weights.cell)
        print(f"{beside}: the cell {weights.cell.name}, which does not come with derive")
    return 0


def _cell(word: str) -> Cell | str:
    """Return the cell that a word names."""
    if not word.endswith(".py"):
        return word
    found = cells_named(word)
    if len(found) != 1:
        raise ConvertError(f"`{word}` makes {len(found)} cells: a file of one is needed")
    return found[0]


def _tell(path: Path, weights: Weights) -> None:
    sizes = ", ".join(f"{name} = {size}" for name, size in weights.sizes.items())
    origin = f", of layer {weights.layer}" if weights.layer else ""
    print(f"{path}: {weights.cell.name}, {sizes}, {weights.dtype}{origin}")
    if weights.reverse:
        print("the layer goes from the last step to the first: run the cell with reverse=True")
    for note in weights.notes:
        print(note)
