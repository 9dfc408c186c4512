"""A cell's generated module for the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from ...calculus.chain import BACKWARD, FORWARD
from ...calculus.naming import Names
from ...language.definition import Definition
from ...language.sizes import axes_text
from ...program.pipeline import Compiled, Stored
from .. import second
from ..interface import ONLY, PACK
from ..layout import FUNCTIONS_OF, HOST, INSIDE, RUNTIME
from ..module import Module, imported
from ..signature import dropped, linear, tape_record
from ..source import Source, Statement, Tree, assign, attribute, code, name, needed, printed, read, returned, spelt, tuple_of
from .host import Code, HostFunction


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
    return CpuModule(cell, compiled).text(source, digest)


class CpuModule(Module[Code]):
    """The module of Numba kernels and NumPy."""

    def code(self, link: Stored) -> Code:
        made = Code(link.program, f"_{link.name}", self.comments(link.name), {}, {}, Names([*HOST, *RUNTIME, *INSIDE]))
        made.optional = linear(self.cell, self.compiled, link)
        made.dropped = dropped(self.compiled, link)
        return made

    def constant(self, value: str) -> Source:
        return code("np.asarray({}_CONSTANT, dtype)", value.upper(), uses=("np", "dtype"))

    def heads(self, link: str) -> list[list[Statement]]:
        made = self.codes[link]
        sizes = [assign(made.sizes[s], code('call.sizes["{}"]', s)) for s in self.cell.sizes]
        inputs = [assign(made.given[n].text, code('call.inputs["{}"]', n)) for n in (*self.cell.inputs, *self.cell.context)]
        params, count = assign("params", Source("call.params")), assign("count", attribute("rows", "count"))
        common = [assign(given, Source(f"call.{given}")) for given in ("rows", "batch", "dtype", "empty")]
        return [[params], common, sizes, *([given] for given in inputs), [count], *([asked] for asked in self.asked(link))]

    # Passes: Python makes arrays, a compiled function does the work

    @cached_property
    def hosts(self) -> dict[str, HostFunction]:
        """The compiled function of each pass, by its link, and that of the weights, by ""."""
        return {"": self.packing(), **{link.name: self.host(link) for link in self.compiled}}

    def packing(self) -> HostFunction:
        made = self.codes[FORWARD]
        doc = "Pack the parameters: what `_weights` does with its arrays."
        return made.function(made.names.fresh("weights_pass"), doc, made.weights)

    def host(self, link: Stored) -> HostFunction:
        made, carries = self.codes[link.name], link.program.rec.carries
        begun = [made.begin(carry, value) for carry, value in zip(carries, self.signatures[link.name].carried, strict=True)]
        ended = [made.end(carry) for carry in carries]
        weights: list[Tree] = [] if link.name == FORWARD else made.weights
        doc = f"What `_{link.name}` does with its arrays: nothing is allocated, and Python is not needed."
        work = [*weights, *begun, *made.statements, *(statement for _, statement in ended)]
        return made.function(made.names.fresh(f"{link.name}_pass"), doc, work, tuple(final for final, _ in ended))

    @cached_property
    def weights(self) -> list[str]:
        used = self.hosts[FORWARD].arguments
        return [made for made in self.codes[FORWARD].made_of_weights() if made in used]

    def weights_work(self, made: Sequence[str]) -> list[Tree]:
        return self.called(self.codes[FORWARD], self.hosts[""], [returned(tuple_of(map(name, made)))])

    def work(self, link: Stored) -> list[Tree]:
        given = self.weights if link.name == FORWARD else ()
        return self.called(self.codes[link.name], self.hosts[link.name], self.result(link), given)

    def called(self, made: Code, host: HostFunction, tail: list[Tree], given: Iterable[str] = ()) -> list[Tree]:
        """Return the statements that make arrays, those `given` aside, call a compiled function on them, and hand out results."""
        call = spelt("call.run(", [name(host.name), *(made.passed.get(a, name(a)) for a in host.arguments)], ")")
        after: list[Tree] = []
        for view in needed(made.views, tail):
            after += [*made.told[view.defines[0]], view]
        after += tail
        arrays = [statement for array, statement in made.made.items() if array not in given]
        return [*needed(arrays, [call, *after]), call, *after]

    def finals(self, link: Stored) -> list[Source]:
        return list(self.hosts[link.name].finals)

    def gradient(self, parameter: str, value: Source) -> Source:
        return value if self.cell.axes[parameter] else code("{}.reshape(())", value)

    # Text

    def records(self) -> list[str]:
        made = second.records(self.cell, self.compiled)
        table = self.interface.table(second.entries(self.cell, self.compiled), ("Tape2", "Second") if made else ())
        return [self.interface.records(), *made, table, self.interface.makers()]

    def kernels(self) -> list[str]:
        hosts = {host.name: ["@host", *printed([host.code])] for key, host in self.hosts.items() if key or self.weights_body}
        kernels = [["@kernel", *printed([kernel.code])] for made in self.codes.values() for kernel in made.kernels]
        return ["\n".join(lines) for lines in (*hosts.values(), *kernels)]

    def header(self, source: str, digest: str) -> str:
        kernels = [kernel.code for made in self.codes.values() for kernel in made.kernels]
        hosts = [host.code for key, host in self.hosts.items() if key or self.weights_body]
        names = self.taken() | read([*kernels, *hosts]) | ({"kernel", "host"} if kernels else {"host"})
        always: dict[str, tuple[str, ...]] = {".runtime.cpu.layer": ("Layer", "Marks", "Packed")}
        always |= {".runtime.common.table": ("Link",)} if second.links(self.compiled) else {}
        lines = [
            f"# Generated by `derive generate` from {source}. Do not edit.",
            f"# Made from {digest}",
            *self.told(),
            "from typing import NamedTuple",
            "",
            "import numpy as np",
            "",
            *imported(names, FUNCTIONS_OF, always),
        ]
        return "\n".join(lines)

    def functions(self) -> list[str]:
        forward, backward = self.compiled[FORWARD], self.compiled[BACKWARD]
        does = "The forward pass of a checked call: output, as rows, final state, and what a tape keeps."
        undoes = "The backward pass of a checked call: gradients, as rows."
        return [
            *self.interface_functions(),
            self.weights_function(),
            self.pass_function(forward, does, "tuple[np.ndarray, State, Saved | None]"),
            self.backward_function(),
            self.pass_function(backward, undoes, self.gradients),
            *second.functions(self.cell, self.interface),
            *self.second_passes("np.ndarray"),
        ]

    @property
    def gradients(self) -> str:
        """What the backward pass returns."""
        return f"tuple[Grads, {tape_record(BACKWARD)}]" if self.compiled[BACKWARD].keeps else "Grads"

    def interface_functions(self) -> list[str]:
        """Return `pack`, `forward`, `infer` and `step`."""
        cell = self.cell
        steps = "" if cell.inputs else ", steps"
        given = f"steps={'None' if cell.inputs else 'steps'}, lengths=lengths, reverse=reverse"
        options = f'lengths=None, reverse=False, tape="{self.interface.tape}"'
        signed, own = self.interface.signature, self.interface.own
        layer, inputs = own["LAYER"], f"{own['Inputs']}({', '.join((*cell.inputs, *cell.context))})"
        return [
            f"""def pack(params) -> Packed:
    {PACK}
    return {layer}.pack({self.packs}, params)""",
            f'''def forward({signed(f"{steps}, {options}")}) -> tuple[np.ndarray, State, Tape]:
    """Run the cell over a sequence; return the output at every step, the final state, and a tape for `backward`.
{self.interface.describe_arguments()}
    """
    return {layer}.forward(_forward, {inputs}, params, state, {given}, tape=tape)''',
            f'''def infer({signed(f"{steps}, lengths=None, reverse=False")}) -> tuple[np.ndarray, State]:
    """Run the cell over a sequence and keep nothing for a backward pass; arguments as for `forward`."""
    return {layer}.infer(_forward, {inputs}, params, state, {given})''',
            f'''def step({signed(", out=None")}) -> tuple[np.ndarray, State]:
    """Run one step; inputs `(B, ·)`, without the axis of time.

    The output is written to `out` if that is given; both output and state, if that is an array and a `State`.
    """
    return {layer}.step(_forward, {inputs}, params, state, out)''',
        ]

    def backward_function(self) -> str:
        dy = axes_text("T", "B", shape=self.cell.axes[self.cell.output])
        result = "Grads | tuple[Grads, Tape2]" if second.links(self.compiled) else "Grads"
        return f'''def backward(dy, tape, dfinal=None, *, second=False, only=None) -> {result}:
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
        Whether to return, too, what `backward_backward` needs.
    only : sequence of str, optional
        {ONLY}
    """
    return {self.interface.own["LAYER"]}.backward(_forward, _backward, dy, tape, dfinal, second=second, only=only)'''
