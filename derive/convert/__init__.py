"""Weights from and to other frameworks: files of PyTorch, Keras, ONNX, safetensors and NumPy.

read(path, cell, layer)   the parameters of a cell, from a file: `Weights`
write(path, weights)      a file of them, by its suffix
layers(path)              the recurrent layers that a file has
table()                   how each framework lays its weights out, as Markdown
"""

from __future__ import annotations

from .errors import ConvertError
from .files import layers, read, write
from .layouts import table
from .weights import Weights

__all__ = ["ConvertError", "Weights", "layers", "read", "table", "write"]
