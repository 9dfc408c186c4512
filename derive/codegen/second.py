"""What a module has of second order: records, tables of what its passes are given and hand out, and the functions of its interface."""

from __future__ import annotations

from collections.abc import Iterable

from ..calculus.chain import BACKWARD, FORWARD
from ..calculus.laws import is_linear
from ..calculus.naming import Names
from ..calculus.second import ALONG, BY_INPUTS, HESSIAN, KEPT, TANGENT, THROUGH, TWICE, by_parameters, role
from ..language.definition import Definition
from ..language.sizes import axes_text
from ..program.pipeline import Compiled, Stored
from .interface import Interface, record, sizes_text
from .layout import INDENT, tuple_source, wrapped
from .signature import given, tape_record

STEPS, BATCH, STATIC = "steps", "batch", "static"  # what is given at every step, once a sequence, or once
PASSES = {
    TWICE: "The adjoint of the backward pass",
    BY_INPUTS: "The same, where no gradient with respect to a parameter has a cotangent",
    THROUGH: "The adjoint of the forward pass by what it keeps",
    TANGENT: "Tangents of output and final states",
    ALONG: "Tangents of all that the forward pass keeps",
    HESSIAN: "Tangents of the gradients",
}
TANGENTS = ("tangent", "hvp", "step_tangent")
FUNCTIONS = ("backward_backward", *TANGENTS)


def links(compiled: Compiled) -> list[Stored]:
    """Return the links beyond forward and backward pass; none for a module of first order."""
    return [link for link in compiled if link.name not in (FORWARD, BACKWARD)]


def records(cell: Definition, compiled: Compiled) -> list[str]:
    """Return the records of second order; none for a module of first order."""
    if not links(compiled):
        return []
    shapes, kept = cell.axes, compiled[BACKWARD].keeps
    inputs = [(n, axes_text("T", "B", shape=shapes[n])) for n in cell.inputs] + [(n, axes_text("B", shape=shapes[n])) for n in cell.context]
    over = compiled.derivation[BACKWARD].recurrence
    saved = [(f.name, "np.ndarray", axes_text("T + 1" if f.state else "T", "B", shape=over.axes(f.value))) for f in kept]
    tape = [("tape", "Tape", ""), ("dy", "np.ndarray", axes_text("T", "B", shape=shapes[cell.output]))]
    second = [("dy", "np.ndarray", axes_text("T", "B", shape=shapes[cell.output])), ("dfinal", "State", "")]
    second += [(n, f"np.ndarray{' | None' if n in cell.without_gradient else ''}", axes) for n, axes in inputs]
    second += [("params", "Params", "None for what is fixed" if cell.fixed else ""), ("state", "State", "")]
    return [
        record(tape_record(BACKWARD), "What a backward pass keeps for `backward_backward` and `hvp`.", saved),
        record("Tape2", "A backward pass, ready for `backward_backward`.", [*tape, ("saved", tape_record(BACKWARD), "")]),
        record("Second", "Gradients with respect to cotangents, inputs, parameters and initial state.", second),
    ]


def entries(cell: Definition, compiled: Compiled) -> list[str]:
    """Return the entry of the module's table for passes of second order, where there are any."""
    if not links(compiled):
        return []
    made = [f'"{link.name}": {_link(cell, compiled, link)}' for link in compiled if link.name != FORWARD]
    return [f"\n{INDENT}".join(wrapped("links={", made, "}"))]


def _link(cell: Definition, compiled: Compiled, link: Stored) -> str:
    """Return the table of a pass: what it reads, what it is given and hands out, by role, and what it keeps."""
    rec = link.program.rec
    reads = tuple_source(f'"{of}"' for of in dict.fromkeys(of for of, _ in link.reads.values()))
    own = link.name != BACKWARD
    taken = [*given(cell, link), *(carry.previous for carry in rec.carries)] if own else []
    handed = [*link.link.handed, *(carry.value for carry in rec.carries)] if own else []
    saved = [f'"{f.name}": ({sizes_text(rec.axes(f.value))}, {_extra(link, f.value, f.state)})' for f in link.keeps]
    return f"Link({reads}, {_table(compiled, link, taken)}, {_table(compiled, link, handed)}, {{{', '.join(saved)}}})"


def _extra(link: Stored, value: str, state: bool) -> int | None:
    """Return how many rows there are before the first step; None, if there are none at all."""
    return int(state) if link.program.rec.types[value].batched else None


def _table(compiled: Compiled, link: Stored, values: Iterable[str]) -> str:
    rec = link.program.rec
    roles = {value: role(compiled.derivation, link.link, value) for value in values}
    return "{" + ", ".join(f'"{roles[v]}": ("{_kind(link, v)}", {sizes_text(rec.axes(v))})' for v in roles) + "}"


def _kind(link: Stored, value: str) -> str:
    rec = link.program.rec
    if not rec.types[value].batched:
        return STATIC
    once = {*rec.contexts, *(c.previous for c in rec.carries), *(c.value for c in rec.carries)}
    summed = {eq.name for eq in (*rec.accumulators, *rec.epilogue)}
    return BATCH if value in once | summed and value not in link.outputs else STEPS


def functions(cell: Definition, interface: Interface, *, device: bool = False) -> list[str]:
    """Return the functions of second order; those of a `device` take a stream. In a module without its passes they say how to get them."""
    if not links(interface.compiled):
        return [f"{', '.join(FUNCTIONS)} = {interface.own['LAYER']}.without_second_order()"]
    layer, dy = interface.own["LAYER"], axes_text("T", "B", shape=cell.axes[cell.output])
    lean = BY_INPUTS if by_parameters(interface.compiled.derivation) else TWICE
    keyword, passed = (", stream=None", ", stream=stream") if device else ("", "")
    array = "Any" if device else "np.ndarray"
    if not is_linear(cell):
        return [_twice(layer, lean, keyword, passed), f"{', '.join(TANGENTS)} = {layer}.without_tangents()"]
    return [
        _twice(layer, lean, keyword, passed),
        _tangent(layer, array, keyword and f", *{keyword}", passed),
        _hvp(cell, layer, dy, keyword, passed),
        _step(cell, interface, array, device=device),
    ]


def _twice(layer: str, lean: str, keyword: str, passed: str) -> str:
    return f'''def backward_backward(u, tape2, *, only=None{keyword}) -> Second:
    """Gradients of Σ ⟨u, gradients⟩: the backward pass of `backward`.

    Parameters
    ----------
    u : Grads
        Cotangents of what `backward` returned; any field, and any of its `params` and `state`, may be None for zero.
    tape2 : Tape2
        From ``backward(…, second=True)``; not altered.
    only : sequence of str, optional
        Names of the gradients to make, fields of the result; the others are None, and that by the output's cotangent is not written.
    """
    return {layer}.backward_backward(_{TWICE}, _{lean}, _through, u, tape2, only{passed})'''


def _tangent(layer: str, array: str, keyword: str, passed: str) -> str:
    return f'''def tangent(v, tape{keyword}) -> tuple[{array}, State]:
    """Derivatives of output and final state along `v`.

    Parameters
    ----------
    v : Grads
        Tangents of inputs, parameters and initial state; any field, and any of its `params` and `state`, may be None for zero.
    tape : Tape
        From `forward`; not altered.
    """
    return {layer}.tangent(_forward, _tangent, v, tape{passed})'''


def _hvp(cell: Definition, layer: str, dy: str, keyword: str, passed: str) -> str:
    return f'''def hvp(v, tape, dy, dfinal=None, *, curvature=None{keyword}) -> tuple[Grads, Grads]:
    """The gradients that `backward` returns, and their derivatives along `v`: the Hessian times v.

    Parameters
    ----------
    v : Grads
        Tangents, as for `tangent`.
    tape : Tape
        From `forward`; not altered.
    dy : array {dy}, or None for zero
        Cotangent of the output.
    dfinal : State, optional
        Cotangents of the final states; zero by default.
    curvature : callable, optional
        Given the derivative of the output along `v`, that of `dy`; by default it is zero: the loss is linear in the output.
    """
    return {layer}.hvp(_forward, _backward, _along, _hessian, "{KEPT}.{cell.output}", v, tape, dy, dfinal, curvature{passed})'''


def _step(cell: Definition, interface: Interface, array: str, *, device: bool) -> str:
    names = [*cell.inputs, *cell.context]
    keywords = names[1:] if cell.inputs else names
    head, own = cell.inputs[0] if cell.inputs else Names(keywords).fresh("x"), interface.own
    v = Names(names).fresh("v")
    options, passed = (["tf32=False", "stream=None"], ", tf32=tf32, stream=stream") if device else ([], "")
    star = "".join(f", {word}" for word in ("*", *keywords, *options)) if keywords or options else ""
    return f'''def step_tangent({head}, params, state, {v}{star}) -> tuple[{array}, State, {array}, State]:
    """Run one step; return output, state, and the derivatives of both along `{v}`.

    Parameters are as for `step`, and `{v}` a Grads with tangents of the step's inputs `(B, ·)`, of parameters and of the state before it.
    """
    return {own["LAYER"]}.step_tangent(_forward, _tangent, {own["Inputs"]}({", ".join(names)}), params, state, {v}{passed})'''
