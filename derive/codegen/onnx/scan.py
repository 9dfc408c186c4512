"""A cell's equations as operators: what needs no state for all steps at once, and the rest in a `Scan` over time."""

from __future__ import annotations

from collections.abc import Iterable

from ...calculus.chain import FORWARD, Derivation
from ...calculus.derivation import primal
from ...calculus.ir import Equation
from ...language.definition import Definition
from ...program.passes.hoist import Regions, hoist
from ...program.passes.narrow import narrow
from ...program.passes.numbers import numbers
from ...program.passes.share import share
from ...program.passes.stack import stack
from .emitter import Emitter, Value
from .equations import Equations
from .graph import B, Block, Graph, Piece, Port, T, Weights
from .interface import Interface
from .operators import with_operators

PASSES = (numbers, stack, narrow, share)


def regions_of(cell: Definition, *, double: bool) -> Regions:
    """Return a cell's own equations as a graph has them, parted; with `double` for numbers of float64."""
    chain: Derivation = primal(cell)
    for apply in PASSES:
        chain = apply(chain)
    return hoist(with_operators(chain[FORWARD].recurrence, double=double))


def scan_graph(face: Interface) -> Graph:
    """Return the graph of a cell, a step after the other.

    Raises
    ------
    CellError
        If something in the cell has no form in ONNX.
    """
    return _Scan(face, regions_of(face.cell, double=face.form.double)).graph()


class _Scan:
    """A graph as far as it is made."""

    def __init__(self, face: Interface, regions: Regions) -> None:
        self.face, self.regions, self.rec = face, regions, regions.rec
        self.equations = Equations(self.rec, face.sizes, face.lines, face.on)
        self.values = self.equations.values
        self.running = face.running()

    def graph(self) -> Graph:
        face, regions, cell = self.face, self.regions, self.face.cell
        constants = {name: face.on.reals(array.values, array.shape, name) for name, array in cell.constant_arrays.items()}
        parameters = {name: Value(name, face.axes(name)) for name in cell.parameters}
        self.values |= constants | parameters | face.given
        self.equations.run((*self.rec.prologue, *regions.once, *regions.before))
        final = self.loop() if self.rec.carries else {}
        self.equations.run(regions.after)
        weights = [Weights(name, dims, (Block(dims, (Piece(name),)),)) for name in cell.parameters for dims in [face.axes(name)]]
        return face.finished(self.result(), final, weights)

    def result(self) -> Value:
        """Return the output, `(T, B, ·)`."""
        on, output = self.face.on, self.face.cell.output
        with on.belonging_to(self.face.output):
            y = on.expanded(self.values[output], (T, B, *self.face.axes(output)))
            return on.on_elements("Where", self.alive(on, self.running, len(y.dims)), y, on.number(0)) if self.running else y

    def alive(self, on: Emitter, running: Value, rank: int) -> Value:
        """Return which sequences have not ended, to stand beside a value of `rank` axes."""
        missing = rank - len(running.dims)
        return on.unsqueezed(running, *range(-missing, 0)) if missing else running

    # The loop

    def loop(self) -> dict[str, Value]:
        """Add the loop; return the states after its last step. What is read after it, of each step, is known from then on."""
        outer, inner, rec = self.face.on, Emitter(self.face.names, self.face.on), self.rec
        around = dict(self.values)
        scanned = self.scanned()
        states = {c.value: Value(self.face.names.fresh(c.previous), (B, *self.face.axes(c.value))) for c in rec.carries}
        parts = {name: Value(self.face.names.fresh(f"{name}_t"), value.dims[1:], value.kind) for name, value in scanned.items()}
        self.values |= {name: part for name, part in parts.items() if name in self.values}
        self.values |= {c.previous: states[c.value] for c in rec.carries}
        self.equations.on = inner
        self.equations.run(self.regions.loop)
        following = {c.value: self.following(c.value, states[c.value], parts.get("running:")) for c in rec.carries}
        handed = {name: self.handed(name) for name in self.read_later()}
        self.equations.on = outer
        body = Graph(
            f"{rec.name}_step",
            tuple(Port(value.name, value.dims, value.kind) for value in (*states.values(), *parts.values())),
            tuple(Port(value.name, value.dims, value.kind) for value in (*following.values(), *handed.values())),
            tuple(inner.nodes),
            doc="\n".join(f"({tag}) {line}" for tag, line in self.face.lines.items()),
        )
        final = {name: Value(self.face.names.fresh(f"{name}_last"), value.dims) for name, value in states.items()}
        every = {name: Value(self.face.names.fresh(f"{name}_steps"), (T, *value.dims)) for name, value in handed.items()}
        given = [*(self.face.start[name] for name in states), *scanned.values()]
        with outer.belonging_to(rec.name, body.doc):
            outer.emit("Scan", given, [*final.values(), *every.values()], body=body, num_scan_inputs=len(scanned))
        self.values.clear()
        self.values |= around | every
        return final

    def scanned(self) -> dict[str, Value]:
        """Return what the loop reads a step of; it must have something, which tells how many steps there are."""
        read = dict.fromkeys([*_reads(self.regions.loop), *(c.value for c in self.rec.carries), *self.read_later()])
        found = {name: self.values[name] for name in read if name in self.values and self.values[name].dims[:1] == (T,)}
        if self.running:
            found["running:"] = self.running
        return found or {"step:": self.face.clock()}

    def read_later(self) -> list[str]:
        """Return what is read of the loop's values, at every step, after it."""
        made = {eq.name for eq in self.regions.loop} | {c.previous for c in self.rec.carries}
        return [name for name in dict.fromkeys([*_reads(self.regions.after), *self.rec.written]) if name in made]

    def following(self, name: str, state: Value, running: Value | None) -> Value:
        """Return a state after a step, as a value that the step alone hands on."""
        on = self.equations.on
        with on.belonging_to(name):
            value = on.expanded(self.values[name], state.dims)
            if running:
                value = on.on_elements("Where", self.alive(on, running, len(state.dims)), value, state)
            return on.renamed(on.made("Identity", value, dims=value.dims), f"{name}_next")

    def handed(self, name: str) -> Value:
        """Return what is handed out of a step."""
        on = self.equations.on
        with on.belonging_to(name):
            value = on.expanded(self.values[name], (B, *self.equations.axes(name)))
            return on.renamed(on.made("Identity", value, dims=value.dims, kind=value.kind), f"{name}_out")


def _reads(equations: Iterable[Equation]) -> list[str]:
    return [name for eq in equations for name in eq.node.operands()]
