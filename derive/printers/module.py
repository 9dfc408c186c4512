"""A cell's generated module: interface, host functions and kernels, as one text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from ..cell import Cell
from ..ir import Equation
from ..naming import Names
from ..pipeline import Compiled
from ..program import Program
from .cpu import Code
from .interface import Interface, shape_text
from .layout import HOST, INDENT, RUNTIME, WIDTH, wrapped
from .text import formula, forward_lines, tagged_formulas


def module(cell: Cell, compiled: Compiled, source: str, digest: str) -> str:
    """Return the text of the module generated for `cell`.

    Parameters
    ----------
    cell : Cell
    compiled : Compiled
    source : str
        Where the definition stands, for the header.
    digest : str
        Hash of everything that the module was made from.
    """
    return _Module(cell, compiled).text(source, digest)


class _Module:
    def __init__(self, cell: Cell, compiled: Compiled) -> None:
        self.cell, self.compiled = cell, compiled
        self.saved = self.saved_fields()
        self.interface = Interface(cell, compiled, self.saved)
        comment = self.comments()
        self.forward = self.code(compiled.forward, "forward", comment, self.forward_host)
        self.backward = self.code(compiled.backward, "backward", comment, self.backward_host)

    def comments(self) -> Callable[[Equation], str]:
        """Return what says which formula an equation is: as on the cell's page, whatever the passes have made of it."""
        lines = tagged_formulas(self.cell)

        def comment(eq: Equation) -> str:
            return lines[eq.tag] if eq.shown and eq.tag in lines else formula(eq, self.compiled.derivation)

        return comment

    def saved_fields(self) -> list[tuple[str, str, str, bool]]:
        """Return (field of `Saved`, array of the forward program, value, is a state's) for what the tape keeps."""
        names = Names()
        return [(names.fresh(value), array, value, state) for array, value, state in self.compiled.saved]

    # Host variables that are given

    def code(self, program: Program, prefix: str, comment: Callable[[Equation], str], given: Callable[[Code], None]) -> Code:
        code = Code(program, f"_{prefix}", comment, {}, Names([*HOST, *RUNTIME]))
        for name in self.cell.sizes:
            code.host[f"size:{name}"] = code.names.fresh(name)
        for name in (*self.cell.parameters, *self.cell.array_constants):
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
        code.host[derivation.cotangent[self.cell.output]] = "dy"
        for field, _, value, state in self.saved:
            code.host[self.compiled.states[value] if state else value] = f"saved.{field}"
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
        reduce = sorted((self.forward.runtime | self.backward.runtime) & {"feature_sum", "log_sum_exp"})
        reduce += ["square"] * ("square" in self.forward.functions | self.backward.functions)
        layer = sorted({"Layer", "carried_rows", "last_rows", "state_rows"})
        layer += ["as_rows"] if self.saved else []
        layer = [name for name in layer if self.cell.states or name not in ("carried_rows", "last_rows", "state_rows")]
        products = sorted((self.forward.runtime | self.backward.runtime) & {"multiply", "pack"})
        whole = sorted((self.forward.runtime | self.backward.runtime) & {"multiply_rows", "outer_sums", "column_sums"})
        whole = sorted([*whole, "run_rows"]) if self.forward.kernels or self.backward.kernels else whole
        body = "\n".join(self.forward_text() + self.backward_text())
        imports = [
            "import numpy as np",
            "",
            "from .runtime import static" if "static." in body else "",
            "from .runtime.kernel import kernel" if self.forward.kernels or self.backward.kernels else "",
            f"from .runtime.layer import {', '.join(sorted(layer))}",
            f"from .runtime.product import {', '.join(products)}" if products else "",
            f"from .runtime.reduce import {', '.join(sorted(reduce))}" if reduce else "",
            f"from .runtime.rows import {', '.join(whole)}" if whole else "",
            f"from .runtime.vector import {', '.join(functions)}" if functions else "",
        ]
        lines = [
            f"# Generated by `derive generate` from {source}. Do not edit.",
            f"# Made from {digest}",
            *textwrap.wrap(f'"""{_prose(cell.title or cell.name)}.', WIDTH),
            *(["", *textwrap.wrap(_prose(cell.description), WIDTH)] if cell.description else []),
            *(["", *textwrap.wrap(_prose(f"Reference: {cell.reference}"), WIDTH)] if cell.reference else []),
            "",
            *(f"{INDENT}({tag})  {line}" for tag, line in forward_lines(cell).items()),
            '"""',
            "",
            "from __future__ import annotations",
            "",
            "from typing import NamedTuple",
            "",
            *_wrapped_imports([line for k, line in enumerate(imports) if line or k == 1]),
        ]
        return "\n".join(lines)

    def forward_functions(self) -> str:
        cell = self.cell
        steps = "" if cell.inputs else ", steps"
        given = "None" if cell.inputs else "steps"
        options = f"{steps}, lengths=None, reverse=False"
        args, inputs = self.interface.signature(options)
        args_tape, _ = self.interface.signature(options + ', tape="full"')
        args_step = self.interface.signature(", out=None")[0]
        names = [*cell.inputs, *cell.context]
        step_inputs = "{" + ", ".join(f'"{n}": {n}[None]' if n in cell.inputs else f'"{n}": {n}' for n in names) + "}"
        what, own = self.interface.describe_arguments(), self.interface.own
        return f'''def forward({args_tape}) -> tuple[np.ndarray, State, Tape]:
    """Run the cell over a sequence; return the output at every step, the final state, and a tape for `backward`.
{what}
    """
    {own["LAYER"]}.options(lengths=lengths, reverse=reverse, tape=tape)
    given, call = (
        {own["Inputs"]}({", ".join(names)}),
        {own["LAYER"]}.call({inputs}, params, state, ({own["Params"]}, {own["State"]}), {given}, keep=True),
    )
    y, final, saved = _forward(call)
    return y, final, {own["Tape"]}(given, params, call.state, saved, call.steps)


def infer({args}) -> tuple[np.ndarray, State]:
    """Run the cell over a sequence and keep nothing for a backward pass; arguments as for `forward`."""
    {own["LAYER"]}.options(lengths=lengths, reverse=reverse)
    y, final, _ = _forward({own["LAYER"]}.call({inputs}, params, state, ({own["Params"]}, {own["State"]}), {given}, keep=False))
    return y, final


def step({args_step}) -> tuple[np.ndarray, State]:
    """Run one step; inputs `(B, ·)`, without the axis of time.  The output is written to `out` if that is given."""
    {own["LAYER"]}.one_step({inputs})
    y, final, _ = _forward(
        {own["LAYER"]}.call({step_inputs}, params, state, ({own["Params"]}, {own["State"]}), {"None" if cell.inputs else "1"}, keep=False)
    )
    return {own["LAYER"]}.written(y[0], out), final


def _forward(call) -> tuple[np.ndarray, State, Saved]:
    """The forward pass of a checked call."""
{self.body(self.forward_text())}'''

    def body(self, lines: list[str]) -> str:
        return "\n".join(INDENT + line for line in lines)

    def sizes_line(self, code: Code, used: str) -> list[str]:
        names = [s for s in self.cell.sizes if _mentions(used, code.host[f"size:{s}"])]
        if not names:
            return []
        return [", ".join(code.host[f"size:{s}"] for s in names) + " = " + ", ".join(f'call.sizes["{s}"]' for s in names)]

    def given_lines(self, code: Code, used: str) -> list[str]:
        names = [n for n in (*self.cell.inputs, *self.cell.context) if _mentions(used, code.host[n])]
        return [f'{code.host[n]} = call.inputs["{n}"]' for n in names]

    def forward_text(self) -> list[str]:
        cell, code = self.cell, self.forward
        shape = "".join(f", {code.size(s)}" for s in cell.shapes[cell.output])
        tail: list[str] = []
        finals, states = [], []
        for carry, state in zip(code.rec.carries, cell.states, strict=True):
            array = code.program.places[carry.previous].array
            tape = code.program.arrays[array].space == "tape"
            states.append(f"{code.host[array]} = state_rows(call.state.{state}, call.rows, call.batch, tape={tape})")
            finals.append(f"last_rows({code.host[array]}, call.rows.{'tape' if tape else 'ring'}[-1], call.state.{state})")
        fields = []
        for _, array, value, is_state in self.saved:
            steps = "call.steps + 1" if is_state else "call.steps"
            width = "".join(f", {code.size(s)}" for s in self.interface.value_shape(value))
            fields.append(f"{code.host[array]}.reshape({steps}, call.batch{width})")
        tail.append(f"y = {code.host[self.compiled.output]}.reshape(call.steps, call.batch{shape})")
        tail.append(f"final = State({', '.join(finals)})")
        tail += ["if not call.keep:", INDENT + "return y, final, None"]
        tail += wrapped("saved = Saved(", fields, ")")
        tail.append("return y, final, saved")
        used = "\n".join([*code.statements, *tail, *states])
        head = ["params = call.params"] if "params." in used else []
        head += [*self.sizes_line(code, used), *self.given_lines(code, used)]
        head += ["count = call.steps * call.batch"] if _mentions(used, "count") else []
        return [*head, *states, *code.statements, *tail]

    def backward_text(self) -> list[str]:
        cell, code, derivation = self.cell, self.backward, self.compiled.derivation
        states, initial = [], []
        for carry, state in zip(code.rec.carries, cell.states, strict=True):
            array = code.program.places[carry.previous].array
            states.append(f"{code.host[array]} = carried_rows(dfinal.{state}, call.rows)")
            initial.append(f"last_rows({code.host[array]}, 0, call.state.{state})")
        grads = []
        for name in (*cell.inputs, *cell.context):
            grads.append("None" if name in cell.integers else self.input_gradient(name))
        params = ["None" if n in cell.fixed else code.host[derivation.cotangent[n]] for n in cell.parameters]
        result = wrapped("params = Params(", params, ")") + wrapped("initial = State(", initial, ")")
        result.append(f"return Grads({', '.join([*grads, 'params', 'initial'])})")
        used = "\n".join([*code.statements, *states, *result])
        head = ["saved = Saved(*(as_rows(value) for value in tape.saved))"] if "saved." in used else []
        head += ["params = call.params"] if "params." in used else []
        head += [*self.sizes_line(code, used), *self.given_lines(code, used)]
        head += ["count = call.steps * call.batch"] if _mentions(used, "count") else []
        return [*head, *states, *code.statements, *result]

    def input_gradient(self, name: str) -> str:
        code, derivation = self.backward, self.compiled.derivation
        cotangent = derivation.cotangent[name]
        shape = "".join(f", {code.size(s)}" for s in self.cell.shapes[name])
        if name in self.cell.context:
            return code.host[cotangent]
        return f"{code.host[cotangent]}.reshape(call.steps, call.batch{shape})"

    def backward_function(self) -> str:
        dy = shape_text("T", "B", shape=self.cell.shapes[self.cell.output])
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
    call, dy, dfinal = LAYER.cotangents(dy, dfinal, tape, (Tape, Params, State))
{self.body(self.backward_text())}'''

    def kernel(self, lines: list[str]) -> str:
        return "\n".join(["@kernel", *lines])


def _mentions(code: str, name: str) -> bool:
    """Say whether `code` uses the variable `name`, comments aside."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    return re.search(rf"(?<![\w.\"]){re.escape(name)}\b(?!\")", "\n".join(lines)) is not None


def _prose(text: str) -> str:
    """Return an author's words as they may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', "'")


def _wrapped_imports(lines: list[str]) -> list[str]:
    out = []
    for line in lines:
        if len(line) <= WIDTH:
            out.append(line)
        else:
            head, names = line.split(" import ")
            out += [f"{head} import (", *(f"{INDENT}{n.strip()}," for n in names.split(",")), ")"]
    return out
