"""A cell's generated module for CUDA devices."""

from __future__ import annotations

from collections.abc import Sequence

from ...calculus.chain import BACKWARD, FORWARD
from ...calculus.ir import Carry
from ...calculus.naming import Names
from ...language.definition import Definition
from ...language.sizes import axes_text
from ...program.pipeline import Compiled, Stored
from ...runtime.cuda.plan import Steps
from ..interface import ONLY, PACK
from ..layout import HOST, RUNTIME
from ..module import Module, imported
from ..second import functions, links
from ..signature import given, tape_record
from ..source import Source, Statement, Tree, assign, code, name, printed, returned, tuple_of
from .apart import Apart
from .host import Code

OWN = HOST | {"xp", "t", "Layer", "stream", "tf32", "CPU", "Packed", "Any", "plan", "Steps", "Product"}


def tables(cell: Definition, compiled: Compiled) -> dict[str, Steps | Apart | None]:
    """Return what plans are made from, of each link's time loop; None where there is none that one kernel can run."""
    codes = CudaModule(cell, compiled).codes
    return {link: made.table.steps() if made.table else made.apart for link, made in codes.items()}


def module(cell: Definition, compiled: Compiled, source: str, digest: str) -> str:
    """Return the text of the device's module generated for `cell`; arguments as for that of the CPU."""
    return CudaModule(cell, compiled).text(source, digest)


class CudaModule(Module[Code]):
    """The module of `numba.cuda` kernels and CuPy."""

    def code(self, link: Stored) -> Code:
        handed = {link.outputs.get(n, n) for n in link.link.handed} & link.program.arrays.keys()
        outputs = frozenset(handed | {field.array for field in link.keeps})
        made = Code(link.program.over_time(), link.name, self.comments(link.name), {}, {}, Names([*OWN, *RUNTIME]), outputs=outputs)
        if link.name not in (FORWARD, BACKWARD):
            made.static_kept |= {n for n in (*given(self.cell, link), *link.reads) if not self.is_batched(link, n)}
        made.static_kept |= {*self.cell.parameters, *(n for n in self.cell.constant_arrays if self.is_matrix(n))}
        return made

    def is_batched(self, link: Stored, value: str) -> bool:
        known = link.program.rec.types.get(value)
        return known is None or known.batched  # an array of rows may have another name than its value

    def is_matrix(self, value: str) -> bool:
        return len(self.cell.shapes[value]) == 2

    def constant(self, value: str) -> Source:
        constant = f"{value.upper()}_CONSTANT"
        return code("call.{}({})", "stored" if self.is_matrix(value) else "real", constant, uses=(constant,))

    def heads(self, link: str) -> list[list[Statement]]:
        made = self.codes[link]
        sizes = [assign(made.sizes[s], code('call.sizes["{}"]', s)) for s in self.cell.sizes]
        inputs = [assign(made.given[n].text, code('call.inputs["{}"]', n)) for n in (*self.cell.inputs, *self.cell.context)]
        xp, params = assign("xp", Source("call.xp")), assign("params", Source("call.params"))
        return [[xp], [params], sizes, *([given] for given in inputs), *([asked] for asked in self.asked(link))]

    def weights_work(self, made: Sequence[str]) -> list[Tree]:
        return [*self.codes[FORWARD].weights, returned(tuple_of(map(name, made)))]

    def work(self, link: Stored) -> list[Tree]:
        made, rec, carried = self.codes[link.name], link.program.rec, self.signatures[link.name].carried
        begun = [self.begun(link, carry, value) for carry, value in zip(rec.carries, carried, strict=True)]
        weights: list[Tree] = [] if link.name == FORWARD else made.weights
        return [*weights, *begun, *made.statements, *self.result(link)]

    def begun(self, link: Stored, carry: Carry, value: Source) -> Tree:
        """Return the statement that makes a carry's array, with its value before the first step."""
        made = self.codes[link.name]
        array = link.program.arrays[link.program.places[carry.previous].array]
        dtype = "call.stored_dtype" if array.name in made.stored else "call.real_dtype"
        if link.program.rec.reverse:
            rows = code("call.carried({}, {}{})", value, dtype, ", tape=True" if array.space == "tape" else "")
        else:
            rows = code("call.state_rows({}, {}, tape={})", value, dtype, array.space == "tape")
        return assign(made.given[array.name].text, rows)

    def finals(self, link: Stored) -> list[Source]:
        carries = zip(link.program.rec.carries, self.cell.states, strict=True)
        return [self.ended(link, carry, Source(f"call.state.{state}")) for carry, state in carries]

    def ended(self, link: Stored, carry: Carry, like: Source) -> Source:
        """Return a carry's value after its last step."""
        array = link.program.arrays[link.program.places[carry.previous].array]
        rows = self.codes[link.name].given[array.name]
        if link.program.rec.reverse:
            return code("call.first({}, {})", rows, like)
        return code("call.last({}, {}, tape={})", rows, like, array.space == "tape")

    def gradient(self, parameter: str, value: Source) -> Source:
        return code("call.stored({})", value)

    def handed(self, link: Stored, value: str, source: Source) -> Source:
        return source if link.program.rec.types[value].batched else code("call.stored({})", source)

    # Text

    def records(self) -> list[str]:
        return [self.interface.device_records() + "\n" + "\n".join(self.tables()), self.interface.device_makers()]

    def tables(self) -> list[str]:
        """Return the statements that make what plans of the time loops are made from."""
        return [line for link, made in self.codes.items() if made.table for line in made.table.text(f"{link.upper()}_STEPS")]

    def kernels(self) -> list[str]:
        return ["\n".join(printed([factory])) for made in self.codes.values() for factory in made.factories]

    def about(self) -> list[str]:
        return ["", f"Arguments, results and equations are those of `{self.cell.name}` for the CPU; arrays lie on the device."]

    def header(self, source: str, digest: str) -> str:
        lines = [
            f"# Generated by `derive generate` from {source}. Do not edit.",
            f"# Made from {digest}",
            *self.told(": kernels for CUDA devices"),
            "from typing import Any, NamedTuple",
            "",
            *self.imports(),
        ]
        return "\n".join(lines)

    def imports(self) -> list[str]:
        """Return the module's imports, in order."""
        cell, names = self.cell, self.taken()
        constants = [f"{n.upper()}_CONSTANT" for n in sorted(cell.constant_arrays) if f"{n.upper()}_CONSTANT" in names]
        of_plans = [table for made in self.codes.values() if (table := made.table)]
        plans = [*(["Product"] if any(table.products for table in of_plans) else []), "Steps"] if of_plans else []
        always = {"..runtime.cuda.layer": ("Layer", "Packed"), "..runtime.cuda.plan": tuple(plans)}
        from_runtime = imported(names, {"static": "..runtime.common"}, {path: found for path, found in always.items() if found})
        second = ("Second", "Tape2") if links(self.compiled) else ()
        kept = (tape_record(BACKWARD),) if self.compiled[BACKWARD].keeps else ()
        records = sorted(("Grads", "Inputs", "Params", "Saved", "State", *second, *kept))
        shared = imported((), {}, {f"..{cell.name}": (*constants, *records)})
        layer = [f"from ..{cell.name} import LAYER as CPU"]
        from_cell = [*shared, *layer] if constants else [*layer, *shared]
        return [*from_cell, *from_runtime] if cell.name < "runtime" else [*from_runtime, *from_cell]

    def functions(self) -> list[str]:
        forward, backward = self.compiled[FORWARD], self.compiled[BACKWARD]
        does = "The forward pass of a checked call: output, as rows, final state, and what a tape keeps."
        undoes = "The backward pass of a checked call: gradients, as rows."
        return [
            *self.interface_functions(),
            self.weights_function(),
            self.pass_function(forward, does, "tuple[Any, State, Saved | None]"),
            self.backward_function(),
            self.pass_function(backward, undoes, f"tuple[Grads, {tape_record(BACKWARD)}]" if backward.keeps else "Grads"),
            *functions(self.cell, self.interface, device=True),
            *self.second_passes("Any"),
        ]

    def interface_functions(self) -> list[str]:
        """Return `pack`, `forward`, `infer` and `step`."""
        cell = self.cell
        steps = "" if cell.inputs else ", steps"
        given = f"steps={'None' if cell.inputs else 'steps'}, tf32=tf32, stream=stream"
        args = self.interface.signature(f"{steps}, tf32=False, stream=None")
        own = self.interface.own
        layer, inputs = own["LAYER"], f"{own['Inputs']}({', '.join((*cell.inputs, *cell.context))})"
        return [
            f"""def pack(params, *, stream=None) -> Packed:
    {PACK}
    return {layer}.pack({self.packs}, params, stream)""",
            f'''def forward({args}) -> tuple[Any, State, Tape]:
    """Run the cell over a sequence; return the output at every step, the final state, and a tape for `backward`.
{self.interface.describe_device_arguments()}
    """
    return {layer}.forward(_forward, {inputs}, params, state, {given})''',
            f'''def infer({args}) -> tuple[Any, State]:
    """Run the cell over a sequence and keep nothing for a backward pass; arguments as for `forward`."""
    return {layer}.infer(_forward, {inputs}, params, state, {given})''',
            f'''def step({self.interface.signature(", tf32=False, stream=None")}) -> tuple[Any, State]:
    """Run one step; inputs `(B, ·)`, without the axis of time."""
    return {layer}.step(_forward, {inputs}, params, state, tf32=tf32, stream=stream)''',
        ]

    def backward_function(self) -> str:
        dy = axes_text("T", "B", shape=self.cell.shapes[self.cell.output])
        result = "Grads | tuple[Grads, Tape2]" if links(self.compiled) else "Grads"
        return f'''def backward(dy, tape, dfinal=None, *, second=False, only=None, stream=None) -> {result}:
    """Gradients of Σ_t ⟨dy_t, y_t⟩ + ⟨dfinal, final state⟩.

    Parameters
    ----------
    dy : array {dy}, or None for zero
        Cotangent of the output.
    tape : Tape
        From `forward`; not altered.
    dfinal : State, optional
        Cotangents of the final states; zero by default.
    second : bool
        Whether to keep what `backward_backward` reads.
    only : sequence of str, optional
        {ONLY}
    stream : optional
        Where the work is queued; the caller's current stream by default.
    """
    return {self.interface.own["LAYER"]}.backward(_backward, dy, tape, dfinal, second=second, only=only, stream=stream)'''
