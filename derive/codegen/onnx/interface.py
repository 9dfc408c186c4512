"""What a graph of a cell is given and hands out, the same in all its forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...calculus.naming import Names
from ...language.definition import Definition
from ...language.errors import CellError
from ...notation.text import forward_lines
from .emitter import Emitter, Value
from .graph import INTEGER, REAL, TRUTH, B, Dims, Graph, Port, T, Weights, needed


@dataclass(frozen=True)
class Form:
    """How a graph is to be.

    Attributes
    ----------
    scan : bool
        Whether it steps through the equations even where ONNX has the cell as an operator.
    double : bool
        Whether numbers are float64. ONNX Runtime has no recurrent operators of that, and ONNX no ε of `LayerNormalization`.
    batch_first : bool
        Whether inputs and output are `(B, T, ·)`, not `(T, B, ·)`.
    lengths : bool
        Whether it is given how many steps each sequence has: the states stay what they are after the last, and the output is zero.
    zero_state : bool
        Whether it begins with the cell's own states before the first step, and is given none.
    """

    scan: bool = False
    double: bool = False
    batch_first: bool = False
    lengths: bool = False
    zero_state: bool = False

    @property
    def operators(self) -> bool:
        """Whether a cell that is one of ONNX's recurrent operators becomes that."""
        return not (self.scan or self.double)


class Interface:
    """The ports of a graph, and what stands between them and the operators of its form.

    Attributes
    ----------
    cell : Definition
    sizes : mapping
        Value of each named size.
    form : Form
    on : Emitter
        The outermost graph.
    given : dict
        Inputs `(T, B, ·)` and contexts `(B, ·)`, by name.
    start : dict
        The states before the first step `(B, ·)`, by the states' names.
    lengths : Value or None
        How many steps each sequence has, `(B,)`.
    """

    def __init__(self, cell: Definition, sizes: Mapping[str, int], form: Form) -> None:
        self.cell, self.sizes, self.form = cell, sizes, form
        self.lines = forward_lines(cell)
        self.names = Names((*cell.inputs, *cell.context, *cell.parameters))
        self.on = Emitter(self.names)
        self.ports: list[Port] = []
        self.given = {name: self.port(name, (T, B, *self.axes(name)), "input of each step") for name in cell.inputs}
        self.given |= {name: self.port(name, (B, *self.axes(name)), "given once a sequence") for name in cell.context}
        self.start = {name: self.initial(name) for name in (() if form.zero_state else cell.states)}
        self.lengths = self.port(self.names.fresh("lengths"), (B,), "steps of each sequence", INTEGER) if form.lengths else None
        self.steps = None if cell.inputs else self.port(self.names.fresh("steps"), (), "number of steps", INTEGER)
        self.output = self.names.fresh("y")
        self.final = {name: self.names.fresh(f"{name}_final") for name in cell.states}
        self.measure()
        self.enter()

    def axes(self, name: str) -> tuple[int, ...]:
        """Return the axes of one row of a name."""
        return tuple(size.evaluate(self.sizes) for size in self.cell.axes[name])

    def port(self, name: str, dims: Dims, doc: str, kind: str = REAL) -> Value:
        """Add what is given."""
        kind = INTEGER if name in self.cell.integers else kind
        self.ports.append(Port(name, self.outer(dims), kind, doc))
        return Value(name, dims, kind)

    def initial(self, state: str) -> Value:
        """Add a state before the first step to what is given."""
        return self.port(self.names.fresh(f"{state}_initial"), (B, *self.axes(state)), "before the first step")

    def outer(self, dims: Dims) -> Dims:
        """Return axes as the caller has them."""
        return (B, T, *dims[2:]) if self.form.batch_first and dims[:2] == (T, B) else dims

    def measure(self) -> None:
        """Find the axes that have another size at each call."""
        for port in self.ports:
            for place, axis in enumerate(port.dims):
                if isinstance(axis, str) and axis not in self.on.extents:
                    given = Value(port.name, port.dims, port.kind)
                    with self.on.belonging_to(axis):
                        self.on.extents[axis] = self.on.made("Shape", given, dims=(1,), kind=INTEGER, start=place, end=place + 1)
        if self.steps:
            with self.on.belonging_to(T):
                self.on.extents[T] = self.on.unsqueezed(self.steps, -1)
        if B not in self.on.extents:
            raise CellError(f"{self.cell.name}: nothing tells the number of sequences unless the initial states are given")

    def enter(self) -> None:
        """Bring what is given into the order of time, and make the states before the first step."""
        for name in self.cell.inputs if self.form.batch_first else ():
            dims = self.given[name].dims
            outside = Value(name, self.outer(dims), self.given[name].kind)
            with self.on.belonging_to(name):
                self.given[name] = self.on.renamed(self.on.transposed(outside, 1, 0, *range(2, len(dims))), f"{name}_by_step")
        for name in self.cell.states if self.form.zero_state else ():
            value = self.cell.init.get(name, 0.0)
            assert not isinstance(value, str), "declarations are checked: a state has a number"
            with self.on.belonging_to(f"{name}_initial"):
                self.start[name] = self.on.renamed(self.on.expanded(self.on.number(value), (B, *self.axes(name))), f"{name}_initial")

    def clock(self) -> Value:
        """Return the numbers of the steps, `(T,)`."""
        first, end, width = self.on.integer(0), self.on.squeezed(self.on.extent(T), -1), self.on.integer(1)
        return self.on.made("Range", first, end, width, dims=(T,), kind=INTEGER)

    def running(self) -> Value | None:
        """Return whether each sequence has not ended at a step, `(T, B)`, if lengths are given."""
        if self.lengths is None:
            return None
        with self.on.belonging_to("running"):
            steps, lengths = self.on.unsqueezed(self.clock(), -1), self.on.unsqueezed(self.lengths, -2)
            return self.on.renamed(self.on.on_elements("Less", steps, lengths, kind=TRUTH), "running")

    def finished(self, y: Value, final: Mapping[str, Value], weights: Iterable[Weights]) -> Graph:
        """Return the graph that hands out `y`, `(T, B, ·)`, and the states after the last step, `(B, ·)`."""
        if self.form.batch_first:
            with self.on.belonging_to(self.output):
                y = self.on.transposed(y, 1, 0, *range(2, len(y.dims)))
        found = [self.on.called(y, self.output), *(self.on.called(value, self.final[name]) for name, value in final.items())]
        outputs = [Port(found[0].name, found[0].dims, doc="output of each step")]
        outputs += [Port(value.name, value.dims, doc="after the last step") for value in found[1:]]
        nodes = needed(self.on.nodes, [port.name for port in outputs])
        graph = Graph(self.cell.name, tuple(self.ports), tuple(outputs), nodes, doc=self.told())
        return graph.with_data(weights, self.on.constants.values())

    def told(self) -> str:
        """Return the cell's title and equations."""
        lines = [f"({tag}) {line}" for tag, line in self.lines.items()]
        return "\n".join([*filter(None, [self.cell.title, self.cell.reference]), "", *lines])
