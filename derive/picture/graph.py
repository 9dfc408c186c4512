"""The drawing graph of a cell: nodes at a textbook's granularity, and the values that run between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .label import Label

SOURCES = frozenset({"state", "input", "context"})
SINKS = frozenset({"next", "output"})
CIRCLES = frozenset({"sum", "product"})
BOXES = frozenset({"layer", "linear"})


@dataclass(frozen=True)
class Input:
    """A value that a node reads; `mark` is written beside its port: ``−`` for what is subtracted, ``÷`` for what divides."""

    value: int
    mark: str = ""


@dataclass(frozen=True)
class Node:
    """A thing that is drawn.

    Attributes
    ----------
    kind : str
        ``state``, ``input``, ``context`` (where values come from); ``layer`` (a function of weighted inputs), ``linear`` (without the
        function), ``gain`` (a parameter times a value), ``function``, ``shift`` (a constant plus or minus a value), ``sum``, ``product``,
        ``join``, ``split``, ``wire`` (another name of a value); ``next`` (a state's new value), ``output``.
    label : Label
        What stands in it.
    inputs : tuple of Input
        What it reads; `ordered` says that the order from top to bottom means something.
    outputs : tuple of int
        The values it makes.
    line : str
        The number of the equation, nothing for what comes in.
    tip : str
        What is told beside it.
    pointwise : bool
        Whether each element of its value depends on that element of its inputs only.
    """

    kind: str
    label: Label
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    line: str
    tip: str
    ordered: bool = False
    pointwise: bool = False
    name: str = ""


@dataclass(frozen=True)
class Value:
    """What runs along a wire: made by output `port` of `node`, with the label written beside it."""

    node: int
    port: int
    names: tuple[str, ...] = ()
    label: Label = ()


@dataclass(frozen=True)
class Graph:
    """Nodes and values by number; every reader of a value stands behind its maker."""

    nodes: tuple[Node, ...]
    values: tuple[Value, ...]

    @cached_property
    def readers(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each value, the nodes that read it and at which of their inputs."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.values]
        for number, node in enumerate(self.nodes):
            for k, source in enumerate(node.inputs):
                found[source.value].append((number, k))
        return tuple(map(tuple, found))

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """Yield maker, reader and value of every connection."""
        for number, value in enumerate(self.values):
            for reader, _ in self.readers[number]:
                yield value.node, reader, number
