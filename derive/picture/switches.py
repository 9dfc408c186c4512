"""A cell's picture with gates fixed at 0 or 1: a product with one is a switch, and what nothing depends on any more is faint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..language.definition import Definition
from .graph import Graph
from .label import plain
from .layout import laid_out
from .lit import CONTROL, Light, lit
from .stage import drawn, named


def switched(cell: Definition, settings: Mapping[str, int]) -> str:
    """Return the picture with the gates of `settings` fixed, by name, at 0 or 1.

    Raises
    ------
    KeyError
        If a name is not that of a value in the picture.
    """
    graph = drawn(cell)
    circuit = Circuit(graph, {named(graph)[name]: number for name, number in settings.items()})
    layout = laid_out(graph)
    layout = replace(layout, placement=replace(layout.placement, graph=circuit.numbered()))
    nodes, values = circuit.live
    boxes = {graph.values[value].node for value in circuit.fixed}
    wires = dict.fromkeys(values, "") | dict.fromkeys(circuit.fixed, CONTROL)
    return lit(layout, Light(nodes | boxes | circuit.switches.keys(), wires, circuit.switches))


@dataclass(frozen=True)
class Circuit:
    """A drawing graph, and the values in it that are fixed at 0 or 1."""

    graph: Graph
    fixed: Mapping[int, int]

    @cached_property
    def switches(self) -> dict[int, tuple[int, bool]]:
        """The products with a fixed value: which of their inputs they pass, and whether they pass it."""
        found = {}
        for k, node in enumerate(self.graph.nodes):
            gates = [source.value for source in node.inputs if source.value in self.fixed]
            if node.kind == "product" and gates and len(node.inputs) == 2:
                passed = next(j for j, source in enumerate(node.inputs) if source.value != gates[0])
                found[k] = passed, self.fixed[gates[0]] == 1
        return found

    def needs(self, k: int) -> list[int]:
        """Return what node `k` still reads."""
        node = self.graph.nodes[k]
        if k in self.switches:
            passed, closed = self.switches[k]
            return [node.inputs[passed].value] if closed else []
        return [] if any(value in self.fixed for value in node.outputs) else [source.value for source in node.inputs]

    @cached_property
    def settled(self) -> set[int]:
        """The values that are the same whatever comes in."""
        found: set[int] = set()
        for k, node in enumerate(self.graph.nodes):
            if node.inputs and found.issuperset(self.needs(k)):
                found.update(node.outputs)
        return found

    @cached_property
    def live(self) -> tuple[set[int], set[int]]:
        """The nodes and the values on which a new state or an output still depends."""
        nodes: set[int] = set()
        values: set[int] = set()
        ends = [k for k, node in enumerate(self.graph.nodes) if not node.outputs and node.inputs[0].value not in self.settled]
        while ends:
            nodes.add(k := ends.pop())
            read = set(self.needs(k)) - self.settled
            values |= read
            ends += [maker for value in read if (maker := self.graph.values[value].node) not in nodes]
        return nodes, values

    def numbered(self) -> Graph:
        """Return the graph with its number in each box whose value is fixed."""
        makers = {self.graph.values[value].node: number for value, number in self.fixed.items()}
        nodes = [
            replace(node, kind="function", label=plain(str(makers[k]))) if k in makers else node for k, node in enumerate(self.graph.nodes)
        ]
        return Graph(tuple(nodes), self.graph.values)
