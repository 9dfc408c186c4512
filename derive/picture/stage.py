"""A cell's picture in stages: lines of its step lit, or the wires along which cotangents run back.

What is lit is found in the drawing graph.  The names of cotangents are those of the derivation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from ..calculus.chain import BACKWARD
from ..calculus.derivation import differentiate
from ..language.definition import Definition
from ..notation.text import formulas_of
from ..notation.written import latex_of
from .build import build
from .bundle import bundled, grouped
from .graph import SINKS, SOURCES, Graph
from .label import typeset
from .layout import laid_out
from .lit import BACK, KNOWN, Light, lit


def drawn(cell: Definition) -> Graph:
    """Return the drawing graph of a cell as it is laid out."""
    return grouped(bundled(build(cell)))


def named(graph: Graph) -> dict[str, int]:
    """Return the values that have a name in the cell, by name; those of new states and of what comes in, too."""
    found = {name: number for number, value in enumerate(graph.values) for name in value.names}
    found |= {node.name: node.outputs[0] for node in graph.nodes if node.kind in SOURCES}
    return found | {node.name: node.inputs[0].value for node in graph.nodes if not node.outputs}


def forward(cell: Definition, tags: Iterable[str]) -> str:
    """Return the picture with lines of the step lit, such as ``F2``, and what they read.

    Raises
    ------
    KeyError
        If nothing in the picture is of such a line.
    """
    graph, numbers = drawn(cell), [tag.removeprefix("F") for tag in tags]
    parts = {number: {k for k, node in enumerate(graph.nodes) if node.line == number} for number in numbers}
    if empty := [number for number, found in parts.items() if not found]:
        raise KeyError(f"nothing in the picture of `{cell.name}` is of line F{empty[0]}")
    nodes = set().union(*parts.values())
    values = _read(graph, nodes) | {value for k in nodes for value in graph.nodes[k].outputs}
    passing = {n for v in values if graph.nodes[n := graph.values[v].node].kind in (*SOURCES, "join")}
    return lit(laid_out(graph), Light(nodes | passing, dict.fromkeys(values, "")))


def _read(graph: Graph, nodes: Collection[int]) -> set[int]:
    """Return what nodes read, also by way of a merge."""
    values = {source.value for k in nodes for source in graph.nodes[k].inputs}
    joins = {k for v in values if graph.nodes[k := graph.values[v].node].kind == "join"}
    return values | (_read(graph, joins) if joins else set())


def backward(cell: Definition, names: Iterable[str]) -> str:
    """Return the picture with the stage lit in which the cotangents of `names` are made; its wires run back.

    A wire has the name of its value's cotangent, and a layer that of its argument's.

    Raises
    ------
    KeyError
        If a name is not that of a value in the picture.
    """
    plain = drawn(cell)
    graph, known = _renamed(plain, cell), named(plain)
    if missing := [name for name in names if name not in known]:
        raise KeyError(f"`{missing[0]}` is no value in the picture of `{cell.name}`, which has {', '.join(known)}")
    nodes: set[int] = set()
    wires: dict[int, str] = {}
    for name in names:
        _follow(graph, known[name], frozenset(known.values()), nodes, wires)
    layout = laid_out(graph)
    shown = [plain.values[k] if wires.get(k) == "" else value for k, value in enumerate(graph.values)]  # what is read has its own name
    return lit(replace(layout, placement=replace(layout.placement, graph=Graph(graph.nodes, tuple(shown)))), Light(nodes, wires))


def _renamed(graph: Graph, cell: Definition) -> Graph:
    """Return the graph with the names of cotangents."""
    derivation = differentiate(cell)
    formulas, rec = formulas_of(derivation, BACKWARD, latex_of(cell)), derivation[BACKWARD].recurrence
    shown = {rec.labels[eq.name].of: typeset(formulas.name(eq.name)) for eq in rec.body if eq.shown}
    arguments = {label.of: shown[name] for name, label in formulas.labels.items() if label.kind == "preactivation" and name in shown}
    nodes, values = list(graph.nodes), list(graph.values)
    for name, number in named(graph).items():
        maker = values[number].node
        values[number] = replace(values[number], label=shown.get(name, ()))
        if nodes[maker].kind == "layer" and name in arguments:
            nodes[maker] = replace(nodes[maker], label=arguments[name])
    return Graph(tuple(nodes), tuple(values))


def _follow(graph: Graph, value: int, stops: frozenset[int], nodes: set[int], wires: dict[int, str]) -> None:
    """Light a value's wire, the way on to the next values that have a name, and what products and functions on it read beside.

    A cotangent that no line makes is given, as that of a memory's output is: where it comes in is lit, too.
    """
    wires[value] = BACK
    if graph.nodes[maker := graph.values[value].node].kind in (*SOURCES, "layer"):
        nodes.add(maker)
    for reader, _ in graph.readers[value]:
        nodes.add(reader)
        node = graph.nodes[reader]
        if node.kind in ("product", "function"):
            for other in node.inputs:
                wires.setdefault(other.value, "")
        for made in node.outputs if node.kind != "layer" else ():  # what a layer hands back is the cotangent of its argument
            if made in stops:
                wires.setdefault(made, KNOWN)
                if not graph.values[made].label:
                    nodes.update(k for k, _ in graph.readers[made] if graph.nodes[k].kind in SINKS)
            else:
                _follow(graph, made, stops, nodes, wires)
