"""What ONNX has one operator for: functions of a row's features together, and products of a matrix that changes and a vector.

Needs: all rewriting done.  Leaves: nodes of their own for these, and nothing that only they have made superfluous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sympy as sp

from ...calculus.ir import AxisSum, Equation, Map, Node, Recurrence, prune
from ...calculus.rowfunctions import Normalised
from ...calculus.rowfunctions import Softmax as SoftmaxExpression


@dataclass(frozen=True)
class Softmax(Node):
    """``exp(v) / Σ_k exp(v_k)`` over a vector's features."""

    value: str


@dataclass(frozen=True)
class LayerNormalization(Node):
    """``(v - mean(v)) / sqrt(mean((v - mean(v))**2) + ε)`` over a vector's features."""

    value: str


@dataclass(frozen=True)
class Contracted(Node):
    """A matrix that has a row a sequence times a vector; with `turned` the matrix transposed."""

    matrix: str
    vector: str
    turned: bool


def with_operators(rec: Recurrence, *, double: bool) -> Recurrence:
    """Return `rec` with nodes of ONNX's own where it has them; all that is given stays.

    With `double`, a normalisation is computed by its equations: the operator's ε is a number of float32.
    """
    made = {eq.name: eq.node for eq in rec.equations()}

    def changed(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
        return tuple(replace(eq, node=_operator(eq.node, made, rec, double)) for eq in equations)

    found = replace(rec, prologue=changed(rec.prologue), body=changed(rec.body))
    return replace(prune(found), statics=rec.statics, contexts=rec.contexts, sequences=rec.sequences)


def _operator(node: Node, made: Mapping[str, Node], rec: Recurrence, double: bool) -> Node:
    match node:
        case SoftmaxExpression(value=value):
            return Softmax(value)
        case Normalised(value=value) if len(rec.types[value].shape) == 1 and not double:
            return LayerNormalization(value)
        case AxisSum(value=value, axis=axis) if isinstance(terms := made.get(value), Map) and terms.expr.is_Mul:
            for vector, laid in rec.laid.items():
                matrix = terms.expr / sp.Symbol(vector)
                if laid.axis == axis and isinstance(matrix, sp.Symbol) and len(rec.types[matrix.name].shape) == 2:
                    return Contracted(matrix.name, laid.value, turned=axis == 0)
    return node
