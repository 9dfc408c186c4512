"""The interface of a cell's generated module: its records, its table of shapes, and the functions that make parameters and states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..calculus.chain import FORWARD
from ..calculus.naming import Names
from ..language.definition import Definition
from ..language.shapes import shape_of
from ..language.sizes import Shape, axes_text
from ..language.tree import Call, Name
from ..language.walks import walk
from ..program.pipeline import Compiled, Field
from .layout import INDENT, tuple_source, wrapped

PACK = '''"""Return a copy of parameters, laid out as the kernels read it: `infer` and `step` take it in place of `params`.

    It stays as it is, whatever becomes of the arrays in `params`. What copies or unpickles it packs its parameters again.
    """'''


ONLY = 'Names of the gradients to make, of inputs, contexts, "params" and "state"; the others are None, and cost nothing where they can.'

TAPES = "Keep what `backward` reads; a state every √T steps, and compute it again; or that if all is over 1 GiB (`runtime.tapes`)."

TAPE = (
    "A forward pass, ready for `backward`: references to what was given, and new arrays, or states to recompute from.",
    [
        *(("inputs", "Inputs", ""), ("params", "Params", ""), ("state", "State", ""), ("saved", "Saved | Marks", "")),
        *(("steps", "int", ""), ("lengths", "np.ndarray | None", ""), ("reverse", "bool", "")),
    ],
)


@dataclass(frozen=True)
class Interface:
    """What a module shows to its users.

    Attributes
    ----------
    cell : Definition
    compiled : Compiled
    """

    cell: Definition
    compiled: Compiled

    @property
    def keeps(self) -> tuple[Field, ...]:
        """What the tape keeps of the forward pass."""
        return self.compiled[FORWARD].keeps

    def records(self) -> str:
        """Return the module's records."""
        cell, shapes, array = self.cell, self.cell.axes, "np.ndarray"
        inputs = [(n, axes_text("T", "B", shape=shapes[n])) for n in cell.inputs]
        inputs += [(n, axes_text("B", shape=shapes[n])) for n in cell.context]
        over = [(f.name, axes_text("T + 1" if f.state else "T", "B", shape=self.value_shape(f.value))) for f in self.keeps]
        none = f"; None for {' and '.join(without(cell))}" if without(cell) else ""
        grads = [(n, f"{array}{' | None' if n in cell.without_gradient else ''}", s) for n, s in inputs]
        grads += [("params", "Params", "None for what is fixed" if cell.fixed else ""), ("state", "State", "")]
        params = [(n, array, axes_text(shape=shapes[n])) for n in cell.parameters]
        made = [
            record("Params", "Parameters, by the names of the equations.", params),
            record("State", "States, one row a sequence.", [(n, array, axes_text("B", shape=shapes[n])) for n in cell.states]),
            record("Inputs", "What was given to a forward pass.", [(n, array, s) for n, s in inputs]),
            record("Saved", "What a forward pass keeps for the backward pass.", [(n, array, s) for n, s in over]),
            record("Tape", *TAPE),
            record("Grads", f"Gradients with respect to inputs, parameters and initial state{none}.", grads),
        ]
        return "\n\n\n".join(made)

    def value_shape(self, value: str) -> Shape:
        return self.compiled.derivation[FORWARD].recurrence.axes(value)

    def table(self, more: Sequence[str] = (), kinds: Sequence[str] = ()) -> str:
        """Return the module's table of shapes; `more` are entries, and `kinds` names of records, of second order."""
        cell = self.cell
        records = ", ".join(f'"{name}": {name}' for name in ("Params", "State", "Saved", "Tape", "Grads", *kinds))
        entries = [*self.shapes_entries(), *self.rules_entries(), *more, f"records={{{records}}}"]
        constants = [f"{name.upper()}_CONSTANT = np.array({v.nested()!r})" for name, v in sorted(cell.constant_arrays.items())]
        aliases = [f"{alias} = {name}" for name, alias in self.own.items() if alias != name]
        return "\n".join([*constants, "LAYER = Layer(", *(INDENT + e + "," for e in entries), ")", *aliases])

    def shapes_entries(self) -> list[str]:
        """Return the table's entries that every cell has: names, sizes, shapes."""
        cell, shapes = self.cell, self.cell.axes

        def mapping(items: list[str]) -> str:
            return f"\n{INDENT}".join(wrapped("{", items, "}"))

        def table(names: Iterable[str]) -> str:
            return mapping([f'"{n}": {sizes_text(shapes[n])}' for n in names])

        saved = mapping([f'"{f.name}": ({sizes_text(self.value_shape(f.value))}, {int(f.state)})' for f in self.keeps])
        return [
            f'name="{cell.name}"',
            f"sizes={tuple_source(_quoted(s) for s in cell.sizes)}",
            f"inputs={table(cell.inputs)}",
            f"context={table(cell.context)}",
            f"params={table(cell.parameters)}",
            f"state={table(cell.states)}",
            f"output={sizes_text(shapes[cell.output])}",
            f"saved={saved}",
        ]

    def rules_entries(self) -> list[str]:
        """Return those that a cell has for indices, sizes that are equal, its tape, and initial values, where it has any."""
        cell, entries = self.cell, []
        if indices := self.indices():
            below = [f'"{k}": {tuple_source(_quoted(size) for size in sorted(v))}' for k, v in sorted(indices.items())]
            entries.append("indices={" + ", ".join(below) + "}")
        if cell.equal_sizes:
            entries.append("equal=" + tuple_source(tuple_source(_quoted(s) for s in pair) for pair in cell.equal_sizes))
        if self.tape != "full":
            entries.append(f'tape="{self.tape}"')
        if cell.init:
            rules = (f'"{k}": {_quoted(v) if isinstance(v, str) else repr(v)}' for k, v in sorted(dict(cell.init).items()))
            entries.append("rules={" + ", ".join(rules) + "}")
        return entries

    @property
    def tape(self) -> str:
        """How a forward pass keeps its tape unless it is told: a state that is a matrix makes a large one."""
        return "auto" if any(len(self.cell.shapes[state]) == 2 for state in self.cell.states) else "full"

    def indices(self) -> dict[str, set[str]]:
        """Return the sizes of the vectors that each integer input picks from."""
        found: dict[str, set[str]] = {}
        for line in self.cell.equations:
            for call in walk(line.value):
                if isinstance(call, Call) and call.function == "pick" and isinstance(call.args[1], Name):
                    found.setdefault(call.args[1].id, set()).add(str(shape_of(call.args[0], self.cell.shapes)[0]))
        return found

    @property
    def own(self) -> dict[str, str]:
        """Return how functions that take the inputs call what the module defines: an input of the same name hides it."""
        arguments = {*self.cell.inputs, *self.cell.context}
        return {name: f"_{name}" if name in arguments else name for name in ("LAYER", "Inputs")}

    def makers(self) -> str:
        """Return the functions that make parameters and states, and that of shapes."""
        return "\n\n\n".join([*self.arrays_makers("np.float32", ""), self.spec()])

    def device_makers(self) -> str:
        """Return the functions that make parameters and states on the device."""
        kinds = "float32, float64, bfloat16 or float16, by name or as a dtype"
        return "\n\n\n".join(self.arrays_makers('"float32"', f"\n\n    `dtype`: {kinds}.\n    "))

    def arrays_makers(self, dtype: str, told: str) -> list[str]:
        """Return the functions that make parameters and states, of `dtype` by default; `told` ends their docstrings."""
        cell, named = self.cell, init_sizes(self.cell)
        state_sizes = [s for s in cell.sizes if any(s in size.names for state in cell.states for size in cell.axes[state])]
        start = ", ".join(f"{name} = {cell.init[name]}" for name in cell.states if name in cell.init)
        started = f": zero, but {start}" if start else ": zero"
        return [
            f'''def init({", ".join([*named, "seed=0", f"dtype={dtype}"])}) -> Params:
    """Return initial parameters: by each one's rule, else uniform in ±1/√k with k the size of the last axis.{told}"""
    return LAYER.init({_by_name(named)}, seed, dtype)''',
            f'''def zero_state({", ".join(["batch", *state_sizes, f"dtype={dtype}"])}) -> State:
    """Return the states before the first step, for a batch{started}.{told}"""
    return LAYER.zero_state(batch, {_by_name(state_sizes)}, dtype)''',
        ]

    def spec(self) -> str:
        """Return the function of a call's shapes."""
        named = init_sizes(self.cell)
        steps, batch = ("T", "B") if not {"T", "B"} & set(named) else ("steps", "batch")
        return f'''def spec({", ".join([steps, batch, *named])}) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the shape of every array of a call with T steps and B sequences."""
    return LAYER.spec({steps}, {batch}, {_by_name(named)})'''

    def device_records(self) -> str:
        """Return the records and the table of the device's module."""
        fields = [(name, "Inputs" if name == "inputs" else name.capitalize(), "") for name in ("inputs", "params", "state", "saved")]
        tape = record(
            "Tape",
            "A forward pass, ready for `backward`: references to what was given, and new arrays.",
            [*fields, ("steps", "int", ""), ("tf32", "bool", "")],
        )
        aliases = [f"{alias} = {name}" for name, alias in self.own.items() if alias != name]
        return "\n".join([tape, "", "", "LAYER = Layer.on_device(CPU, Tape)", *aliases])

    def signature(self, first: str) -> str:
        """Return the arguments of a forward function."""
        cell = self.cell
        names = [*cell.inputs, *cell.context]
        keywords = names[1:] if cell.inputs else names
        head = cell.inputs[0] if cell.inputs else Names(keywords).fresh("x")
        star = "".join(f", {k}" for k in keywords)
        return f"{head}, params, state=None, *{star}{first}"

    def describe_arguments(self) -> str:
        cell, shapes = self.cell, self.cell.axes
        lines = ["", "    Parameters", "    ----------"]
        for name in cell.inputs:
            kind = "integers" if name in cell.integers else "float32 or float64"
            lines.append(f"    {name} : array {axes_text('T', 'B', shape=shapes[name])}, {kind}")
        if not cell.inputs:
            lines.append("    x : None")
        lines.append("    params : Params")
        lines.append("    state : State, optional; zero by default")
        lines += [f"    {name} : array {axes_text('B', shape=shapes[name])}, constant in time" for name in cell.context]
        lines += ["    steps : int"] if not cell.inputs else []
        lines += [
            "    lengths : array (B,), optional",
            "        How many steps each sequence has; the others are neither read nor run, and give zero.",
        ]
        lines += ["    reverse : bool", "        From each sequence's last step to its first; outputs stay where their inputs are."]
        lines += ['    tape : "full", "recompute" or "auto"', f"        {TAPES}"]
        lines += ["", "    Returns", "    -------"]
        lines += [f"    y : array {axes_text('T', 'B', shape=shapes[cell.output])}", "    final : State", "    tape : Tape"]
        return "\n".join(lines)

    def describe_device_arguments(self) -> str:
        cell, shapes = self.cell, self.cell.axes
        lines = ["", "    Parameters", "    ----------"]
        for name in cell.inputs:
            kind = "integers" if name in cell.integers else "float32, float64, bfloat16 or float16"
            lines.append(f"    {name} : device array {axes_text('T', 'B', shape=shapes[name])}, {kind}")
        lines += ["    x : None"] if not cell.inputs else []
        lines += ["    params : Params", "    state : State, optional; zero by default"]
        lines += [f"    {name} : device array {axes_text('B', shape=shapes[name])}, constant in time" for name in cell.context]
        lines += ["    steps : int"] if not cell.inputs else []
        lines += ["    tf32 : bool", "        Whether products of float32 may round their operands to 10 bits."]
        lines += ["    stream : optional", "        Where the work is queued; the caller's current stream by default."]
        lines += ["", "    Returns", "    -------"]
        lines += [f"    y : array {axes_text('T', 'B', shape=shapes[cell.output])}, of the kind of the inputs"]
        return "\n".join([*lines, "    final : State", "    tape : Tape"])


def without(cell: Definition) -> list[str]:
    """Return what kinds of inputs and contexts get no gradient, in words."""
    given = {*cell.inputs, *cell.context}
    return [*(["indices"] if cell.integers else []), *(["what is fixed"] if given & {*cell.fixed} else [])]


def record(name: str, doc: str, fields: list[tuple[str, str, str]]) -> str:
    """Return the class of a record: a field, its type, and a note beside it."""
    lines = [f"class {name}(NamedTuple):", f'{INDENT}"""{doc}"""']
    if fields:
        lines += ["", *(f"{INDENT}{n}: {kind}" + (f"  # {note}" if note else "") for n, kind, note in fields)]
    return "\n".join(lines)


def _by_name(names: Iterable[str]) -> str:
    """Return the source of a mapping from names to the variables that are called so."""
    return "{" + ", ".join(f'"{name}": {name}' for name in names) + "}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def sizes_text(shape: Shape) -> str:
    return tuple_source(f'"{s}"' for s in shape)


def init_sizes(cell: Definition) -> list[str]:
    """Return the sizes that `init` takes, in order: also those that the equations make equal to others."""
    named = dict.fromkeys((*cell.sizes, *(s for pair in cell.equal_sizes for s in pair)))
    return sorted(named, key=lambda s: (s != "d", s != "n", s))
