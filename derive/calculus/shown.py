"""Which equations of an adjoint people are shown, what each is of a value of the cell, and by which number.

An adjoint gives an equation of its own to whatever several values receive something through: to parts of a line, to sums over steps that
are a part of a gradient, to what a step contributes to one that is differentiated again.  People know values of the cell, their tangents,
their cotangents, and the tangents of these; what is none of them is written where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from .ir import Equation, Label, Map, Recurrence
from .lettered import lettered, split

Mark = tuple[str, str]


def mark(name: str, label: Callable[[str], Label], first: Container[str]) -> Mark:
    """Return what a value is of another one, and that: itself (``""``), its cotangent (``bar``), its tangent (``dot``), or the tangent of
    its cotangent (``bars``).

    A cotangent of a cotangent is a tangent, as the first is linear in the second; so is that of a contribution to one.

    Parameters
    ----------
    name : str
    label : callable
        Given a name, its label.
    first : names
        Those of the backward pass: other cotangents of the forward pass's values are tangents of these.
    """
    known = label(name)
    if known.kind not in ("seed", "carried", "cotangent") and not is_contribution(known):
        return "", name
    before, value = mark(known.of, label, first)
    return {"": "bar" if name in first else "bars", "bar": "dot", "dot": "bars", "bars": "dot"}[before], value


def is_contribution(label: Label) -> bool:
    """Say whether a value is a contribution to a cotangent, and no more."""
    return label.kind == "part" and bool(label.of) and not label.role


@dataclass(frozen=True)
class Shown:
    """Which equations of a link that is an adjoint are shown.

    Attributes
    ----------
    rec : Recurrence
        Of the link.
    letter : str
        Of its equations' tags.
    forward, first : Recurrence
        The forward and the backward pass.
    """

    rec: Recurrence
    letter: str
    forward: Recurrence
    first: Recurrence

    def numbered(self) -> Recurrence:
        """Return the recurrence with those equations numbered that are shown, the others without a tag."""
        own = {eq.name: eq for eq in self.rec.equations() if eq.shown and eq.tag.startswith(self.letter)}
        first = {(self.mark(eq.name), eq.node): eq.name for eq in reversed(own.values())}  # of equal ones
        shown = self.ordered([eq for eq in own.values() if eq.name in first.values() and self.is_shown(eq)])
        tags = {eq.name: f"{self.letter}{k}" for k, eq in enumerate(shown, 1)}

        def numbered(equations: Iterable[Equation]) -> tuple[Equation, ...]:
            return tuple(replace(eq, tag=tags.get(eq.name, ""), shown=eq.name in tags) if eq.name in own else eq for eq in equations)

        return replace(
            self.rec,
            prologue=numbered(self.rec.prologue),
            body=numbered(self.rec.body),
            accumulators=numbered(self.rec.accumulators),
            epilogue=numbered(self.rec.epilogue),
        )

    def mark(self, name: str) -> Mark:
        return mark(name, self.rec.labels.__getitem__, self.first.types)

    def ordered(self, equations: list[Equation]) -> list[Equation]:
        """Return equations as they are computed, the sums over steps that a parameter or a context receives in the author's order."""
        given = (*self.forward.statics, *self.forward.contexts)
        after = [eq for eq in equations if eq.name in self.sums]
        own = [eq for eq in after if self.sums[eq.name][1] in given and self.is_sum(eq)]
        own.sort(key=lambda eq: given.index(self.sums[eq.name][1]))
        return [*(eq for eq in equations if eq.name not in self.sums), *own, *(eq for eq in after if eq not in own)]

    def is_sum(self, eq: Equation) -> bool:
        """Say whether an equation is a sum over steps, or one of sums of the same."""
        parts = [self.sums.get(name) for name in eq.node.operands()]
        return any(eq.name == total.name for total in self.rec.accumulators) or set(parts) == {self.sums[eq.name]}

    @cached_property
    def sums(self) -> dict[str, Mark]:
        """What is made of all steps, with what it is of a value."""
        return {eq.name: self.mark(eq.name) for eq in (*self.rec.accumulators, *self.rec.epilogue)}

    @cached_property
    def whole(self) -> dict[Mark, str]:
        """The last of the sums of the same: all of it."""
        return {mark: name for name, mark in self.sums.items()}

    def is_shown(self, eq: Equation) -> bool:
        """Say whether an equation tells something of a value that people know, all of it, and anything at all."""
        kind, value = self.mark(eq.name)
        known = value in self.known or (kind in ("bar", "bars") and value in self.forward.types)  # as cotangents of parts are shown
        return known and not (self.is_copy(eq) or self.is_step_of_sum(eq, value) or self.is_part_of_sum(eq))

    @cached_property
    def known(self) -> set[str]:
        """The values that have a name: their author's, the role that they play, a letter, or those of their parts."""
        ends, labels = (*self.forward.equations(), *self.first.equations()), self.first.labels

        def label(name: str) -> Label:
            return labels.get(name, Label("part"))

        named = {name for name, label in labels.items() if label.kind != "part" or label.role in ("normalised", "std")}
        return named.union(*lettered(ends, label), split(ends, label, self.first.types))

    def is_copy(self, eq: Equation) -> bool:
        """Say whether an equation passes on what is called the same."""
        if not (isinstance(eq.node, Map) and isinstance(eq.node.expr, sp.Symbol)):
            return False
        source = str(eq.node.expr.name)
        return not is_contribution(self.rec.labels[source]) and self.mark(source) == self.mark(eq.name)

    def is_step_of_sum(self, eq: Equation, value: str) -> bool:
        """Say whether an equation is a step's contribution to a sum over steps."""
        summed = value in self.forward.contexts or not self.rec.types[value].batched
        return summed and self.rec.types[eq.name].batched and eq.name not in self.sums

    def is_part_of_sum(self, eq: Equation) -> bool:
        """Say whether an equation is one of several sums over steps that a value receives, and not yet all of them."""
        return eq.name in self.sums and self.whole[self.sums[eq.name]] != eq.name
