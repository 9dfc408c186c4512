"""Which form a cell's graph has."""

from __future__ import annotations

from collections.abc import Mapping

from ...language.definition import Definition
from .graph import Graph
from .interface import Form, Interface
from .layer import layer_graph
from .recurrent import recurrent
from .scan import scan_graph


def graph_of(cell: Definition, sizes: Mapping[str, int], form: Form) -> Graph:
    """Return the graph of a cell with sizes of those values: one of ONNX's recurrent operators where the cell is that, else its equations.

    Raises
    ------
    CellError
        If something in the cell has no form in ONNX.
    """
    face, found = Interface(cell, sizes, form), recurrent(cell, sizes) if form.operators else None
    return layer_graph(face, found) if found else scan_graph(face)
