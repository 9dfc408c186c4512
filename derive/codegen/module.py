"""A cell's generated module: interface, host functions and kernels, as one text.

What modules for the CPU and for devices have in common stands here; where they differ is a method that each has of its own.
"""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import Generic, TypeVar

from ..calculus.chain import BACKWARD, FORWARD
from ..calculus.ir import Equation
from ..calculus.second import role
from ..language.definition import Definition
from ..notation import written
from ..notation.formula import Formulas
from ..notation.style import Text
from ..notation.text import definitions, formula, formulas_of, tagged_formulas
from ..program.pipeline import Compiled, Stored
from . import second
from .host import HostCode
from .interface import Interface
from .layout import INDENT, WIDTH
from .signature import PARAMS, optional_gradients, signature, tape_record
from .source import (
    Source,
    Statement,
    Tree,
    assign,
    attribute,
    code,
    free,
    name,
    needed,
    printed,
    read,
    returned,
    spelt,
    together,
)

C = TypeVar("C", bound=HostCode)


@lru_cache(maxsize=1)  # the modules for the CPU and for devices are made one after the other
def _tagged(compiled: Compiled) -> dict[str, str]:
    """Return the numbered formulas of all links, as on the cell's page, by tag."""
    return tagged_formulas(compiled.derived)


class Module(ABC, Generic[C]):
    """The text of one cell's module."""

    def __init__(self, cell: Definition, compiled: Compiled) -> None:
        self.cell, self.compiled = cell, compiled
        self.interface = Interface(cell, compiled)
        self.signatures = {link.name: signature(cell, compiled, link) for link in compiled}
        self.codes: dict[str, C] = {link.name: self.made(link) for link in compiled}

    # What the modules differ in

    @abstractmethod
    def code(self, link: Stored) -> C:
        """Return the code of a link, with nothing in it yet."""

    @abstractmethod
    def constant(self, value: str) -> Source:
        """Return the host's expression of an array constant."""

    @abstractmethod
    def header(self, source: str, digest: str) -> str: ...

    @abstractmethod
    def records(self) -> list[str]:
        """Return records, tables, and the functions that make parameters and states."""

    @abstractmethod
    def functions(self) -> list[str]:
        """Return the functions of the interface, each before the pass that it runs."""

    @abstractmethod
    def kernels(self) -> list[str]: ...

    @abstractmethod
    def heads(self, link: str) -> list[list[Statement]]:
        """Return statements that name what a pass may read, a line each group; a pass has those that it needs."""

    @abstractmethod
    def weights_work(self, made: Sequence[str]) -> list[Tree]:
        """Return the statements that make the host's variables `made` of parameters alone, and hand them out."""

    @abstractmethod
    def work(self, link: Stored) -> list[Tree]:
        """Return the statements of a link, from its carries before the first step to its results."""

    @abstractmethod
    def finals(self, link: Stored) -> list[Source]:
        """Return the values of a link's carries after their last step."""

    def comments(self, link: str) -> Callable[[Equation], str]:
        """Return what says which formula an equation of a link is: as on the cell's page, whatever the passes have made of it."""

        tagged = _tagged(self.compiled)

        @cache
        def formulas() -> Formulas:
            return formulas_of(self.compiled.derivation, link, Text({}))

        def comment(eq: Equation) -> str:
            return tagged[eq.tag] if eq.shown and eq.tag in tagged else formula(eq, formulas())

        return comment

    # Text

    def text(self, source: str, digest: str) -> str:
        parts = [self.header(source, digest), *self.records(), *self.functions(), *self.kernels()]
        return "\n\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def made(self, link: Stored) -> C:
        """Return the code of a link."""
        made = self.code(link)
        made.sizes = {size: made.names.fresh(size) for size in self.cell.sizes}
        made.given |= {value: attribute("params", value) for value in self.cell.parameters}
        made.given |= {value: self.constant(value) for value in self.cell.constant_arrays}
        made.given |= {value: name(made.names.fresh(value)) for value in (*self.cell.inputs, *self.cell.context)}
        made.given |= self.signatures[link.name].given
        if link.name == BACKWARD:
            made.asked = {array: made.names.fresh(f"with_{gradient}") for array, gradient in self.optional.items()}
        for carry in link.program.rec.carries:
            made.variable(link.program.places[carry.previous].array)
        made.run()
        return made

    @cached_property
    def optional(self) -> dict[str, str]:
        """The gradients that the backward pass need not make: see `optional_gradients`."""
        return optional_gradients(self.cell, self.compiled[BACKWARD])

    def asked(self, link: str) -> list[Statement]:
        """Return the statements that name whether each gradient is asked for that may not be."""
        return [assign(variable, code('"{}" in call.asked', self.optional[array])) for array, variable in self.codes[link].asked.items()]

    def told(self, what: str = "") -> list[str]:
        """Return the lines of the module's docstring that every module has: title, equations, and the names that comments use besides."""
        cell, named = self.cell, definitions(self.cell)
        return [
            *textwrap.wrap(f'"""{prose(cell.title or cell.name)}{what}.', WIDTH),
            *self.about(),
            "",
            *(f"{INDENT}{line}".rstrip() for line in written.lines(cell)),
            *(["", *(f"{INDENT}{line}" for line in named)] if named else []),
            '"""',
            "",
            "from __future__ import annotations",
            "",
        ]

    def about(self) -> list[str]:
        """Return what else the docstring says."""
        cell = self.cell
        return [
            *(["", *textwrap.wrap(prose(cell.description), WIDTH)] if cell.description else []),
            *(["", *textwrap.wrap(prose(f"Reference: {cell.reference}"), WIDTH)] if cell.reference else []),
        ]

    def taken(self) -> frozenset[str]:
        """Return the names that the passes read and that the module must import or define."""
        passes = [self.weights_body, *(self.body(link) for link in self.compiled)]
        return frozenset().union(*map(free, passes))

    # Passes

    @cached_property
    def weights(self) -> list[str]:
        """The host's variables that are made of parameters alone and read in the forward pass."""
        forward = self.codes[FORWARD]
        used = read(forward.statements)
        return [made for made in forward.made_of_weights() if made in used]

    @cached_property
    def weights_body(self) -> list[Tree]:
        """The statements that make them."""
        return self.headed(FORWARD, self.weights_work(self.weights)) if self.codes[FORWARD].weights else []

    @property
    def packs(self) -> str:
        """How a module calls what makes its packed weights."""
        return "_weights" if self.codes[FORWARD].weights else "lambda call: ()"

    def weights_function(self) -> str:
        if not self.weights_body:
            return ""
        doc = "What the forward pass makes of the parameters before the first step."
        return "\n".join(["def _weights(call) -> tuple:", f'{INDENT}"""{doc}"""', *printed(self.weights_body, 1)])

    def headed(self, link: str, body: Sequence[Tree], used: Iterable[Tree] | None = None) -> list[Tree]:
        """Return statements after those that name what they use."""
        groups = self.heads(link)
        kept = needed([statement for group in groups for statement in group], body if used is None else used)
        lines = [together([statement for statement in group if statement in kept]) for group in groups]
        return [*(line for line in lines if line.defines), *body]

    def body(self, link: Stored) -> list[Tree]:
        """Return the statements of a link's function."""
        work = self.work(link)
        if link.name != FORWARD or not self.weights:
            return self.headed(link.name, work)
        return self.headed(FORWARD, [assign(self.weights, code("call.weights or _weights(call)")), *work], work)

    def result(self, link: Stored) -> list[Tree]:
        """Return the statements that hand out what a link computes."""
        if link.name == FORWARD:
            return self.forward_result(link)
        return self.backward_result(link) if link.name == BACKWARD else self.named_result(link)

    def kept(self, link: Stored) -> Source:
        """Return the record of what a link keeps for others."""
        made = self.codes[link.name]
        fields = [self.handed(link, field.value, made.given[field.array or field.value]) for field in link.keeps]
        return spelt_source(f"{tape_record(link.name)}(", fields)

    def forward_result(self, link: Stored) -> list[Tree]:
        """Return the statements that hand out output, final state, and what the tape keeps."""
        made = self.codes[link.name]
        fields = [made.given[field.array] for field in link.keeps]
        return [
            spelt("final = State(", self.finals(link), ")", defines=("final",)),
            spelt("saved = Saved(", fields, ") if call.keep else None", defines=("saved",)),
            returned(code("{}, final, saved", made.given[link.outputs[self.cell.output]])),
        ]

    def backward_result(self, link: Stored) -> list[Tree]:
        """Return the statements that hand out gradients."""
        cell, made, cotangent = self.cell, self.codes[link.name], link.link.cotangent
        grads = [Source("None") if n in cell.without_gradient else made.given[cotangent[n]] for n in (*cell.inputs, *cell.context)]
        params = [Source("None") if n in cell.fixed else self.gradient(n, made.given[cotangent[n]]) for n in cell.parameters]
        asked = name(made.asked[PARAMS]) if PARAMS in made.asked else code('"params" in call.asked')
        result = spelt_source("Grads(", [*grads, name("params"), name("initial")])
        result = code("{}, {}", result, self.kept(link)) if link.keeps else result
        return [
            spelt(code("params = Params(", uses=asked.reads), params, f") if {asked.text} else None", defines=("params",)),
            spelt("initial = State(", self.finals(link), ")", defines=("initial",)),
            returned(result),
        ]

    @abstractmethod
    def gradient(self, parameter: str, value: Source) -> Source:
        """Return a parameter's gradient as it is handed out."""

    def named_result(self, link: Stored) -> list[Tree]:
        """Return the statements that hand out values, and carries after their last step, by their roles."""
        made, rec, chain = self.codes[link.name], link.program.rec, self.compiled.derivation
        values = [(role(chain, link.link, n), self.handed(link, n, made.given[link.outputs.get(n, n)])) for n in link.link.handed]
        finals = zip(rec.carries, self.finals(link), strict=True)
        values += [(role(chain, link.link, carry.value), final) for carry, final in finals]
        lines: list[Tree] = [spelt("result = {", [code('"{}": {}', n, value) for n, value in values], "}", defines=("result",))]
        return [*lines, returned(code("result, {}", self.kept(link)) if link.keeps else name("result"))]

    def second_passes(self, array: str) -> list[str]:
        """Return the functions of the passes of second order, which hand out arrays of a type."""
        found = second.links(self.compiled)
        return [self.pass_function(link, f"{second.PASSES[link.name]}, on rows, by role.", f"dict[str, {array}]") for link in found]

    def handed(self, link: Stored, value: str, source: Source) -> Source:
        """Return a value as a link hands it out by its role, or keeps it for another one."""
        return source

    def pass_function(self, link: Stored, doc: str, result: str) -> str:
        """Return a link's function of a checked call."""
        head = f"def _{link.name}({', '.join(('call', *self.signatures[link.name].arguments))}) -> {result}:"
        return "\n".join([head, f'{INDENT}"""{doc}"""', *printed(self.body(link), 1)])


def spelt_source(head: str, items: Sequence[Source]) -> Source:
    """Return a call as an expression."""
    return code(head + ", ".join(["{}"] * len(items)) + ")", *items)


def prose(text: str) -> str:
    """Return an author's words as they may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', "'")


def imported(names: Iterable[str], where: Mapping[str, str], always: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the statements that import those of `names` that a module of `where` has, and what is `always` imported, by module."""
    found = {path: list(known) for path, known in always.items()}
    for known in sorted(set(names) & where.keys()):
        found.setdefault(where[known], []).append(known)
    lines: list[str] = []
    for path in sorted(found):
        line = f"from {path} import {', '.join(found[path])}"
        parts = [f"from {path} import (", *(f"{INDENT}{known}," for known in found[path]), ")"]
        lines += [line] if len(line) <= WIDTH else parts
    return lines
