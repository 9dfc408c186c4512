"""Cells as ONNX models: what was trained here runs in ONNX Runtime, on servers, in browsers and on phones.

It needs the package `onnx`: ``pip install 'derive-rnn[onnx]'``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codegen.onnx.form import graph_of
from ..codegen.onnx.graph import COUNT, INTEGER, IR_VERSION, OPSET, REAL, TRUTH, Block, Constant, Graph, Node, Port, Weights
from ..codegen.onnx.interface import Form
from ..language.definition import Definition
from ..language.errors import CellError
from .folder import replacing
from .parameters import Parameters, drawn, given

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

LARGEST = 2**31 - 1  # bytes of a message of protocol buffers, which a model is


def model(
    cell: Definition,
    params: Any = None,
    *,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    dtype: Any = None,
    scan: bool = False,
    batch_first: bool = False,
    lengths: bool = False,
    zero_state: bool = False,
) -> ModelProto:
    """Return a cell's forward pass over a sequence as an ONNX model.

    Its inputs are those of the cell, `(T, B, ·)`, its contexts `(B, ·)` and, as ``<state>_initial``, the states before the first step
    `(B, ·)`; a cell without inputs has ``steps``, an integer.  It hands out ``y``, `(T, B, ·)`, and each ``<state>_final``, `(B, ·)`.  T
    and B may be others at each call.  An LSTM, GRU or simple network is ONNX's own operator where its equations are that operator's;
    any other cell is a ``Scan`` over its equations.

    Parameters
    ----------
    cell : Definition
    params : mapping or NamedTuple of arrays, optional
        Parameters by name, float32 or float64; drawn as a generated module's `init` does where they are not given.
    sizes : mapping, optional
        Named sizes: all of them to draw parameters, else those that no parameter tells.
    seed : int
        What drawn parameters come from.
    dtype : "float32" or "float64", optional
        Of the model's numbers; by default that of `params`, and float32 where they are drawn.
    scan : bool
        Whether the model steps through the equations even where ONNX has the cell as an operator.
    batch_first : bool
        Whether inputs and ``y`` are `(B, T, ·)`.
    lengths : bool
        Whether the model has an input ``lengths``, int64 `(B,)`: how many steps each sequence has.  After the last, its states stay what
        they are and its output is zero.
    zero_state : bool
        Whether the model begins with the cell's own states before the first step, zero unless the cell has others, and has no inputs for
        them.

    Returns
    -------
    onnx.ModelProto
        Checked, of opset 17; the same bytes at every call.

    Raises
    ------
    ImportError
        If there is no package `onnx`.
    ValueError
        If parameters or sizes are missing, unknown, or of other shapes than the cell's.
    CellError
        If something in the cell has no form in ONNX.
    """
    found = drawn(cell, sizes or {}, seed, dtype or "float32") if params is None else given(cell, params, sizes or {}, dtype)
    form = Form(scan, found.dtype == "float64", batch_first, lengths, zero_state)
    return _Writer(found).model(graph_of(cell, found.sizes, form))


def write(model: ModelProto, path: Path | str) -> None:
    """Write a model to a file, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with replacing(Path(path)) as part:
        part.write_bytes(model.SerializeToString(deterministic=True))


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError("a model needs the package onnx: pip install 'derive-rnn[onnx]'") from error
    return onnx


class _Writer:
    """Messages of ONNX for what a graph's description says."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters, self.onnx = parameters, _onnx()
        kinds = self.onnx.TensorProto
        real = {"float32": kinds.FLOAT, "float64": kinds.DOUBLE}[parameters.dtype]
        self.kinds = {REAL: real, INTEGER: kinds.INT64, COUNT: kinds.INT32, TRUTH: kinds.BOOL}
        self.dtypes = {REAL: parameters.dtype, INTEGER: "int64"}

    def model(self, graph: Graph) -> ModelProto:
        size = sum(value.nbytes for value in self.parameters.values.values())
        if size > LARGEST:
            raise CellError(f"{graph.name}: its parameters have {size} bytes, and a model of ONNX has at most {LARGEST}")
        helper = self.onnx.helper
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(self.graph(graph), opset_imports=opsets, ir_version=IR_VERSION, producer_name="derive")
        self.onnx.checker.check_model(made, full_check=True)
        return made

    def graph(self, graph: Graph) -> GraphProto:
        return self.onnx.helper.make_graph(
            [self.node(node) for node in graph.nodes],
            graph.name,
            [self.port(port) for port in graph.inputs],
            [self.port(port) for port in graph.outputs],
            [*map(self.weights, graph.weights), *map(self.constant, graph.constants)],
            doc_string=graph.doc or None,
        )

    def port(self, port: Port) -> ValueInfoProto:
        return self.onnx.helper.make_tensor_value_info(port.name, self.kinds[port.kind], port.dims, doc_string=port.doc)

    def node(self, node: Node) -> NodeProto:
        made = self.onnx.helper.make_node(node.operator, node.inputs, node.outputs, name=node.name, doc_string=node.doc or None)
        made.attribute.extend(self.attribute(name, value) for name, value in node.attributes)
        return made

    def attribute(self, name: str, value: Any) -> AttributeProto:
        if isinstance(value, Graph):
            value = self.graph(value)
        elif name == "to":
            value = self.kinds[value]
        return self.onnx.helper.make_attribute(name, value)

    # Numbers

    def constant(self, constant: Constant) -> TensorProto:
        return self.tensor(constant.name, np.array(constant.values, self.dtypes[constant.kind]))

    def weights(self, weights: Weights) -> TensorProto:
        blocks = [self.block(block) for block in weights.blocks]
        return self.tensor(weights.name, np.concatenate(blocks).reshape(weights.dims) if blocks[0].ndim else blocks[0])

    def block(self, block: Block) -> np.ndarray:
        total = np.zeros(block.dims, self.parameters.dtype)
        for piece in block.pieces:
            value = self.parameters.values[piece.parameter]
            starts = (piece.start, piece.column)[: value.ndim]
            part = value[tuple(slice(start, start + length) for start, length in zip(starts, block.dims, strict=False))]
            total = total + part
        return total

    def tensor(self, name: str, value: np.ndarray) -> TensorProto:
        return self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
