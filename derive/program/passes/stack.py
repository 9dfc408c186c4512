"""Stack matrices that share an operand, so that several products become one.

- ``W_i @ x``, ``W_f @ x`` …: one product of the stacked matrix, of which each value is a slice;
- ``W_i.T @ δ_i + W_f.T @ δ_f + …`` in one sum: one product with the concatenated cotangents;
- ``Σ_t δ_i x_tᵀ``, ``Σ_t δ_f x_tᵀ`` …: one sum of outer products, of which each gradient is a slice of rows; the same for plain sums.

Needs: nothing.  Leaves: `Concat` of matrices in the prologue, of cotangents in the body, slices in body and epilogue.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import replace
from itertools import combinations

import sympy as sp

from ...calculus.chain import Derivation
from ...calculus.ir import (
    Concat,
    Equation,
    Label,
    Map,
    MatVec,
    MatVecT,
    Node,
    Outer,
    Recurrence,
    Total,
    Type,
    prune,
    slices,
    validate,
)
from ...calculus.naming import Names
from ...language.sizes import Size
from .overlap import overlapped


def stack(derivation: Derivation) -> Derivation:
    """Return `derivation` with products that share an operand stacked."""
    order, joints = _order(derivation), dict[Node, str]()

    def named(rec: Recurrence, parts: tuple[str, ...]) -> str:
        return _named(joints, Concat(parts), _joint_name(parts), rec.types, rec.names(*joints.values()))

    return derivation.mapped(lambda rec: overlapped(_Stacking(rec, order, joints).stacked(), named))


def _named(joints: dict[Node, str], node: Node, wish: str, own: Container[str], names: Names) -> str:
    """Return the name of what is stacked: as another link calls the same, if the link has that name not as its `own`, else a new one."""
    if node not in joints or joints[node] in own:
        joints[node] = names.fresh(wish)
    return joints[node]


def _order(derivation: Derivation) -> dict[str, int]:
    """Return an order of the values of a whole chain, in which links concatenate: that in which they are made, but where two
    concatenations share some of their parts, these are the last of one and the first of the other.
    """
    made = {name: k for k, name in enumerate(dict.fromkeys(eq.name for link in derivation for eq in link.recurrence.body))}
    groups: dict[frozenset[str], None] = {}
    for link in derivation:
        lefts: dict[str, set[str]] = defaultdict(set)
        for eq in link.recurrence.accumulators:
            if isinstance(eq.node, Outer) and eq.node.left in made:
                lefts[eq.node.right].add(eq.node.left)
        groups |= dict.fromkeys(map(frozenset, lefts.values()))
    joined: dict[str, None] = {}
    for one, other in combinations(groups, 2):
        shared = one & other
        if shared and one - other and other - one and joined.keys().isdisjoint(one | other):
            joined |= dict.fromkeys(name for part in (one - other, shared, other - one) for name in sorted(part, key=made.__getitem__))
    return {name: k for k, name in enumerate((*joined, *(name for name in made if name not in joined)))}


class _Stacking:
    """A recurrence as far as it is stacked.

    `joints` are the names of what is stacked in the links of a chain: those that stack the same call it the same, and a name means one
    thing in all of them.
    """

    def __init__(self, rec: Recurrence, order: Mapping[str, int], joints: dict[Node, str]) -> None:
        self.rec, self.order, self.joints = rec, order, joints
        self.types, self.labels, self.names = dict(rec.types), dict(rec.labels), rec.names(*joints.values())
        self.prologue, self.body = list(rec.prologue), list(rec.body)
        self.accumulators, self.epilogue = list(rec.accumulators), list(rec.epilogue)
        self.made: dict[Node, str] = {}

    def stacked(self) -> Recurrence:
        self.products()
        self.transposed_products()
        self.sums()
        rec = replace(
            self.rec,
            types=self.types,
            labels=self.labels,
            prologue=tuple(self.prologue),
            body=tuple(self.body),
            accumulators=tuple(self.accumulators),
            epilogue=tuple(self.epilogue),
        )
        return validate(prune(rec))

    def name(self, node: Node, wish: str) -> str:
        return _named(self.joints, node, wish, self.types, self.names)

    def concat(self, parts: tuple[str, ...], level: list[Equation], position: int) -> str:
        """Return the name of the values `parts` one after the other, made once."""
        node = Concat(parts)
        if node not in self.made:
            first = self.types[parts[0]]
            rows = sum((self.types[p].shape[0] for p in parts), Size())
            name = self.name(node, _joint_name(parts))
            self.types[name] = replace(first, shape=(rows, *first.shape[1:]))
            self.labels[name] = Label("part")
            level.insert(position, Equation(name, node, shown=False))
            self.made[node] = name
        return self.made[node]

    def slices(self, whole: str, equations: list[Equation]) -> list[Equation]:
        """Return `equations`' values as slices of `whole`, in order."""
        nodes = slices(whole, (eq.name for eq in equations), self.types)
        return [replace(eq, node=node) for eq, node in zip(equations, nodes, strict=True)]

    def products(self) -> None:
        """Stack ``A @ v``, ``B @ v`` … into one product at the place of the first."""
        groups: dict[tuple[str, bool], list[Equation]] = defaultdict(list)
        for eq in self.body:
            if isinstance(eq.node, MatVec):
                groups[eq.node.vector, self.types[eq.node.matrix].headed].append(eq)
        for (vector, _), members in groups.items():
            if len(members) < 2:
                continue
            matrix = self.concat(tuple(eq.node.matrix for eq in members if isinstance(eq.node, MatVec)), self.prologue, len(self.prologue))
            whole = self.name(MatVec(matrix, vector), f"{matrix}_{vector}")
            kind = replace(self.types[members[0].name], shape=(self.types[matrix].shape[0],))
            self.types[whole], self.labels[whole] = kind, Label("part")
            at = self.body.index(members[0])
            self.body = [eq for eq in self.body if eq not in members]
            self.body[at:at] = [Equation(whole, MatVec(matrix, vector), members[0].tag, False), *self.slices(whole, members)]

    def transposed_products(self) -> None:
        """Stack ``A.T @ u + B.T @ v + …`` where nothing else reads the single products."""
        uses: dict[str, int] = defaultdict(int)
        for eq in self.rec.equations():
            for name in eq.node.operands():
                uses[name] += 1
        for name in self.rec.outputs:
            uses[name] += 1
        for eq in tuple(self.body):
            if not isinstance(eq.node, Map) or not eq.node.expr.is_Add:
                continue
            terms = {t.name for t in eq.node.expr.args if isinstance(t, sp.Symbol)}
            terms -= {s.name for t in eq.node.expr.args if not isinstance(t, sp.Symbol) for s in t.free_symbols}  # read once more
            members = [p for p in self.body if p.name in terms and uses[p.name] == 1 and isinstance(p.node, MatVecT)]
            members = [p for p in members if self.types[p.name] == self.types[eq.name]]
            members = [p for p in members if self.matrix(p).headed == self.matrix(members[0]).headed]
            if len(members) > 1:
                self.transposed_product(eq, self.in_order(members))

    def matrix(self, product: Equation) -> Type:
        assert isinstance(product.node, MatVecT)
        return self.types[product.node.matrix]

    def transposed_product(self, total: Equation, members: list[Equation]) -> None:
        nodes = [p.node for p in members if isinstance(p.node, MatVecT)]
        matrix = self.concat(tuple(n.matrix for n in nodes), self.prologue, len(self.prologue))
        vector = self.concat(tuple(n.vector for n in nodes), self.body, self.body.index(total))
        product = self.name(MatVecT(matrix, vector), f"{matrix}T_{vector}")
        self.types[product], self.labels[product] = self.types[total.name], Label("part")
        assert isinstance(total.node, Map)
        rest = total.node.expr - sp.Add(*(sp.Symbol(p.name) for p in members)) + sp.Symbol(product)
        at = self.body.index(total)
        self.body[at : at + 1] = [Equation(product, MatVecT(matrix, vector), shown=False), replace(total, node=Map(rest))]
        self.body = [eq for eq in self.body if eq not in members]

    def in_order(self, members: list[Equation]) -> list[Equation]:
        """Sort products by where their vector is made first, so that equal sets of vectors are concatenated alike."""

        def key(eq: Equation) -> int:
            assert isinstance(eq.node, MatVecT | Outer | Total)
            return self.order.get(eq.node.operands()[0 if isinstance(eq.node, Outer | Total) else 1], -1)

        return sorted(members, key=key)

    def sums(self) -> None:
        """Stack the sums over steps of outer products with one right operand, and the plain sums of what is concatenated anyway."""
        groups: dict[tuple[str, bool], list[Equation]] = defaultdict(list)
        for eq in self.accumulators:
            if isinstance(eq.node, Outer):
                groups[eq.node.right, self.types[eq.name].headed].append(eq)
        for (right, _), members in groups.items():
            if len(members) > 1:
                members = self.in_order(members)
                left = self.concat(tuple(eq.node.left for eq in members if isinstance(eq.node, Outer)), self.body, len(self.body))
                self.sum(members, Outer(left, right))
        for node, whole in tuple(self.made.items()):
            totals = self.totals()
            once = isinstance(node, Concat) and len(set(node.parts)) == len(node.parts)
            if self.types[whole].batched and isinstance(node, Concat) and once and all(p in totals for p in node.parts):
                self.sum([totals[p] for p in node.parts], Total(whole))
        for node, whole in tuple(self.made.items()):
            if isinstance(node, Concat) and any(isinstance(eq.node, Outer) and eq.node.left == whole for eq in self.accumulators):
                self.rest(node, whole)

    def rest(self, node: Concat, whole: str) -> None:
        """Take plain sums of some parts of a concatenation out of that of the whole, which the sum of outer products reads anyway."""
        left = {part: eq for part, eq in self.totals().items() if part in node.parts}
        if not left:
            return
        total = self.name(Total(whole), f"{whole}_sum")
        self.types[total], self.labels[total] = replace(self.types[whole], batched=False), Label("part")
        self.accumulators = [eq for eq in self.accumulators if eq not in left.values()]
        self.accumulators.append(Equation(total, Total(whole), shown=False))
        for part, piece in zip(node.parts, slices(total, node.parts, self.types), strict=True):
            if part in left:
                self.epilogue.insert(0, replace(left.pop(part), node=piece))

    def totals(self) -> dict[str, Equation]:
        """Return, by the value that is summed, the plain sums over all steps and sequences."""
        return {eq.node.value: eq for eq in self.accumulators if isinstance(eq.node, Total) and not self.types[eq.name].batched}

    def sum(self, members: list[Equation], node: Node) -> None:
        whole = self.name(node, _joint_name(tuple(eq.name for eq in members)))
        kind = self.types[members[0].name]
        rows = sum((self.types[eq.name].shape[0] for eq in members), Size())
        self.types[whole], self.labels[whole] = replace(kind, shape=(rows, *kind.shape[1:])), Label("part")
        at = self.accumulators.index(members[0])
        self.accumulators[at] = Equation(whole, node, members[0].tag, False)
        self.accumulators = [eq for eq in self.accumulators if eq not in members]
        self.epilogue[:0] = self.slices(whole, members)


def _joint_name(parts: tuple[str, ...]) -> str:
    """Return ``W_ifgo`` for ``W_i, W_f, W_g, W_o``; else the names joined."""
    matches = [re.fullmatch(r"(\w*?)_(\w{1,2})", p) for p in parts]
    heads = {m[1] for m in matches if m}
    if all(matches) and len(heads) == 1:
        return f"{heads.pop()}_{''.join(m[2] for m in matches if m)}"
    if sum(map(len, parts)) <= 20:
        return "_".join(parts)
    return "deltas" if all(p.startswith("d") for p in parts) else f"{parts[0]}_to_{parts[-1]}"
