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
    Carry,
    Concat,
    Equation,
    FeatureSum,
    Label,
    LogSumExp,
    Map,
    Node,
    Outer,
    Pick,
    Recurrence,
    Slice,
    Spread,
    Total,
    Type,
    free_names,
    is_extent,
    prune,
    validate,
)
from .vjp import RULES


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


def adjoint(rec: Recurrence, seeds: Iterable[str] | None = None, wrt: Collection[str] | None = None, tag: str = "B") -> Adjoint:
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
    return _Reverse(rec, seeds, wrt, tag).adjoint()


def _active(rec: Recurrence, wrt: Iterable[str]) -> set[str]:
    """Return the names that depend on `wrt` or on a state before the first step."""
    active = {*wrt, *(c.previous for c in rec.carries)}
    for eq in rec.equations():
        if not active.isdisjoint(eq.node.operands()):
            active.add(eq.name)
    return active


class _Reverse:
    """State of the reverse sweep: what has been contributed to each cotangent, and the equations made so far."""

    def __init__(self, rec: Recurrence, seeds: tuple[str, ...], wrt: tuple[str, ...], tag: str) -> None:
        self.rec, self.seeds, self.wrt, self.tag = rec, seeds, wrt, tag
        self.types, self.labels = dict(rec.types), dict(rec.labels)
        self.names = rec.names()
        self.active = _active(rec, wrt)
        self.guards = guards(rec, seeds)
        self.contributions: dict[str, list[sp.Expr]] = defaultdict(list)
        self.outers: dict[str, list[Outer]] = defaultdict(list)  # sums over steps and batch
        self.slices: dict[str, list[tuple[Slice, str]]] = defaultdict(list)
        self.equations: list[Equation] = []
        self.made: dict[tuple[Node, Type], str] = {}  # by what those equations say
        self.cotangent: dict[str, str] = {}
        self.values = {
            eq.node.expr: sp.Symbol(eq.name)
            for eq in rec.equations()
            if isinstance(eq.node, Map) and isinstance(eq.node.expr, fn.Elementwise)
        }
        self.count = 0
        self.sign = 1

    # The three stages

    def adjoint(self) -> Adjoint:
        rec = self.rec
        result_cotangents = tuple(self.receive(name, f"d{name}", Label("cotangent", name)) for name in rec.results)
        self.sweep(rec.epilogue)
        prologue = self.take()

        carried = [self.receive(c.value, f"d{c.value}_next", Label("carried", c.value)) for c in rec.carries]
        seeded = tuple(self.receive(name, f"d{name}_out", Label("seed", name)) for name in self.seeds)
        self.sweep(rec.accumulators)
        self.sweep(rec.body)
        carries = tuple(Carry(into, self.finish(c.previous, state=True)) for into, c in zip(carried, rec.carries, strict=True))
        written = tuple(self.finish(name) for name in rec.sequences if name in self.wrt)
        totals = self.static_totals()
        made = self.take()
        prologue += [eq for eq in made if not self.types[eq.name].batched]  # of cotangents of sums alone: the same at every step
        body = [eq for eq in made if self.types[eq.name].batched]
        accumulators = self.accumulate(totals)

        self.sweep(rec.prologue)
        results = tuple(self.finish(name, static=True) for name in (*rec.statics, *rec.contexts) if name in self.wrt)
        return self.assemble(prologue, body, accumulators, self.take(), carries, written, results, seeded, result_cotangents)

    def assemble(
        self,
        prologue: list[Equation],
        body: list[Equation],
        accumulators: list[Equation],
        epilogue: list[Equation],
        carries: tuple[Carry, ...],
        written: tuple[str, ...],
        results: tuple[str, ...],
        seeded: tuple[str, ...],
        result_cotangents: tuple[str, ...],
    ) -> Adjoint:
        rec = self.rec
        prologue = [*rec.prologue, *rec.epilogue, *prologue]  # recomputed: static equations cost nothing beside the loop
        defined = {eq.name for eq in (*prologue, *body, *accumulators)}
        outside = {c.previous for c in carries} | defined
        free = [n for n in free_names((*prologue, *body, *accumulators, *epilogue)) if n not in outside]
        statics = [n for n in result_cotangents if not self.types[n].batched]
        statics += [n for n in free if not self.types[n].batched and n not in statics]
        contexts = [n for n in result_cotangents if self.types[n].batched]  # the gradient of a context has a row a sequence
        contexts += [n for n in free if n in rec.contexts]
        saved = [n for n in free if self.types[n].batched and n not in contexts and n not in seeded]
        recurrence = Recurrence(
            name=f"{rec.name}_adjoint",
            reverse=not rec.reverse,
            types=self.types,
            labels=self.labels,
            statics=tuple(statics),
            contexts=tuple(contexts),
            sequences=(*seeded, *saved),
            carries=carries,
            prologue=tuple(prologue),
            body=tuple(body),
            accumulators=tuple(accumulators),
            epilogue=tuple(epilogue),
            written=written,
            results=results,
        )
        return Adjoint(validate(prune(recurrence)), dict(self.cotangent))

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
                self.sign, dy = self.signed(eq)
                RULES[type(eq.node)](self, eq, dy)
                self.sign = 1

    def signed(self, eq: Equation) -> tuple[int, str]:
        """Return sign and name of the cotangent of an equation: the minus of a mere ``-v`` passes through what only moves it about."""
        terms, kind = self.contributions[eq.name], self.types[eq.name]
        if len(terms) == 1 and eq.name not in self.slices:
            sign = 1 if isinstance(terms[0], sp.Symbol) else -1
            symbol = sign * terms[0]
            known = isinstance(symbol, sp.Symbol) and self.types[symbol.name].batched == kind.batched
            inside = isinstance(eq.node, Map) and self.labels[eq.name].kind == "part"  # whose cotangent may be a number for all features
            moved = isinstance(eq.node, FeatureSum | LogSumExp | Pick | Spread) and known and self.types[symbol.name] == kind
            if known and (inside or moved):
                del self.contributions[eq.name]
                return sign, str(symbol.name)
        return 1, self.settle(eq.name)

    def settle(self, name: str) -> str:
        """Return the name of the complete cotangent of `name`: an equation for the sum of contributions, or the only contribution
        itself.  A sum over features that is the cotangent of a number with a name has a line of its own, as many others read it.
        """
        terms, kind = self.terms(name), self.types[name]
        if len(terms) == 1 and isinstance(terms[0], sp.Symbol) and self.types[terms[0].name] == kind:
            unnamed = self.labels[terms[0].name].kind == "part"
            if kind.shape or not unnamed or self.labels[name].kind != "own":
                return str(terms[0].name)
        return self.define(self.cotangent_name(name), Map(sp.Add(*terms)), kind, Label("cotangent", name), shown=True)

    def terms(self, name: str) -> list[sp.Expr]:
        """Take the contributions to the cotangent of `name`; those of slices become one vector."""
        layers: list[list[tuple[Slice, str]]] = []
        for part, dy in self.slices.pop(name, []):
            free = next((layer for layer in layers if _ends_before(part, layer[-1][0])), None)
            if free is None:
                layers.append(free := [])
            free.append((part, dy))
        for layer in layers:
            self.contributions[name].append(self.joined(name, layer))
        return self.contributions.pop(name, [])

    def joined(self, name: str, parts: list[tuple[Slice, str]]) -> sp.Symbol:
        """Return the vector that has the cotangents of `parts` in their places and zero elsewhere."""
        whole, kind = self.types[name].shape, Type(self.types[name].shape, self.types[parts[0][1]].batched)
        names, end = [], Size()

        def zeros(size: Size) -> list[str]:
            return [] if size == Size() else [self.part(Map(sp.S.Zero), "zeros", Type((size, *whole[1:]), kind.batched)).name]

        for part, dy in reversed(parts):  # each was put before those that stand in the list already
            names += [*zeros(part.start + end * -1), dy]
            end = part.start + part.size
        names += zeros(whole[0] + end * -1)
        return self.part(Concat(tuple(names)), f"d{name}_part", kind)

    def cotangent_name(self, name: str) -> str:
        label = self.labels[name]
        return self.names.fresh(f"delta_{label.of}" if label.kind == "preactivation" else f"d{name}")

    def finish(self, name: str, *, state: bool = False, static: bool = False) -> str:
        """Return the name of an input's complete cotangent, in an equation of its own even if it is zero or a mere copy."""
        terms = self.terms(name)
        if static and len(terms) == 1 and isinstance(terms[0], sp.Symbol) and self.labels[terms[0].name] == Label("cotangent", name):
            self.cotangent[name] = terms[0].name
            return terms[0].name
        kind = self.types[name]
        self.cotangent[name] = self.define(self.cotangent_name(name), Map(sp.Add(*terms)), kind, Label("cotangent", name), shown=True)
        return self.cotangent[name]

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
            kind = Type(self.types[name].shape, True)
            if len(steps) == 1 and isinstance(steps[0], sp.Symbol) and self.types[steps[0].name].shape == kind.shape:
                totals[name] = str(steps[0].name)
            else:
                totals[name] = self.define(f"{self.cotangent_name(name)}_step", Map(sp.Add(*steps)), kind, Label("part"))
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
        for name, node in sums:
            total = self.cotangent_name(name)
            self.types[total], self.labels[total] = self.types[name], Label("cotangent", name)
            self.contributions[name].append(sp.Symbol(total))
            made.append(Equation(total, node, self.next_tag()))
        return made

    def define(self, name: str, node: Node, kind: Type, label: Label, *, shown: bool = False) -> str:
        """Add an equation and return its name; a shown one gets the next tag, one that is not shown is the equal one made before if
        there is.
        """
        if not shown and (node, kind) in self.made:
            return self.made[node, kind]
        self.made.setdefault((node, kind), name)
        self.types[name], self.labels[name] = kind, label
        self.equations.append(Equation(name, node, self.next_tag() if shown else "", shown))
        return name

    def next_tag(self) -> str:
        self.count += 1
        return f"{self.tag}{self.count}"

    # What the rules use

    def part(self, node: Node, wish: str, kind: Type) -> sp.Symbol:
        """Name an intermediate value."""
        return sp.Symbol(self.define(self.names.fresh(wish), node, kind, Label("part")))

    def add(self, name: str, term: sp.Expr) -> None:
        """Contribute `term` to the cotangent of `name`, if that is wanted."""
        if name in self.active and term != 0:
            self.contributions[name].append(self.sign * term)

    def add_node(self, name: str, node: Node, wish: str, batched: bool) -> None:
        """Contribute a node's value to the cotangent of `name`."""
        if name in self.active:
            self.contributions[name].append(self.sign * self.part(node, wish, Type(self.types[name].shape, batched)))

    def add_outer(self, name: str, left: str, right: str) -> None:
        """Contribute an outer product (summed over steps and batch, if its operands vary) to a matrix's cotangent."""
        if name not in self.active:
            return
        if self.types[left].batched or self.types[right].batched:
            self.outers[name].append(Outer(left, right))
        else:
            self.add_node(name, Outer(left, right), f"d{name}", False)

    def reuse(self, expr: sp.Expr, eq: Equation) -> sp.Expr:
        """Write the values of functions that forward equations have named by those names; for a static equation, static ones only."""
        batched = self.types[eq.name].batched
        return expr.xreplace({value: name for value, name in self.values.items() if batched or not self.types[name.name].batched})

    def through(self, eq: Equation, dy: str, slope: sp.Expr) -> sp.Expr:
        """Return the cotangent `dy` of an equation times a slope, where a choice falls on the branch that reads the equation's value.

        A slope that is a number, or made of parameters, is finite: it may be multiplied by the zero that `dy` is elsewhere.
        """
        term = selected(sp.Symbol(dy) * slope)
        if all(is_extent(s) or s.name in self.rec.statics for s in slope.free_symbols):
            return term
        return guarded(term, frozenset(self.named(g, eq) for g in self.guards.get(eq.name, NONE)))

    def named(self, guard: Guard, eq: Equation) -> Guard:
        return replace(guard, condition=self.reuse(guard.condition, eq))


def _ends_before(part: Slice, other: Slice) -> bool:
    """Say whether `part` ends where `other` begins or earlier, whatever the sizes are."""
    gap = other.start - (part.start + part.size)
    return gap.constant >= 0 and all(k >= 0 for _, k in gap.terms)
