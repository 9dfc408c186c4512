"""A graph of ONNX operators as plain data: what `derive.package.onnx` writes as a model.

Only operators of opset `OPSET` are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

OPSET, IR_VERSION = 17, 8
"""The first opset with `LayerNormalization`: ONNX Runtime reads it since 1.12, of 2022, and so do its builds for browsers and phones. What
later opsets add is no operator that a cell needs.
"""

REAL, INTEGER, COUNT, TRUTH = "real", "int64", "int32", "bool"
"""Kinds of elements: numbers of the model's dtype, indices, the lengths that recurrent operators take, and conditions."""

T, B = "T", "B"
"""The axes that have another size at each call."""

Dim = int | str
Dims = tuple[Dim, ...]


@dataclass(frozen=True)
class Port:
    """What is given to a graph, or handed out: its name, axes, and kind of elements."""

    name: str
    dims: Dims
    kind: str = REAL
    doc: str = ""


@dataclass(frozen=True)
class Node:
    """One operator. An input without a name is not given; attributes are numbers, texts, tuples of these, or graphs."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...] = ()
    name: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Constant:
    """Numbers that are known: one, or nested tuples of them."""

    name: str
    values: Any
    kind: str = REAL


@dataclass(frozen=True)
class Piece:
    """Rows of a parameter, from `start` on, as many as the block that it is in has; of a matrix, columns likewise."""

    parameter: str
    start: int = 0
    column: int = 0


@dataclass(frozen=True)
class Block:
    """The sum of pieces of parameters, zero if there is none; `dims` are those of the block."""

    dims: tuple[int, ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Weights:
    """What is learned: blocks one below the other, in the axes `dims`."""

    name: str
    dims: tuple[int, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Graph:
    """Operators in the order in which they run, between what is given and what is handed out."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    weights: tuple[Weights, ...] = ()
    constants: tuple[Constant, ...] = ()
    doc: str = ""

    def with_data(self, weights: Iterable[Weights], constants: Iterable[Constant]) -> Graph:
        """Return the graph with those weights and constants that it reads."""
        names = {name for node in self.nodes for name in read(node)} | {port.name for port in self.outputs}
        kept = tuple(each for each in weights if each.name in names), tuple(each for each in constants if each.name in names)
        return replace(self, weights=kept[0], constants=kept[1])


def read(node: Node) -> Iterator[str]:
    """Yield the names of the values that an operator reads, those in a graph of its own included."""
    yield from filter(None, node.inputs)
    for _, value in node.attributes:
        if isinstance(value, Graph):
            made = {name for inner in value.nodes for name in inner.outputs} | {port.name for port in value.inputs}
            yield from (name for inner in value.nodes for name in read(inner) if name not in made)


def needed(nodes: Iterable[Node], names: Iterable[str]) -> tuple[Node, ...]:
    """Return the operators that the values `names` are made by."""
    wanted, kept = set(names), list[Node]()
    for node in reversed(tuple(nodes)):
        if not wanted.isdisjoint(node.outputs):
            kept.append(node)
            wanted.update(read(node))
    return tuple(reversed(kept))
