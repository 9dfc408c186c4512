"""A cell's generated module: interface, host functions and kernels, as one text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from ..cell import Cell
from ..expressions import walk
from ..ir import Equation
from ..naming import Names
from ..pipeline import Compiled
from ..program import Program
from ..shapes import shape_of
from ..sizes import Shape
from ..syntax import Call, Name
from .cpu import Code
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
            code.host[f"{value}_states" if state else value] = f"saved.{field}"
        for carry in code.rec.carries:
            code.variable(code.program.places[carry.previous].array)

    # Text

    def text(self, source: str, digest: str) -> str:
        parts = [
            self.header(source, digest),
            self.records(),
            self.table(),
            self.makers(),
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

    def records(self) -> str:
        cell, shapes = self.cell, self.cell.shapes
        inputs = [(n, _shape("T", "B", shape=shapes[n])) for n in cell.inputs] + [(n, _shape("B", shape=shapes[n])) for n in cell.context]
        over = [(field, _shape("T + 1" if state else "T", "B", shape=self.value_shape(value))) for field, _, value, state in self.saved]
        gradient = "gradients by {0}; None for indices" if cell.integers else "gradients by {0}"
        grads = [(n, f"np.ndarray{' | None' if n in cell.integers else ''}", s) for n, s in inputs]
        return "\n\n\n".join(
            [
                _record(
                    "Params",
                    "Parameters, by the names of the equations.",
                    [(n, "np.ndarray", _shape(shape=shapes[n])) for n in cell.parameters],
                ),
                _record("State", "States, one row a sequence.", [(n, "np.ndarray", _shape("B", shape=shapes[n])) for n in cell.states]),
                _record("Inputs", "What was given to a forward pass.", [(n, "np.ndarray", s) for n, s in inputs]),
                _record("Saved", "What a forward pass keeps for the backward pass.", [(n, "np.ndarray", s) for n, s in over]),
                _record(
                    "Tape",
                    "A forward pass, ready for `backward`: references to what was given, and new arrays in `saved`.",
                    [
                        ("inputs", "Inputs", ""),
                        ("params", "Params", ""),
                        ("state", "State", ""),
                        ("saved", "Saved", ""),
                        ("steps", "int", ""),
                    ],
                ),
                _record(
                    "Grads",
                    gradient.format("inputs, parameters and initial state").capitalize() + ".",
                    [*grads, ("params", "Params", "None for what is fixed" if cell.fixed else ""), ("state", "State", "")],
                ),
            ]
        )

    def value_shape(self, value: str) -> Shape:
        return self.compiled.derivation.forward.types[value].shape

    def table(self) -> str:
        cell, shapes = self.cell, self.cell.shapes

        def mapping(items: list[str]) -> str:
            return f"\n{INDENT}".join(wrapped("{", items, "}"))

        def table(names: Any) -> str:
            return mapping([f'"{n}": {_sizes(shapes[n])}' for n in names])

        saved = mapping([f'"{f}": ({_sizes(self.value_shape(v))}, {int(s)})' for f, _, v, s in self.saved])
        indices: dict[str, set[str]] = {}
        for line in cell.equations:
            for call in walk(line.value):
                if isinstance(call, Call) and call.function == "pick" and isinstance(call.args[1], Name):
                    indices.setdefault(call.args[1].id, set()).add(str(shape_of(call.args[0], shapes)[0]))
        entries = [
            f'name="{cell.name}"',
            f"sizes={_tuple(repr_(s) for s in cell.sizes)}",
            f"inputs={table(cell.inputs)}",
            f"context={table(cell.context)}",
            f"params={table(cell.parameters)}",
            f"state={table(cell.states)}",
            f"output={_sizes(shapes[cell.output])}",
            f"saved={saved}",
        ]
        if indices:
            below = [f'"{k}": {_tuple(repr_(size) for size in sorted(v))}' for k, v in sorted(indices.items())]
            entries.append("indices={" + ", ".join(below) + "}")
        if cell.equal_sizes:
            entries.append("equal=" + _tuple(_tuple(repr_(s) for s in pair) for pair in cell.equal_sizes))
        if cell.init:
            entries.append("rules={" + ", ".join(f'"{k}": {v!r}' for k, v in sorted(dict(cell.init).items())).replace("'", '"') + "}")
        constants = [f"{name.upper()}_CONSTANT = np.array({np.asarray(v).tolist()!r})" for name, v in sorted(cell.array_constants.items())]
        aliases = [f"{alias} = {name}" for name, alias in self.own.items() if alias != name]
        return "\n".join([*constants, "LAYER = Layer(", *(INDENT + e + "," for e in entries), ")", *aliases])

    @property
    def own(self) -> dict[str, str]:
        """Return how functions that take the inputs call what the module defines: an input of the same name hides it."""
        arguments = {*self.cell.inputs, *self.cell.context}
        return {name: f"_{name}" if name in arguments else name for name in ("LAYER", "Params", "State", "Inputs", "Tape")}

    def makers(self) -> str:
        cell = self.cell
        named = [*cell.sizes, *(s for pair in cell.equal_sizes for s in pair if s not in cell.sizes)]
        named.sort(key=lambda s: (s != "d", s != "n", s))
        given = "{" + ", ".join(f'"{s}": {s}' for s in named) + "}"
        state_sizes = [s for s in cell.sizes if any(s in size.names for state in cell.states for size in cell.shapes[state])]
        state_given = "{" + ", ".join(f'"{s}": {s}' for s in state_sizes) + "}"
        init_args = ", ".join([*named, "seed=0", "dtype=np.float32"])
        zero_args = ", ".join(["batch", *state_sizes, "dtype=np.float32"])
        steps, batch = ("T", "B") if not {"T", "B"} & set(named) else ("steps", "batch")
        spec_args = ", ".join([steps, batch, *named])
        return f'''def init({init_args}) -> Params:
    """Return initial parameters: by each one's rule, else uniform in ±1/√k with k the size of the last axis."""
    return LAYER.init({given}, seed, dtype, Params)


def zero_state({zero_args}) -> State:
    """Return states of zero for a batch."""
    return LAYER.zero_state(batch, {state_given}, dtype, State)


def spec({spec_args}) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shape of every array of a call with T steps and B sequences."""
    return LAYER.spec({steps}, {batch}, {given})'''

    def signature(self, first: str) -> tuple[str, str]:
        """Return the arguments of a forward function and the source of its inputs as a mapping."""
        cell = self.cell
        names = [*cell.inputs, *cell.context]
        keywords = names[1:] if cell.inputs else names
        head = cell.inputs[0] if cell.inputs else Names(keywords).fresh("x")
        star = "".join(f", {k}" for k in keywords)
        mapping = ", ".join(f'"{n}": {n}' for n in names)
        return f"{head}, params, state=None, *{star}{first}", "{" + mapping + "}"

    def forward_functions(self) -> str:
        cell = self.cell
        steps = "" if cell.inputs else ", steps"
        given = "None" if cell.inputs else "steps"
        options = f"{steps}, lengths=None, reverse=False"
        args, inputs = self.signature(options)
        args_tape, _ = self.signature(options + ', tape="full"')
        args_step = self.signature(", out=None")[0]
        names = [*cell.inputs, *cell.context]
        step_inputs = "{" + ", ".join(f'"{n}": {n}[None]' if n in cell.inputs else f'"{n}": {n}' for n in names) + "}"
        what, own = self.describe_arguments(), self.own
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

    def describe_arguments(self) -> str:
        cell, shapes = self.cell, self.cell.shapes
        lines = ["", "    Parameters", "    ----------"]
        for name in cell.inputs:
            kind = "integers" if name in cell.integers else "float32 or float64"
            lines.append(f"    {name} : array {_shape('T', 'B', shape=shapes[name])}, {kind}")
        if not cell.inputs:
            lines.append("    x : None")
        lines.append("    params : Params")
        lines.append("    state : State, optional; zero by default")
        lines += [f"    {name} : array {_shape('B', shape=shapes[name])}, constant in time" for name in cell.context]
        lines += ["    steps : int"] if not cell.inputs else []
        lines += ["", "    Returns", "    -------"]
        lines += [f"    y : array {_shape('T', 'B', shape=shapes[cell.output])}", "    final : State", "    tape : Tape"]
        return "\n".join(lines)

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
            width = "".join(f", {code.size(s)}" for s in self.value_shape(value))
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
        dy = _shape("T", "B", shape=self.cell.shapes[self.cell.output])
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


def _record(name: str, doc: str, fields: list[tuple[str, str, str]]) -> str:
    lines = [f"class {name}(NamedTuple):", f'{INDENT}"""{doc}"""']
    if fields:
        lines += ["", *(f"{INDENT}{n}: {kind}" + (f"  # {note}" if note else "") for n, kind, note in fields)]
    return "\n".join(lines)


def _mentions(code: str, name: str) -> bool:
    """Say whether `code` uses the variable `name`, comments aside."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    return re.search(rf"(?<![\w.\"]){re.escape(name)}\b(?!\")", "\n".join(lines)) is not None


def _prose(text: str) -> str:
    """Return an author's words as they may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', "'")


def repr_(text: str) -> str:
    return f'"{text}"'


def _tuple(items: Any) -> str:
    items = list(items)
    return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"


def _sizes(shape: Shape) -> str:
    return _tuple(f'"{s}"' for s in shape)


def _shape(*leading: str, shape: Shape) -> str:
    return _tuple([*leading, *(str(s) for s in shape)]) if leading or shape else "a scalar"


def _wrapped_imports(lines: list[str]) -> list[str]:
    out = []
    for line in lines:
        if len(line) <= WIDTH:
            out.append(line)
        else:
            head, names = line.split(" import ")
            out += [f"{head} import (", *(f"{INDENT}{n.strip()}," for n in names.split(",")), ")"]
    return out
