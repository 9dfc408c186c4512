"""What is a scalar, a vector or a matrix: the ranks of a cell's names, as a least fixpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .sizes import Shape
from .tree import Assignment, Call, Concat, Expr, MatMul, Name, Number, Transpose
from .walks import children, is_elementwise, walk


@dataclass(frozen=True)
class Declarations:
    """What is known about a cell's names before its shapes are found.

    Attributes
    ----------
    text : str
        The cell's text, for error messages.
    inputs, context, states, parameters : tuple of str
    scalars : frozenset of str
        Names of scalar constants.
    arrays : mapping
        Shape of each array constant.
    declared : mapping
        Shapes that the author gave.
    heads : str
        The size that is the number of heads, or nothing.
    """

    text: str
    inputs: tuple[str, ...]
    context: tuple[str, ...]
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    scalars: frozenset[str] = frozenset()
    arrays: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    declared: Mapping[str, Shape] = field(default_factory=dict)
    heads: str = ""


def base_name(name: str, states: tuple[str, ...]) -> str:
    """Return the state whose previous value `name` is, or `name` itself."""
    return name[:-5] if name.endswith("_prev") and name[:-5] in states else name


def x_input(inputs: tuple[str, ...]) -> str | None:
    """Return the input whose size is d: `x`, or else the first."""
    return "x" if "x" in inputs else inputs[0] if inputs else None


def infer_ranks(equations: Sequence[Assignment], known: Declarations, integers: frozenset[str]) -> dict[str, int]:
    """Return the rank of every name: 0 a scalar, 1 a vector, 2 a matrix."""
    return _Ranks(equations, known, integers).solve()


class _Ranks:
    """Ranks of names as a least fixpoint over -1 (unknown) < 0 (scalar) < 1 (vector) < 2 (matrix).

    Evidence only ever raises a rank; when none is left, an unknown on the left of `@` is a matrix and any other a vector.
    """

    def __init__(self, equations: Sequence[Assignment], known: Declarations, integers: frozenset[str]) -> None:
        self.equations, self.known = equations, known
        self.fixed: dict[str, int] = {name: len(shape) for name, shape in known.declared.items()}
        self.fixed |= {name: len(shape) for name, shape in known.arrays.items()} | dict.fromkeys((*integers, *known.scalars), 0)
        targets = [name for line in equations for name in line.targets]
        names = (*known.inputs, *known.context, *known.states, *known.parameters, *targets)
        self.rank: dict[str, int] = {**dict.fromkeys(names, -1), **self.fixed}
        first = x_input(known.inputs)
        if first is not None:
            self.raise_to(first, 1)
        # Only these take the rank of what stands beside them; all others have one from the line that assigns them.
        self.open = frozenset({*known.inputs, *known.context, *known.parameters})
        self.outer = self.made_of_outer_products()
        self.changed = False

    def made_of_outer_products(self) -> frozenset[str]:
        """Return the assigned names that outer products may reach: a state is no matrix for a parameter's sake."""
        found: frozenset[str] = frozenset()
        while True:
            more = {
                target
                for line in self.equations
                for target in line.targets
                if any(
                    (isinstance(node, Call) and node.function == "outer") or (isinstance(node, Name) and self.base(node.id) in found)
                    for node in walk(line.value)
                )
            }
            if more <= found:
                return found
            found |= more

    def solve(self) -> dict[str, int]:
        for line in self.equations:
            for node in walk(line.value):
                self.matrix(node)
        self.sweep()
        # what is made of parameters alone may still have no rank: then it takes that of what stands beside it, as they do
        self.open |= {name for name, rank in self.rank.items() if rank < 0 and name not in self.known.states}
        while self.default():
            self.sweep()
        return self.rank

    def base(self, name: str) -> str:
        return base_name(name, self.known.states)

    def raise_to(self, name: str, rank: int) -> None:
        if name in (*self.known.inputs, *self.known.context) or (name in self.known.states and name not in self.outer):
            rank = min(rank, 1)  # never a matrix: what is wrong is said where it is used
        if name not in self.fixed and self.rank[name] < rank:
            self.rank[name], self.changed = rank, True

    def of(self, expr: Expr) -> int:
        match expr:
            case Number():
                return -1
            case Name(id=name):
                return -1 if name in self.known.scalars else self.rank[self.base(name)]
            case MatMul(left=left):
                return {2: 1, 1: 0}.get(self.of(left), -1)
            case Transpose() | Call(function="eye" | "outer"):
                return 2
            case Concat() | Call(function="softmax" | "layer_norm" | "merge" | "part") | Call(function="sum", args=(_, _)):
                return 1
            case Call(function="sum" | "mean" | "len" | "logsumexp" | "pick"):
                return 0
        return max((self.of(part) for part in children(expr)), default=-1)

    def sweep(self) -> None:
        """Raise ranks until nothing changes."""
        self.changed = True
        while self.changed:
            self.changed = False
            for line in self.equations:
                self.line(line)

    def line(self, line: Assignment) -> None:
        for target in line.targets:
            self.raise_to(
                target, 1 if len(line.targets) > 1 else max(self.of(line.value), 0) if _closed(line.value) else self.of(line.value)
            )
        self.beside(line.value, max(self.of(line.value), self.rank[line.targets[0]]))
        for node in walk(line.value):
            self.node(node)

    def node(self, node: Expr) -> None:
        for part in children(node):
            self.beside(part, self.of(node) if is_elementwise(node) else self.of(part))
        match node:
            case MatMul(right=right):
                self.matrix(node)
                self.vector(right)
            case Concat(parts=parts):
                for part in parts:
                    self.vector(part)
            case Call(function="len" | "logsumexp" | "softmax" | "layer_norm" | "pick" | "merge" | "part", args=(value, *_)):
                self.vector(value)
            case Call(function="outer", args=parts):
                for part in parts:
                    self.vector(part)
            case Call(function="sum", args=(Name(id=name), _)) if name not in self.known.scalars:
                self.raise_to(self.base(name), 2)

    def matrix(self, node: Expr) -> None:
        """Note that the parameters on the left of `@` and under `.T` are matrices, where nothing else stands beside them."""
        if not isinstance(node, MatMul | Transpose):
            return
        operand = node.left if isinstance(node, MatMul) else node.operand
        unknown = [name.id for name in self.unknown(operand)]
        if self.of(operand) < 1 and all(name in self.known.parameters for name in unknown):
            for name in unknown:
                self.raise_to(name, 2)

    def unknown(self, expr: Expr) -> list[Name]:
        """Return the names of an elementwise expression that have no rank yet and are no scalar constants."""
        if isinstance(expr, Name):
            return [expr] if self.rank[self.base(expr.id)] < 0 and expr.id not in self.known.scalars else []
        return [name for part in children(expr) for name in self.unknown(part)] if is_elementwise(expr) else []

    def beside(self, expr: Expr, rank: int) -> None:
        """Give the open names of an elementwise expression its rank."""
        if rank < 0:
            return
        if isinstance(expr, Name) and expr.id in self.open:
            self.raise_to(expr.id, rank)
        elif is_elementwise(expr):
            for part in children(expr):
                self.beside(part, rank)

    def vector(self, expr: Expr) -> None:
        """Note that `expr` must be a vector, where it is only a name."""
        if isinstance(expr, Name) and expr.id not in self.known.scalars:
            self.raise_to(self.base(expr.id), 1)

    def default(self) -> bool:
        """Decide one more unknown; False if there is none."""
        for line in self.equations:
            for node in walk(line.value):
                operand = node.left if isinstance(node, MatMul) else node.operand if isinstance(node, Transpose) else None
                if operand is not None and (isinstance(node, Transpose) or self.of(operand) < 0):
                    for unknown in self.unknown(operand):
                        name = self.base(unknown.id)
                        self.rank[name] = 1 if name in self.known.states else 2
                        return True
        for free, rank in self.rank.items():
            if rank < 0:
                self.rank[free] = 1
                return True
        return False


def _closed(expr: Expr) -> bool:
    """Say whether `expr` is made of numbers alone."""
    return all(not isinstance(node, Name) for node in walk(expr))
