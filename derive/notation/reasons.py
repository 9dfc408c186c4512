"""Why each equation of an adjoint is there: a sentence for each, as a lecturer would say it while writing the line.

A sentence names equations as ``[F5]`` and formulas as ``$c_{t}$``; who prints it makes links and mathematics of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from ..calculus.chain import BACKWARD, FORWARD, Derivation
from ..calculus.derivation import differentiate
from ..calculus.functions import Elementwise, ElementwiseFunction, derivative
from ..calculus.ir import Equation, Label, Map, Outer
from ..calculus.rowfunctions import Normalised, Softmax
from ..calculus.tags import place
from ..language.definition import Definition
from ..language.names import previous
from .formula import Formulas
from .written import latex_of

SHORT = 70  # characters of TeX: what is said in passing


def reasons(cell: Definition) -> dict[str, str]:
    """Return a sentence for every numbered equation of the cell's adjoint, by tag."""
    writer = Reasons(differentiate(cell))
    return {eq.tag: writer.sentence(eq) for eq in writer.derivation[BACKWARD].recurrence.equations() if eq.shown and eq.tag.startswith("B")}


def listed(words: Iterable[str]) -> str:
    """Return words as English lists them: ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def joined(clauses: Iterable[str]) -> str:
    """Return clauses as English joins them, with a comma before the last: they have lists of their own."""
    *first, last = clauses
    return f"{', '.join(first)}, and {last}" if first else last


@dataclass(frozen=True)
class Reasons:
    """Sentences about the equations of a derivation."""

    derivation: Derivation

    @property
    def cell(self) -> Definition:
        return self.derivation.cell

    @cached_property
    def forward(self) -> Formulas:
        return Formulas(self.cell, self.derivation[FORWARD].recurrence, latex_of(self.cell))

    def value(self, name: str) -> str:
        return f"${self.forward.name(name)}$"

    @cached_property
    def made(self) -> dict[str, Equation]:
        return {eq.name: eq for eq in self.derivation[FORWARD].recurrence.equations()}

    def formula(self, name: str) -> str:
        """Return what makes a value."""
        return self.forward.node(self.made[name].node)[0]

    def readers(self, name: str) -> list[str]:
        """Return the lines of the cell that read `name`, as links."""
        tags = {eq.tag for eq in self.derivation[FORWARD].recurrence.equations() if name in eq.node.operands()}
        return [f"[{tag}]" for tag in sorted(tags, key=place)]

    def sentence(self, eq: Equation) -> str:
        label = self.derivation[BACKWARD].recurrence.labels[eq.name]
        source = self.derivation[FORWARD].recurrence.labels.get(label.of, Label("part"))
        if source.kind == "preactivation":
            return self.function(label.of, source.of)
        if source.kind == "previous":
            return f"Passed back to the step before: {self.value(label.of)} enters {listed(self.readers(label.of))}."
        if source.role == "normalised":
            return f"{self.value(label.of)} is the normalized ${self.forward.name(source.of)}$ of [{self.made[label.of].tag}]."
        if source.kind != "own" and (tag := self.normalised(label.of)):
            removed = "the components that would change its mean or its length are taken out"
            return f"Back through the normalization of {self.value(label.of)} in [{tag}]: {removed}."
        if source.kind != "own":
            made = self.made[label.of]
            what = "the softmax in [{}]" if isinstance(made.node, Softmax) else "a part of [{}] that has no name of its own"
            return f"{self.value(label.of)} is {what.format(made.tag)}."
        return self.own(eq, label.of) if self.derivation[FORWARD].recurrence.types[label.of].batched else self.static(eq, label.of)

    def normalised(self, name: str) -> str:
        """Return the line in which a value is normalised; nothing, if it is in none."""
        found = (eq.tag for eq in self.made.values() if isinstance(eq.node, Normalised) and eq.node.value == name)
        return next(found, "")

    def sloped(self, tag: str, name: str) -> str:
        """Return a line that reads `name` with its derivative with respect to it, if the line is elementwise and that is short."""
        reading = [eq for eq in self.derivation[FORWARD].recurrence.equations() if f"[{eq.tag}]" == tag and name in eq.node.operands()]
        if tag == f"[{self.normalised(name)}]" and not any(eq.shown for eq in reading):
            return f"{tag} through its normalization"
        if len(reading) == 1 and reading[0].shown and isinstance(reading[0].node, Map):
            slope = self.forward.node(Map(derivative(reading[0].node.expr, sp.Symbol(name))))[0]
            return f"{tag} (derivative ${slope}$)" if len(slope) <= SHORT else tag
        return tag

    def own(self, eq: Equation, name: str) -> str:
        """Say what a value of the step acts on."""
        if name in self.cell.inputs or name in self.cell.context:
            where = f"{self.value(name)} enters {listed(self.readers(name))}"
            return f"Passed down to the layer below: {where}." if name in self.cell.inputs else f"{where}, at every step."
        found = self.readers(name)
        ways = [f"enters {listed(self.sloped(tag, name) for tag in found)}"] if found else []
        ways = ["is the output", *ways] if name == self.cell.output else ways
        if name in self.cell.states:
            later = self.readers(previous(name))
            ways.append(f"is carried to the next step{f', where it enters {listed(later)}' if later else ''}")
        terms = len(sp.Add.make_args(eq.node.expr)) if isinstance(eq.node, Map) else 1
        count = (name == self.cell.output) + len(found) + (name in self.cell.states)
        every = ": one term for each" if count == terms > 1 else ""
        return f"{self.value(name)} {joined(ways)}{every}." if ways else f"Everything that {self.value(name)} affects."

    def static(self, eq: Equation, name: str) -> str:
        """Say where a parameter appears."""
        where = listed(self.readers(name))
        if isinstance(eq.node, Outer):
            return f"{self.value(name)} multiplies {self.value(eq.node.right)} in {where}, at every step."
        types = self.derivation[FORWARD].recurrence.types
        steps = any(types[reader.name].batched for reader in self.made.values() if name in reader.node.operands())
        return f"{self.value(name)} appears in {where}{', at every step' if steps else ', which is the same at every step'}."

    def function(self, argument: str, name: str) -> str:
        """Say which function the cotangent of its argument passes through, with its derivative where it makes a whole line."""
        symbol = sp.Symbol(argument)
        for eq in self.derivation[FORWARD].recurrence.equations():
            if isinstance(eq.node, Softmax) and eq.node.value == argument:
                p, where = self.forward.name(eq.name), f"{'of' if eq.shown else 'in'} [{eq.tag}]"
                return rf"Back through the softmax {where}, whose Jacobian is $\operatorname{{Diag}}\left({p}\right) - {p}\, {p}^{{\top}}$."
            calls = eq.node.expr.atoms(Elementwise) if isinstance(eq.node, Map) else ()
            call = min((call for call in calls if call.args == (symbol,)), key=str, default=None)
            if call is None:
                continue
            shown = f"${_symbol(call.info)}$"
            if eq.node != Map(call):
                return f"Back through the {shown} in [{eq.tag}], whose argument is ${self.formula(argument)}$."
            slope = self.forward.node(Map(call.info.derivative(sp.Symbol(eq.name), symbol)[0]))[0]
            return f"Back through the {shown} of [{eq.tag}], whose derivative is ${slope}$."
        return f"The argument of the function that computes {self.value(name)}."


def _symbol(info: ElementwiseFunction) -> str:
    """Return how a function of one argument is typeset without it."""
    head, brackets, _ = info.latex.format("").partition(r"\left(")
    return head if brackets else rf"\operatorname{{{info.name}}}"
