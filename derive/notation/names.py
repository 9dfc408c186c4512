"""What values are called in formulas: by their author's names with marks, by letters, or by what makes them.

What has no name of its own is written where it is used, unless it is read time and again: see `derive.notation.called`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ..calculus.ir import Concat, Equation, Label, Map, Node, Recurrence, Slice, Type
from ..calculus.lettered import split
from ..calculus.shown import Mark, mark
from ..language.definition import Definition
from .called import argument_letter, called, numbered
from .style import ATOM, Style

LONGEST = 100  # names in what is written inside a formula


def _read(node: Node) -> list[str]:
    """Return the names in a node's formula, each as often as it stands there."""
    if isinstance(node, Map):
        return [leaf.name for leaf in sp.preorder_traversal(node.expr) if isinstance(leaf, sp.Symbol)]
    return list(node.operands())


@dataclass
class Names(ABC):
    """The names of a recurrence's values.

    Attributes
    ----------
    cell : Definition
    rec : Recurrence
    style : Notation
    earlier : tuple of Recurrence
        The links before it: the forward pass, the backward pass, others.
    rest : mapping
        From a value that is handed out to the part of it that an earlier link has handed out, to which it is added.
    apart : names
        Static values that have a part in an earlier link, too, and are not added to it.
    inline : mapping
        The nodes that are written where they are read, unless they are called by a name.
    called : mapping
        Letters of values without a name; `letter` is that of functions' arguments, `numbers` tells those of one line apart.
    split : mapping
        The parts with names of their own that make up a vector without.
    labels, types : mapping
        Of every name of this link and the earlier ones.
    silent : names
        Cotangents that are not shown, since people do not know them: these, too, are written where they are read.
    totals : names
        Sums over steps.
    """

    cell: Definition
    rec: Recurrence
    style: Style
    earlier: tuple[Recurrence, ...] = ()
    rest: Mapping[str, str] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()
    inline: dict[str, Node] = field(init=False)
    called: dict[str, str] = field(init=False)
    numbers: dict[str, int] = field(init=False)
    letter: str = field(init=False)
    split: dict[str, tuple[Equation, ...]] = field(init=False)
    labels: dict[str, Label] = field(init=False)
    types: dict[str, Type] = field(init=False)
    silent: set[str] = field(init=False)
    totals: set[str] = field(init=False)

    def __post_init__(self) -> None:
        """Collect what is written inside others, and what is called by which name, here and in the links that it reads."""
        known = (*self.earlier, self.rec)
        self.labels = {name: label for rec in known for name, label in rec.labels.items()}
        self.types = {name: kind for rec in known for name, kind in rec.types.items()}
        ends = [eq for rec in known[:2] for eq in rec.equations()]  # others differentiate again what has its letter there
        self.called, self.numbers = called(self.cell, ends, self.label), numbered(ends, self.label)
        self.letter, self.split = argument_letter(self.cell), split(ends, self.label, self.types)
        self.totals = {eq.name for rec in known for eq in rec.accumulators}
        self.silent = {eq.name for eq in self.known if not eq.shown and not eq.tag and self.label(eq.name).kind == "cotangent"}
        stacks = {eq.name for eq in self.rec.prologue if isinstance(eq.node, Concat)}  # of matrices: these have names
        length: dict[str, int] = {}  # of what is written inside others, in names
        self.inline = {}
        for eq in self.known:
            role, total = self.label(eq.name).role, sum(length.get(operand, 1) for operand in _read(eq.node))
            short = role or eq.name in self.silent or total <= LONGEST
            if not eq.shown and eq.name not in self.called and eq.name not in stacks and short:
                self.inline[eq.name], length[eq.name] = eq.node, 1 if role else total
        self._take()

    def _take(self) -> None:
        """Write tangents of nameless values that are given here as the link makes them that gives them."""
        before = (eq for rec in self.earlier[2:] for eq in rec.equations())
        made = {self.mark(eq.name): eq.name for eq in before if eq.name in self.silent and eq.name in self.inline}
        for name in self.rec.inputs:
            mark, value = self.mark(name)
            if mark == "dot" and (mark, value) in made and self.is_nameless(value):
                self.inline[name] = self.inline[made[mark, value]]
                self.silent.add(name)

    def is_nameless(self, value: str) -> bool:
        """Say whether a value has no name: none of its author's, no role, and no letter."""
        label = self.label(value)
        return label.kind == "part" and label.role not in ("normalised", "std") and value not in self.called and value not in self.split

    @property
    def known(self) -> tuple[Equation, ...]:
        """The equations, those of the links that it reads first; what it takes out of a whole that one of them keeps is theirs."""
        found: list[Equation] = []
        for rec in (*self.earlier, self.rec):
            made = {eq.name for eq in found}
            found += (eq for eq in rec.equations() if not (isinstance(eq.node, Slice) and {eq.name, eq.node.value} <= made))
        return tuple(found)

    def label(self, name: str) -> Label:
        return self.labels.get(name, Label("part"))

    @abstractmethod
    def node(self, node: Node) -> tuple[str, int]:
        """Return the formula of a node and how tightly it binds."""

    @abstractmethod
    def written(self, name: str) -> tuple[str, int]:
        """Return the formula of what is written where it is read, and how tightly that binds."""

    def name(self, name: str, *, inline: bool = True) -> str:
        """Return what a value is called; with `inline` false, what stands on the left of its equation."""
        label, style = self.label(name), self.style
        if name in self.called:
            return style.name(self.called[name], self.time(name))
        if inline and self.is_inside(name):
            return self.inlined(name)[0]
        mark, value = self.mark(name)
        if mark in ("dot", "bars") and label.kind != "part":
            return self.marked(name, mark, value)
        match label.kind:
            case "own":
                return style.current(name) if self.read(name) else style.name(name, self.time(name))
            case "previous":
                return style.name(label.of, "t-1")
            case "preactivation":
                return style.argument(self.letter, label.of, "t", self.numbers.get(name, 0))
            case "seed":
                return style.seed(self.name(label.of))
            case "carried":
                return style.carried(style.barred_name(label.of, "t"))
            case "cotangent":
                return self.cotangent(label.of)
        return style.name(name, self.time(name)) if name not in self.inline else self.inlined(name)[0]

    def is_inside(self, name: str) -> bool:
        """Say whether a value is written where it is read."""
        return name in self.inline and (self.label(name).kind in ("part", "preactivation") or name in self.silent)

    def inlined(self, name: str) -> tuple[str, int]:
        """Return how a value without a name of its own is written, and how tightly that binds."""
        label = self.label(name)
        match label.role:
            case "mean":
                return self.style.apply("mean", self.name(label.of)), ATOM
            case "std":
                return self.style.sigma(*self.author(label.of)), ATOM
            case "normalised":
                return self.style.hatted_name(*self.author(label.of)), ATOM
        return self.written(name)

    def author(self, name: str) -> tuple[str, str]:
        """Return the identifier and the time of what has a name, its author's or one that it is called by."""
        label = self.label(name)
        return (label.of, "t-1") if label.kind == "previous" else (self.called.get(name, name), self.time(name))

    def read(self, name: str) -> bool:
        """Say whether a name is an input of numbers, which is written with its step."""
        return name in self.cell.inputs and name not in self.cell.integers

    def time(self, name: str) -> str:
        kind = self.types.get(name)
        return "t" if kind is not None and kind.batched and name not in (*self.rec.contexts, *self.cell.context) else ""

    # Cotangents and tangents

    def mark(self, name: str) -> Mark:
        """Return what a value is of another one, and that: see `calculus.shown.mark`."""
        first = self.earlier[1] if len(self.earlier) > 1 else self.rec
        return mark(name, self.label, first.types)

    def cotangent(self, of: str) -> str:
        """Return how the cotangent of a value is written: that of a static one is a gradient."""
        label, style = self.label(of), self.style
        kind = self.types.get(of)
        if label.kind == "own" and kind is not None and (not kind.batched or of in self.cell.context):
            return style.nabla(style.name(of))
        if label.kind == "preactivation":
            return style.delta(label.of, "t", self.numbers.get(of, 0))
        if of in self.called and not self.time(of):
            return style.nabla(style.name(self.called[of]))
        text = self.over("bar", of)
        return style.carried(text) if label.kind == "previous" else text

    def marked(self, name: str, mark: str, value: str) -> str:
        """Return how a tangent, or the tangent of a cotangent, is written."""
        label = self.label(name)
        if mark == "bars" and label.kind == "seed" and self.mark(label.of)[0] == "dot":
            return self.style.seed(self.name(value), "dot")
        return self.style.raised(self.over(mark, value), self.signs(name, mark, value))

    def over(self, mark: str, value: str) -> str:
        """Return a value with a mark."""
        label, style = self.label(value), self.style
        if value in self.called or label.kind in ("own", "previous"):
            return style.marked_name(mark, *self.author(value))
        if label.kind == "preactivation":
            return style.argument(self.letter, label.of, "t", self.numbers.get(value, 0), mark)
        if value in self.split:
            return style.concat([self.over(mark, part.name) for part in self.split[value]])
        if label.role == "normalised":
            return style.hatted_name(*self.author(label.of), mark)
        return style.sigma(*self.author(label.of), mark) if label.role == "std" else style.marked(mark, self.name(value))

    def part(self, node: Slice) -> str:
        """Return how a part of a marked vector is written, if that part has a name of its own; else nothing."""
        mark, value = self.mark(node.value)
        names = (eq.name for eq in self.split.get(value, ()) if eq.node == replace(node, value=value))
        return next((self.style.raised(self.over(mark, name), self.signs(node.value, mark, value)) for name in names if mark), "")

    def signs(self, name: str, mark: str, value: str) -> str:
        """Return the signs that say which part of the tangent of a cotangent a value is: what later steps hand back (``+``), what comes
        through the backward pass alone (``0``), or what is to be added to that (``1``).
        """
        label = self.label(name)
        if mark != "bars":
            return ""
        maker = next(rec for rec in (*self.earlier, self.rec) if name in rec.types)
        carried = label.kind == "carried" or self.label(value).kind == "previous"
        direct = label.kind == "seed" or (not self.mark(label.of)[0] and not maker.reverse)
        return "+" * carried + "0" * direct + "1" * (name in self.apart)
