"""A cell that is one of ONNX's recurrent operators, as that operator."""

from __future__ import annotations

from .emitter import Value
from .graph import COUNT, TRUTH, B, Block, Graph, T, Weights
from .interface import Interface
from .recurrent import Recurrent


def layer_graph(face: Interface, found: Recurrent) -> Graph:
    """Return the graph of a cell that is `found`."""
    on, n, name = face.on, found.width, face.cell.name
    (d,) = face.axes(found.input)
    gates = len(found.gates)
    weights = {
        "W": Weights(f"{name}_W", (1, gates * n, d), found.blocks("input", d)),
        "R": Weights(f"{name}_R", (1, gates * n, n), found.blocks("state", n)),
        "B": Weights(f"{name}_B", (1, 2 * gates * n), (*found.blocks("bias"), *found.blocks("state_bias"))),
        "P": Weights(f"{name}_P", (1, 3 * n), found.blocks("peephole")[:3]),
    }
    given = {part: Value(own.name, own.dims) if part in "WR" or _any(own.blocks) else None for part, own in weights.items()}
    states = [found.state, *filter(None, [found.memory])]
    with on.belonging_to("lengths"):
        lengths = on.made("Cast", face.lengths, dims=(B,), kind=COUNT, to=COUNT) if face.lengths else None
    with on.belonging_to("initial"):
        start = [on.unsqueezed(face.start[state], -3) for state in states]
    y = Value(face.names.fresh("every_step"), (T, 1, B, n))
    final = {state: Value(face.names.fresh(f"{state}_last"), (1, B, n)) for state in states}
    operands = [face.given[found.input], given["W"], given["R"], given["B"], lengths, *start]
    operands += [given["P"]] if found.memory and given["P"] else []
    with on.belonging_to(name, face.told()):
        on.emit(found.operator, operands, [y, *final.values()], hidden_size=n, **found.attributes)
    with on.belonging_to(face.output):
        y = on.squeezed(y, -3)
    with on.belonging_to("final"):
        last = {state: _kept(face, state, on.squeezed(value, -3)) for state, value in final.items()}
    return face.finished(y, {state: last[state] for state in face.cell.states}, weights.values())


def _kept(face: Interface, state: str, value: Value) -> Value:
    """Return a state after the last step; that of a sequence without steps, which the operators make zero, is what it was."""
    if face.lengths is None:
        return value
    some = face.on.on_elements("Greater", face.lengths, face.on.integer(0), kind=TRUTH)
    return face.on.on_elements("Where", face.on.unsqueezed(some, -1), value, face.start[state])


def _any(blocks: tuple[Block, ...]) -> bool:
    return any(block.pieces for block in blocks)
