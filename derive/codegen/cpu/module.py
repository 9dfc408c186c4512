"""A cell's generated module: interface, host functions and kernels, as one text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from functools import cached_property

from ...calculus.derivation import BACKWARD, FORWARD
from ...calculus.ir import Equation
from ...calculus.naming import Names
from ...language.definition import Definition
from ...notation.text import formula, forward_lines, tagged_formulas
from ...program.imperative import Program
from ...program.pipeline import Compiled
from ..interface import PACK, Interface, shape_text
from ..layout import HOST, INDENT, RUNTIME, WIDTH, wrapped
from .host import Code


def module(cell: Definition, compiled: Compiled, source: str, digest: str) -> str:
    """Return the text of the module generated for `cell`.

    Parameters
    ----------
    cell : Definition
    compiled : Compiled
    source : str
        Where the definition stands, for the header.
    digest : str
        Hash of everything that the module was made from.
    """
    return _Module(cell, compiled).text(source, digest)


class _Module:
    def __init__(self, cell: Definition, compiled: Compiled) -> None:
        self.cell, self.compiled = cell, compiled
        self.keeps = compiled[FORWARD].keeps
        self.output = compiled[FORWARD].outputs[cell.output]
        self.interface = Interface(cell, compiled)
        self.forward = self.code(compiled[FORWARD].program, "forward", comments(cell, compiled, FORWARD), self.forward_host)
        self.backward = self.code(compiled[BACKWARD].program, "backward", comments(cell, compiled, BACKWARD), self.backward_host)

    # Host variables that are given

    def code(self, program: Program, prefix: str, comment: Callable[[Equation], str], given: Callable[[Code], None]) -> Code:
        code = Code(program, f"_{prefix}", comment, {}, Names([*HOST, *RUNTIME]))
        for name in self.cell.sizes:
            code.host[f"size:{name}"] = code.names.fresh(name)
        for name in (*self.cell.parameters, *self.cell.constant_arrays):
            code.host[name] = f"params.{name}" if name in self.cell.parameters else f"np.asarray({name.upper()}_CONSTANT, call.dtype)"
        for name in (*self.cell.inputs, *self.cell.context):
            code.host[name] = code.names.fresh(name)
        given(code)
        code.run()
        return code

    def forward_host(self, code: Code) -> None:
        for carry in code.rec.carries:
            code.variable(code.program.places[carry.previous].array)

    def backward_host(self, code: Code) -> None:
        derivation = self.compiled.derivation
        code.host[derivation[BACKWARD].cotangent[self.cell.output]] = "dy"
        for array, (_, field) in self.compiled[BACKWARD].reads.items():
            code.host[array] = f"saved.{field}"
        for carry in code.rec.carries:
            code.variable(code.program.places[carry.previous].array)

    # Text

    def text(self, source: str, digest: str) -> str:
        parts = [
            self.header(source, digest),
            self.interface.records(),
            self.interface.table(),
            self.interface.makers(),
            self.forward_functions(),
            self.backward_function(),
            *(self.kernel(k.lines) for k in (*self.forward.kernels, *self.backward.kernels)),
        ]
        return "\n\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def header(self, source: str, digest: str) -> str:
        cell = self.cell
        functions = sorted((self.forward.functions | self.backward.functions) - {"square"})
        reduce = sorted((self.forward.runtime | self.backward.runtime) & {"added", "feature_sum", "log_sum_exp"})
        reduce += ["square"] * ("square" in self.forward.functions | self.backward.functions)
        products = sorted((self.forward.runtime | self.backward.runtime) & {"multiply", "panels"})
        whole = sorted((self.forward.runtime | self.backward.runtime) & {"multiply_rows", "sums"})
        whole = sorted([*whole, "run_rows"]) if self.forward.kernels or self.backward.kernels else whole
        body = "\n".join(self.weights_text() + self.forward_text() + self.backward_text())
        memory = [name for name in ("empty", "stacked") if f"{name}(" in body]
        imports = [
            "from .runtime.common import static" if "static." in body else "",
            "from .runtime.cpu.addresses import carried_rows, first_rows, last_rows, state_rows" if self.cell.states else "",
            f"from .runtime.cpu.bulk import {', '.join(whole)}" if whole else "",
            "from .runtime.cpu.kernel import kernel" if self.forward.kernels or self.backward.kernels else "",
            "from .runtime.cpu.layer import Layer, Marks, Packed",
            f"from .runtime.cpu.memory import {', '.join(memory)}" if memory else "",
            f"from .runtime.cpu.product import {', '.join(products)}" if products else "",
            f"from .runtime.cpu.reduce import {', '.join(sorted(reduce))}" if reduce else "",
            f"from .runtime.cpu.vector import {', '.join(functions)}" if functions else "",
        ]
        lines = [
            f"# Generated by `derive generate` from {source}. Do not edit.",
            f"# Made from {digest}",
            *textwrap.wrap(f'"""{prose(cell.title or cell.name)}.', WIDTH),
            *(["", *textwrap.wrap(prose(cell.description), WIDTH)] if cell.description else []),
            *(["", *textwrap.wrap(prose(f"Reference: {cell.reference}"), WIDTH)] if cell.reference else []),
            "",
            *(f"{INDENT}({tag})  {line}" for tag, line in forward_lines(cell).items()),
            '"""',
            "",
            "from __future__ import annotations",
            "",
            "from typing import NamedTuple",
            "",
            "import numpy as np",
            "",
            *wrapped_imports([line for line in imports if line]),
        ]
        return "\n".join(lines)

    def forward_functions(self) -> str:
        cell = self.cell
        steps = "" if cell.inputs else ", steps"
        given = f"steps={'None' if cell.inputs else 'steps'}, lengths=lengths, reverse=reverse"
        args = self.interface.signature(f"{steps}, lengths=None, reverse=False")
        args_tape = self.interface.signature(f'{steps}, lengths=None, reverse=False, tape="full"')
        args_step = self.interface.signature(", out=None")
        what, own = self.interface.describe_arguments(), self.interface.own
        layer, inputs = own["LAYER"], f"{own['Inputs']}({', '.join((*cell.inputs, *cell.context))})"
        weights = (
            ""
            if not self.forward.weights
            else f'''


def _weights(call) -> tuple:
    """What the forward pass makes of the parameters before the first step."""
{self.body(self.weights_text())}'''
        )
        return f'''def pack(params) -> Packed:
    {PACK}
    return {layer}.pack({"_weights" if weights else "lambda call: ()"}, params)


def forward({args_tape}) -> tuple[np.ndarray, State, Tape]:
    """Run the cell over a sequence; return the output at every step, the final state, and a tape for `backward`.
{what}
    """
    return {layer}.forward(_forward, {inputs}, params, state, {given}, tape=tape)


def infer({args}) -> tuple[np.ndarray, State]:
    """Run the cell over a sequence and keep nothing for a backward pass; arguments as for `forward`."""
    return {layer}.infer(_forward, {inputs}, params, state, {given})


def step({args_step}) -> tuple[np.ndarray, State]:
    """Run one step; inputs `(B, ·)`, without the axis of time.

    The output is written to `out` if that is given; both output and state, if that is an array and a `State`.
    """
    return {layer}.step(_forward, {inputs}, params, state, out){weights}


def _forward(call) -> tuple[np.ndarray, State, Saved | None]:
    """The forward pass of a checked call: output, as rows, final state, and what a tape keeps."""
{self.body(self.forward_text())}'''

    @cached_property
    def weights(self) -> list[str]:
        """The host's variables that are made of parameters alone and read in the forward pass."""
        made = [match[1] for line in self.forward.weights if (match := re.match(r"(\w+) = ", line))]
        used = "\n".join(self.forward.statements)
        return [name for name in made if mentions(used, name)]

    def weights_text(self) -> list[str]:
        code = self.forward
        used = "\n".join(code.weights)
        head = ["params = call.params"] if "params." in used else []
        result = f"return ({', '.join(self.weights)}{',' if len(self.weights) == 1 else ''})"
        return [*head, *self.sizes_line(code, used), *code.weights, result]

    def body(self, lines: list[str]) -> str:
        return "\n".join(INDENT + line for line in lines)

    def sizes_line(self, code: Code, used: str) -> list[str]:
        names = [s for s in self.cell.sizes if mentions(used, code.host[f"size:{s}"])]
        if not names:
            return []
        return [", ".join(code.host[f"size:{s}"] for s in names) + " = " + ", ".join(f'call.sizes["{s}"]' for s in names)]

    def given_lines(self, code: Code, used: str) -> list[str]:
        names = [n for n in (*self.cell.inputs, *self.cell.context) if mentions(used, code.host[n])]
        return [f'{code.host[n]} = call.inputs["{n}"]' for n in names]

    def forward_text(self) -> list[str]:
        code = self.forward
        tail: list[str] = []
        finals, states = [], []
        for carry, state in zip(code.rec.carries, self.cell.states, strict=True):
            array = code.program.places[carry.previous].array
            tape = code.program.arrays[array].space == "tape"
            states.append(f"{code.host[array]} = state_rows(call.state.{state}, call.rows, tape={tape})")
            finals.append(f"last_rows({code.host[array]}, call.rows, call.state.{state}, tape={tape})")
        kept = [code.host[field.array] for field in self.keeps]
        tail.append(f"final = State({', '.join(finals)})")
        tail.append(f"return {code.host[self.output]}, final, Saved({', '.join(kept)}) if call.keep else None")
        weights = [f"{', '.join(self.weights)}{',' if len(self.weights) == 1 else ''} = call.weights or _weights(call)"]
        return [*self.head(code, [*code.statements, *tail, *states]), *(weights if self.weights else []), *states, *code.statements, *tail]

    def backward_text(self) -> list[str]:
        cell, code, derivation = self.cell, self.backward, self.compiled.derivation
        states, initial = [], []
        for carry, state in zip(code.rec.carries, cell.states, strict=True):
            array = code.program.places[carry.previous].array
            states.append(f"{code.host[array]} = carried_rows(dfinal.{state})")
            initial.append(f"first_rows({code.host[array]}, call.rows, call.state.{state})")
        names = (*cell.inputs, *cell.context)
        grads = ["None" if name in cell.integers else code.host[derivation[BACKWARD].cotangent[name]] for name in names]
        params = ["None" if n in cell.fixed else code.host[derivation[BACKWARD].cotangent[n]] for n in cell.parameters]
        result = wrapped("params = Params(", params, ")") + wrapped("initial = State(", initial, ")")
        result.append(f"return Grads({', '.join([*grads, 'params', 'initial'])})")
        return [*self.head(code, [*code.weights, *code.statements, *states, *result]), *code.weights, *states, *code.statements, *result]

    def head(self, code: Code, statements: list[str]) -> list[str]:
        """Return the statements that name what others use."""
        used = "\n".join(statements)
        head = ["params = call.params"] if "params." in used else []
        head += [*self.sizes_line(code, used), *self.given_lines(code, used)]
        return head + (["count = call.rows.count"] if mentions(used, "count") else [])

    def backward_function(self) -> str:
        dy = shape_text("T", "B", shape=self.cell.shapes[self.cell.output])
        layer = self.interface.own["LAYER"]
        return f'''def backward(dy, tape, dfinal=None) -> Grads:
    """Gradients of Σ_t ⟨dy_t, y_t⟩ + ⟨dfinal, final state⟩.

    Parameters
    ----------
    dy : array {dy}, or None for zero
        Cotangent of the output.
    tape : Tape
        From `forward`; not altered.
    dfinal : State, optional
        Cotangents of the final states; zero by default.
    """
    return {layer}.backward(_forward, _backward, dy, tape, dfinal)


def _backward(call, saved, dy, dfinal) -> Grads:
    """The backward pass of a checked call: gradients, as rows."""
{self.body(self.backward_text())}'''

    def kernel(self, lines: list[str]) -> str:
        return "\n".join(["@kernel", *lines])


def comments(cell: Definition, compiled: Compiled, link: str) -> Callable[[Equation], str]:
    """Return what says which formula an equation is: as on the cell's page, whatever the passes have made of it."""
    lines = tagged_formulas(cell)

    def comment(eq: Equation) -> str:
        return lines[eq.tag] if eq.shown and eq.tag in lines else formula(eq, compiled.derivation, link)

    return comment


def mentions(code: str, name: str) -> bool:
    """Say whether `code` uses the variable `name`, comments aside."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    return re.search(rf"(?<![\w.\"]){re.escape(name)}\b(?!\")", "\n".join(lines)) is not None


def prose(text: str) -> str:
    """Return an author's words as they may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', "'")


def wrapped_imports(lines: list[str]) -> list[str]:
    """Return import statements on as many lines as they take."""
    out = []
    for line in lines:
        if len(line) <= WIDTH:
            out.append(line)
        else:
            head, names = line.split(" import ")
            out += [f"{head} import (", *(f"{INDENT}{n.strip()}," for n in names.split(",")), ")"]
    return out
