"""Reverse-mode differentiation of a recurrence: one table of rules, and the accumulation over steps.

The adjoint of a recurrence is a recurrence in the other direction.  It pairs carry-in with carry-out, sequences written with sequences
read, and static inputs with accumulators:

| forward              | adjoint                            |
|----------------------|------------------------------------|
| carry ``s_prev → s`` | carry ``ds_next → ds_prev``        |
| written ``y``        | sequence read ``dy``               |
| sequence read ``x``  | written ``dx``                     |
| static ``W``         | accumulator ``dW = Σ_t Σ_b …``     |
| context ``v``        | accumulator ``dv = Σ_t …``         |
| accumulator ``A``    | static input ``dA``                |

So `adjoint` applies to its own result, which gives second-order gradients.  Forward values that it reads are its sequences: what a
tape has to keep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import sympy as sp

from ..language.sizes import Size
from . import functions as fn
from .choices import NONE, Guard, guarded, guards, selected
from .ir import (
    VIEWS,
    Along,
    AxisSum,
    Carry,
    Clipped,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    Label,
    LogSumExp,
    Map,
    Node,
    Outer,
    Pick,
    Recurrence,
    Repeat,
    Spread,
    Total,
    Transpose,
    Type,
    downstream,
    free_names,
    prune,
    validate,
)
from .layers import Layer, layers
from .rowfunctions import Across, RowFunction
from .symbols import is_constant, is_extent
from .vjp import PART, RULES, Contribution, Made, Placed


@dataclass(frozen=True)
class Adjoint:
    """The adjoint of a recurrence.

    Attributes
    ----------
    recurrence : Recurrence
    cotangent : mapping
        From a name of the recurrence that was differentiated to the name of its cotangent: of each seeded value (a sequence read), of
        each result (a static input), and of each input that was differentiated by (a sequence written, or a result).  States need no
        entry: carry number k of the adjoint takes the cotangent of state k after the last step to its cotangent before the first.
    """

    recurrence: Recurrence
    cotangent: Mapping[str, str]


def adjoint(
    rec: Recurrence,
    seeds: Iterable[str] | None = None,
    wrt: Collection[str] | None = None,
    tag: str = "B",
    taken: Iterable[str] = (),
) -> Adjoint:
    """Return the adjoint of `rec`.

    Parameters
    ----------
    rec : Recurrence
    seeds : names, optional
        The written values whose cotangents are given; all by default.  Every carried state and every result is seeded too.
    wrt : names, optional
        The inputs (statics, contexts, sequences) to differentiate by; all that are no indices by default.  States before the first
        step always are.
    tag : str
        Letter of the tags: B1, B2 …
    taken : names, optional
        That new values cannot have, beside those of `rec`.

    Raises
    ------
    ValueError
        If a seed is not written by `rec`.
    """
    seeds = rec.written if seeds is None else tuple(seeds)
    if unknown := [s for s in seeds if s not in rec.written]:
        raise ValueError(f"{rec.name}: cotangents are given for {unknown}, which are not written (written: {list(rec.written)})")
    given = (*rec.statics, *rec.contexts, *rec.sequences)
    wrt = tuple(name for name in given if not rec.types[name].integer and (wrt is None or name in wrt))
    return _Reverse(rec, seeds, wrt, tag, taken).adjoint()


class _Reverse:
    """State of the reverse sweep: what has been contributed to each cotangent, and the equations made so far."""

    def __init__(self, rec: Recurrence, seeds: tuple[str, ...], wrt: tuple[str, ...], tag: str, taken: Iterable[str]) -> None:
        self.rec, self.seeds, self.wrt, self.tag = rec, seeds, wrt, tag
        self.types, self.labels = dict(rec.types), dict(rec.labels)
        self.names = rec.names(*taken)
        self.active = downstream(rec.equations(), {*wrt, *(c.previous for c in rec.carries)})
        self.guards = guards(rec, seeds)
        self.contributions: dict[str, list[sp.Expr]] = defaultdict(list)
        self.outers: dict[str, list[Outer]] = defaultdict(list)  # sums over steps and batch
        self.slices: dict[str, Layer] = defaultdict(list)
        self.equations: list[Equation] = []
        self.made: dict[tuple[Node, Type], str] = {}  # by what those equations say
        self.across: dict[sp.Expr, Across] = {}  # by contribution, what normalisations hand on
        self.sums: set[str] = set()  # over an axis of a matrix
        self.laid: set[str] = set()  # vectors along an axis, which are no memory that could be summed
        self.cotangent: dict[str, str] = {}
        self.values = {
            eq.node.expr: sp.Symbol(eq.name)
            for eq in rec.equations()
            if isinstance(eq.node, Map) and isinstance(eq.node.expr, fn.Elementwise)
        }
        self.count = 0

    # The three stages

    def adjoint(self) -> Adjoint:
        rec = self.rec
        given = tuple(self.receive(name, f"d{name}", Label("cotangent", name)) for name in rec.results)
        self.sweep(rec.epilogue)
        prologue = self.take()

        carried = [self.receive(c.value, f"d{c.value}_next", Label("carried", c.value)) for c in rec.carries]
        seeded = tuple(self.receive(name, f"d{name}_out", Label("seed", name)) for name in self.seeds)
        self.sweep(rec.accumulators)
        self.sweep(rec.body)
        carries = tuple(Carry(into, self.finish(c.previous)) for into, c in zip(carried, rec.carries, strict=True))
        written = {name: self.finish(name) for name in rec.sequences if name in self.wrt}
        totals = self.static_totals()
        made = self.take()
        prologue += [eq for eq in made if not self.types[eq.name].batched]  # of cotangents of sums alone: the same at every step
        accumulators = self.accumulate(totals)
        made = self.laid_out(made, accumulators)

        self.sweep(rec.prologue)
        results = {name: self.finish(name) for name in (*rec.statics, *rec.contexts) if name in self.wrt}
        self.cotangent |= written | results
        found = Recurrence(
            name=f"{rec.name}_adjoint",
            reverse=not rec.reverse,
            types=self.types,
            labels=self.labels,
            constants=rec.constants,
            results=tuple(results.values()),
            carries=carries,
            prologue=(*rec.prologue, *rec.epilogue, *prologue),  # recomputed: static equations cost nothing beside the loop
            body=tuple(eq for eq in made if self.types[eq.name].batched),
            accumulators=tuple(accumulators),
            epilogue=tuple(self.take()),
            written=tuple(written.values()),
            heads=rec.heads,
            sparse=rec.sparse,
        )
        return Adjoint(validate(prune(self.reading(found, given, seeded))), dict(self.cotangent))

    def reading(self, found: Recurrence, given: tuple[str, ...], seeded: tuple[str, ...]) -> Recurrence:
        """Return the adjoint with all that its equations read: cotangents of results and seeds, and forward values."""
        own = {c.previous for c in found.carries}
        free = [n for n in free_names(found.equations()) if n not in own]
        statics = [n for n in given if not self.types[n].batched] + [n for n in free if not self.types[n].batched]
        contexts = [n for n in given if self.types[n].batched]  # the gradient of a context has a row a sequence
        contexts += [n for n in free if n in self.rec.contexts]
        saved = [n for n in free if self.types[n].batched and n not in contexts and n not in seeded]
        return replace(found, statics=tuple(dict.fromkeys(statics)), contexts=tuple(contexts), sequences=(*seeded, *saved))

    def laid_out(self, made: list[Equation], sums: list[Equation]) -> list[Equation]:
        """Return a step's equations after those that show values of the forward pass which they read: these values are what is kept."""
        free, shown = {*free_names((*made, *sums))}, list[Equation]()
        for eq in reversed(self.rec.body):
            if isinstance(eq.node, VIEWS) and eq.name in free:
                shown.insert(0, eq)
                free.update(eq.node.operands())
        return shown + made

    def take(self) -> list[Equation]:
        """Return the equations made since the last call."""
        made, self.equations, self.made = self.equations, [], {}
        return made

    # Cotangents

    def receive(self, name: str, wish: str, label: Label) -> str:
        """Make a cotangent that is given from outside the sweep, and contribute it to `name`."""
        given = self.names.fresh(wish)
        self.types[given], self.labels[given] = self.types[name], label
        self.contributions[name].append(sp.Symbol(given))
        if label.kind != "carried":
            self.cotangent[name] = given
        return given

    def sweep(self, equations: tuple[Equation, ...]) -> None:
        """Propagate cotangents through `equations`, last first."""
        for eq in reversed(equations):
            if eq.name in self.active and (self.contributions[eq.name] or eq.name in self.slices):
                sign, dy = self.complete(eq)
                for name, contribution in RULES[type(eq.node)](self, eq, dy):
                    self.contribute(name, contribution, sign)

    def contribute(self, name: str, contribution: sp.Expr | Contribution, sign: int) -> None:
        """Contribute to the cotangent of `name`, if that is wanted."""
        if name not in self.active:
            return
        match contribution:
            case Outer(left=left, right=right) if self.types[left].batched or self.types[right].batched:
                self.outers[name].append(contribution)
            case Outer(left=left, right=right) if self.in_common(name, left, right):
                each = self.part(contribution, f"d{name}_each", replace(self.types[name], batched=False, headed=True))
                self.contribute(name, Made(HeadSum(each.name), f"d{name}", batched=False), sign)
            case Outer():
                self.contribute(name, Made(contribution, f"d{name}", batched=False), sign)
            case Made(node=node, wish=wish, batched=batched):
                label = Label("part", name) if sign > 0 else PART
                self.contributions[name].append(sign * self.part(node, wish, replace(self.types[name], batched=batched), label))
            case Placed(part=part, cotangent=dy):
                self.slices[name].append((part, dy))
            case _ if contribution != 0:
                self.contributions[name].append(sign * contribution)

    def in_common(self, name: str, *by: str) -> bool:
        """Say whether a value that all heads have in common gets something of what each has."""
        return not self.types[name].headed and any(self.types[other].headed for other in by)

    def complete(self, eq: Equation) -> tuple[int, str]:
        """Return sign and name of the complete cotangent of an equation: its only contribution, where that can stand for it, or an
        equation for the sum of contributions.
        """
        sliced = eq.name in self.slices
        terms, kind = self.terms(eq.name), self.types[eq.name]
        if len(terms) == 1:
            sign = 1 if isinstance(terms[0], sp.Symbol) else -1
            symbol = sign * terms[0]
            if isinstance(symbol, sp.Symbol) and self.stands_for(eq, symbol.name, sign, sliced):
                return sign, str(symbol.name)
        label = Label("cotangent", eq.name)
        shown = not isinstance(eq.node, VIEWS) or self.labels[eq.name].kind != "part"  # of a view people know what it shows
        return 1, self.define(self.cotangent_name(eq.name), self.whole(terms), kind, label if shown else PART, shown=shown)

    def whole(self, terms: list[sp.Expr]) -> Node:
        """Return the node of the sum of contributions; what a normalisation hands on keeps its own, which has a rule of its own."""
        total = sp.Add(*terms)
        return self.across.get(total) or Map(total)

    def stands_for(self, eq: Equation, given: str, sign: int, sliced: bool) -> bool:
        """Say whether the only contribution to a cotangent can stand for it.

        A minus, and a number for all features, pass through what is a part of a line, and through what only moves a value about.  Else it
        is a contribution of the same kind; but a sum over features that is the cotangent of a number with a name has a line of its own, as
        many others read it.
        """
        kind, own = self.types[eq.name], self.labels[eq.name].kind
        if sp.Symbol(given) in self.across or (isinstance(eq.node, Clipped) and sign < 0):
            return False  # it is a line of its own; clipping does not let a sign pass
        other = self.types[given]
        if not sliced and (other.batched, other.headed) == (kind.batched, kind.headed):
            whole = isinstance(eq.node, (*VIEWS, HeadSum, AxisSum, FeatureSum, LogSumExp, RowFunction, Transpose, Pick, Spread))
            if other == kind if whole else isinstance(eq.node, Map) and own == "part":
                return True
        summed = (not kind.shape or given in self.sums) and own == "own" and self.labels[given].kind == "part"
        return sign > 0 and other == kind and not summed

    def terms(self, name: str) -> list[sp.Expr]:
        """Take the contributions to the cotangent of `name`; those of slices become vectors."""
        for layer in layers(self.slices.pop(name, [])):
            self.contributions[name].append(self.joined(name, layer))
        return self.contributions.pop(name, [])

    def joined(self, name: str, parts: Layer) -> sp.Symbol:
        """Return the vector that has the cotangents of `parts` in their places and zero elsewhere."""
        whole, kind = self.types[name].shape, replace(self.types[name], batched=self.types[parts[0][1]].batched)
        names, end = [], Size()

        def zeros(size: Size) -> list[str]:
            return [] if size == Size() else [self.part(Map(sp.S.Zero), "zeros", replace(kind, shape=(size, *whole[1:]))).name]

        for part, dy in reversed(parts):  # each was put before those that stand in the list already
            names += [*zeros(part.start + end * -1), dy]
            end = part.start + part.size
        names += zeros(whole[0] + end * -1)
        return self.part(Concat(tuple(names)), f"d{name}_part", kind, Label("part", name))

    def cotangent_name(self, name: str) -> str:
        label = self.labels[name]
        return self.names.fresh(f"delta_{label.of}" if label.kind == "preactivation" else f"d{name}")

    def finish(self, name: str) -> str:
        """Return the name of an input's complete cotangent: in an equation of its own even if it is zero or a mere copy, unless a sum over
        steps is it already.
        """
        terms, label = self.terms(name), Label("cotangent", name)
        if len(terms) == 1 and isinstance(terms[0], sp.Symbol) and self.labels[terms[0].name] == label:
            return str(terms[0].name)
        return self.define(self.cotangent_name(name), self.whole(terms), self.types[name], label, shown=True)

    def static_totals(self) -> dict[str, str]:
        """Name the step's contribution to each static and context value; return them by that value."""
        rec = self.rec
        static = {*rec.statics, *rec.contexts, *(eq.name for eq in rec.prologue)}
        totals = {}
        for name in [n for n in self.contributions if n in static and self.contributions[n]]:
            steps = [t for t in self.contributions[name] if self.step_value(t)]
            if not steps:
                continue
            self.contributions[name] = [t for t in self.contributions[name] if not self.step_value(t)]
            kind = replace(self.types[name], batched=True)
            alone = len(steps) == 1 and isinstance(steps[0], sp.Symbol) and steps[0].name not in self.laid
            if alone and self.types[steps[0].name].shape == kind.shape:
                totals[name] = str(steps[0].name)
            else:
                wish = f"{self.cotangent_name(name)}_step"
                totals[name] = self.define(self.names.fresh(wish), Map(sp.Add(*steps)), kind, Label("part", name))
        return totals

    def step_value(self, expr: sp.Expr) -> bool:
        """Say whether a contribution is a value of each step, to be summed, and not a static one."""
        return any(self.types[n].batched for n in Map(expr).operands())

    def accumulate(self, totals: dict[str, str]) -> list[Equation]:
        """Return the sums over steps that static and context values receive, and contribute them."""
        made = []
        sums: list[tuple[str, Node]] = [(name, outer) for name, outers in self.outers.items() for outer in outers]
        sums += [(name, Total(value)) for name, value in totals.items()]
        self.outers.clear()
        given = (*self.rec.statics, *self.rec.contexts)
        sums.sort(key=lambda item: given.index(item[0]) if item[0] in given else len(given))  # in the author's order
        views = {eq.name for eq in self.rec.prologue if isinstance(eq.node, VIEWS)}  # of which people know what is shown
        for name, node in sums:
            total, shown = self.cotangent_name(name), name not in views
            self.types[total], self.labels[total] = self.types[name], Label("cotangent", name) if shown else PART
            self.contributions[name].append(sp.Symbol(total))
            made.append(Equation(total, node, self.next_tag() if shown else "", shown))
        return made

    def define(self, name: str, node: Node, kind: Type, label: Label, *, shown: bool = False) -> str:
        """Add an equation and return its name; a shown one gets the next tag, one that is not shown is the equal one made before if
        there is.
        """
        if not shown and (node, kind) in self.made:
            known = self.made[node, kind]
            if self.labels[known] != label and not self.labels[known].role and self.labels[known].kind == "part":
                self.labels[known] = PART  # a contribution to several cotangents is that of none
            return known
        self.made.setdefault((node, kind), name)
        self.types[name], self.labels[name] = kind, label
        if isinstance(node, Across):
            self.across[sp.Symbol(name)] = node
        if isinstance(node, AxisSum | Along | Repeat):
            (self.sums if isinstance(node, AxisSum) else self.laid).add(name)
        self.equations.append(Equation(name, node, self.next_tag() if shown else "", shown))
        return name

    def next_tag(self) -> str:
        self.count += 1
        return f"{self.tag}{self.count}"

    # What the rules use

    def part(self, node: Node, wish: str, kind: Type, label: Label = PART) -> sp.Symbol:
        """Name an intermediate value."""
        return sp.Symbol(self.define(self.names.fresh(wish), node, kind, label))

    def reuse(self, expr: sp.Expr, eq: Equation) -> sp.Expr:
        """Write the values of functions that forward equations have named by those names; for a static equation, static ones only."""
        batched = self.types[eq.name].batched
        return expr.xreplace({value: name for value, name in self.values.items() if batched or not self.types[name.name].batched})

    def through(self, eq: Equation, dy: str, slope: sp.Expr) -> sp.Expr:
        """Return the cotangent `dy` of an equation times a slope, where a choice falls on the branch that reads the equation's value.

        A slope that is a number, or made of parameters, is finite: it may be multiplied by the zero that `dy` is elsewhere.
        """
        term = selected(sp.Symbol(dy) * slope)
        if all(is_extent(s) or is_constant(s) or s.name in self.rec.statics for s in slope.free_symbols):
            return term
        return self.guarded(eq, term)

    def guarded(self, eq: Equation, term: sp.Expr) -> sp.Expr:
        """Return a contribution of an equation where a choice falls on the branch that reads the equation's value, and zero elsewhere."""
        return guarded(term, frozenset(self.named(g, eq) for g in self.guards.get(eq.name, NONE)))

    def named(self, guard: Guard, eq: Equation) -> Guard:
        return replace(guard, condition=self.reuse(guard.condition, eq))
