"""Shapes of a cell's values: ranks by a least fixpoint, sizes by unification of linear forms.

Ranks first: what is a scalar, a vector or a matrix.  Then every use of a value gives equations between sizes, which are solved over d, n and
declared sizes; a size that nothing determines is n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

from .errors import CellError
from .sizes import Shape, Size, shape_text
from .syntax import Assignment, Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Transpose
from .unparse import unparse_expression

D, N = Size.of("d"), Size.of("n")
_UNKNOWN = "?"
_REDUCTIONS = ("sum", "mean", "logsumexp")
_VECTOR_FUNCTIONS = ("softmax", "layer_norm")
_STRUCTURAL = frozenset({*_REDUCTIONS, *_VECTOR_FUNCTIONS, "pick", "eye"})


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
    """

    text: str
    inputs: tuple[str, ...]
    context: tuple[str, ...]
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    scalars: frozenset[str] = frozenset()
    arrays: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    declared: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class Inference:
    """The shapes of all names, the inputs that are indices, and the pairs of named sizes that the equations make equal."""

    shapes: Mapping[str, Shape]
    integers: frozenset[str]
    equal_sizes: tuple[tuple[str, str], ...]


def infer(equations: Sequence[Assignment], known: Declarations) -> Inference:
    """Return the shape of every name.

    Raises
    ------
    CellError
        If no assignment of shapes satisfies all equations, with the place and both shapes.
    """
    integers = _indices(equations, known)
    ranks = _Ranks(equations, known, integers).solve()
    direct = _Sizes(known, ranks, elementwise=False)
    direct.read(equations)
    full = _Sizes(known, ranks, elementwise=True)
    full.read(equations)
    for state in full.undeclared_vectors():
        full.settle_state(state, itself_d=direct.resolve(direct.table[state][0]) == D)
    full.finish()
    shapes = {name: tuple(map(full.settled, shape)) for name, shape in full.table.items()}
    shapes |= {f"{s}_prev": shapes[s] for s in known.states}
    equal = (("d", "n"),) if full.bound.get("d") == N else ()
    return Inference(shapes, integers, equal)


def shape_of(expr: Expr, shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of one row of `expr`, given the shapes of all names in it.

    `eye` has the shape of the matrix beside it; KeyError if a name is missing, ValueError for `eye` without a matrix beside it.
    """
    shape = _shape_of(expr, shapes)
    if shape is None:
        raise ValueError(f"`{unparse_expression(expr)}` has no size of its own: `eye` needs a matrix beside it")
    return shape


def _shape_of(expr: Expr, shapes: Mapping[str, Shape]) -> Shape | None:
    match expr:
        case Number():
            return ()
        case Name(id=name):
            return shapes[name]
        case MatMul(left=left):
            shape = shape_of(left, shapes)
            return (shape[0],) if len(shape) == 2 else ()
        case Transpose(operand=operand):
            shape = shape_of(operand, shapes)
            return shape[::-1]
        case Concat(parts=parts):
            return (sum((shape_of(part, shapes)[0] for part in parts), Size()),)
        case Call(function="eye"):
            return None
        case Call(function="sum" | "mean" | "logsumexp" | "pick"):
            return ()
    shapes_of_parts = [_shape_of(part, shapes) for part in children(expr)]
    found = [shape for shape in shapes_of_parts if shape is not None]
    largest = max(found, key=len, default=())
    return largest if len(found) == len(shapes_of_parts) or len(largest) == 2 else None


def is_batched(expr: Expr, batched: frozenset[str]) -> bool:
    """Say whether `expr` has a row for each sequence of the batch, given the names that have."""
    return any(isinstance(node, Name) and node.id in batched for node in walk(expr))


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the direct parts of an expression."""
    match expr:
        case Negative(operand=operand) | Transpose(operand=operand) | Power(base=operand):
            return (operand,)
        case Binary(left=left, right=right) | MatMul(left=left, right=right) | Compare(left=left, right=right):
            return (left, right)
        case Concat(parts=parts):
            return parts
        case Call(args=args):
            return args
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield `expr` and all its parts in the order in which they are read."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def is_elementwise(expr: Expr) -> bool:
    """Say whether `expr` works on each element by itself, with broadcasting of scalars."""
    return isinstance(expr, Negative | Binary | Power | Compare) or (isinstance(expr, Call) and expr.function not in _STRUCTURAL)


def base_name(name: str, states: tuple[str, ...]) -> str:
    """Return the state whose previous value `name` is, or `name` itself."""
    return name[:-5] if name.endswith("_prev") and name[:-5] in states else name


def _indices(equations: Sequence[Assignment], known: Declarations) -> frozenset[str]:
    """Return the inputs that `pick` uses as indices."""
    found = set()
    for line in equations:
        for node in walk(line.value):
            if isinstance(node, Call) and node.function == "pick":
                index = node.args[1]
                if not isinstance(index, Name) or index.id not in (*known.inputs, *known.context):
                    raise CellError.at(
                        index.span, known.text, f"the index of `pick` must be an input or a context, not `{unparse_expression(index)}`"
                    )
                found.add(index.id)
    for line in equations:
        allowed = {id(node.args[1]) for node in walk(line.value) if isinstance(node, Call) and node.function == "pick"}
        for node in walk(line.value):
            if isinstance(node, Name) and node.id in found and id(node) not in allowed:
                raise CellError.at(node.span, known.text, f"`{node.id}` is the index of a `pick`, an integer: it cannot be used as a number")
    return frozenset(found)


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
        self.changed = False

    def solve(self) -> dict[str, int]:
        for line in self.equations:
            for node in walk(line.value):
                self.matrix(node)
        self.sweep()
        while self.default():
            self.sweep()
        return self.rank

    def base(self, name: str) -> str:
        return base_name(name, self.known.states)

    def raise_to(self, name: str, rank: int) -> None:
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
            case Transpose() | Call(function="eye"):
                return 2
            case Concat() | Call(function="softmax" | "layer_norm"):
                return 1
            case Call(function="sum" | "mean" | "logsumexp" | "pick"):
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
            self.raise_to(target, 1 if len(line.targets) > 1 else max(self.of(line.value), 0) if _closed(line.value) else self.of(line.value))
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
            case Call(function="logsumexp" | "softmax" | "layer_norm" | "pick", args=(value, *_)):
                self.vector(value)

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
                if isinstance(node, MatMul) and self.of(node.left) < 0:
                    for name in self.unknown(node.left):
                        state = self.base(name.id) in self.known.states
                        self.rank[self.base(name.id)] = 1 if state else 2
                        return True
        for name, rank in self.rank.items():
            if rank < 0:
                self.rank[name] = 1
                return True
        return False


def _closed(expr: Expr) -> bool:
    """Say whether `expr` is made of numbers alone."""
    return all(not isinstance(node, Name) for node in walk(expr))


def x_input(inputs: tuple[str, ...]) -> str | None:
    """Return the input whose size is d: `x`, or else the first."""
    return "x" if "x" in inputs else inputs[0] if inputs else None


@dataclass(frozen=True)
class _Deferred:
    """Sizes that must agree in the end, once it is known whether d = n."""

    left: Size
    right: Size
    error: CellError


class _Sizes:
    """Sizes of names of known rank, by unification."""

    def __init__(self, known: Declarations, ranks: Mapping[str, int], *, elementwise: bool) -> None:
        self.known, self.elementwise = known, elementwise
        self.bound: dict[str, Size] = {}
        self.deferred: list[_Deferred] = []
        self.later: list[Callable[[], _Deferred]] = []
        self.first_use: dict[str, MatMul] = {}
        self.count = 0
        self.table: dict[str, Shape] = {name: tuple(self.fresh() for _ in range(max(rank, 0))) for name, rank in ranks.items()}
        self.table |= {name: tuple(Size((), k) for k in shape) for name, shape in known.arrays.items()}
        first = x_input(known.inputs)
        if first is not None and len(self.table[first]) == 1:
            self.table[first] = (D,)
        self.table |= known.declared
        for name in known.arrays.keys() & known.declared.keys():
            for a, b in zip(self.table[name], known.arrays[name], strict=True):
                if not self.unify(a, Size((), b)):
                    raise CellError(f"`{name}` is declared ({shape_text(known.declared[name])}), its array is {known.arrays[name]}")

    def undeclared_vectors(self) -> tuple[str, ...]:
        return tuple(s for s in self.known.states if s not in self.known.declared and len(self.table[s]) == 1)

    # Sizes

    def fresh(self) -> Size:
        self.count += 1
        return Size.of(f"{_UNKNOWN}{self.count}")

    def resolve(self, size: Size) -> Size:
        while any(name in self.bound for name in size.names):
            size = size.substitute(self.bound)
        return size

    def settled(self, size: Size) -> Size:
        """Return a size with what is still free set to n."""
        size = self.resolve(size)
        return size.substitute({name: N for name in size.names if name.startswith(_UNKNOWN)})

    def show(self, shape: Shape) -> str:
        return ", ".join(str(self.settled(size)) for size in shape)

    def merge(self) -> None:
        """Make d = n, under the name n."""
        if "d" not in self.bound and "n" not in self.bound:
            self.bound["d"] = N

    def unify(self, left: Size, right: Size) -> bool:
        """Make two sizes equal by binding an unknown, or a named size to a number; False if that is impossible."""
        difference = self.resolve(left) - self.resolve(right)
        if difference == Size():
            return True
        scale = gcd(difference.constant, *(k for _, k in difference.terms))
        difference = Size(tuple((name, k // scale) for name, k in difference.terms), difference.constant // scale)
        unknowns = [(name, k) for name, k in difference.terms if name.startswith(_UNKNOWN)]
        for name, k in unknowns:
            if abs(k) == 1:
                rest = difference - Size.of(name) * k
                value = rest * -k
                if all(c > 0 for n, c in value.terms if not n.startswith(_UNKNOWN)) and (value.constant >= 0 or unknowns[1:]):
                    self.bound[name] = value
                    return True
        if len(difference.terms) == 1 and not unknowns:
            ((name, k),) = difference.terms
            if difference.constant * k < 0 and difference.constant % k == 0:
                self.bound[name] = Size((), -difference.constant // k)
                return True
        return False

    def d_is_n(self, left: Size, right: Size) -> bool:
        """Say whether two sizes differ only in d standing for n."""
        difference = self.resolve(left) - self.resolve(right)
        return set(difference.names) == {"d", "n"} and difference.substitute({"d": N}) == Size()

    def equal(self, left: Size, right: Size, error: CellError, *, elementwise: bool) -> None:
        """Make two sizes equal, or raise `error`; that d = n follows from elementwise operations only."""
        if self.unify(left, right):
            return
        if not self.d_is_n(left, right):
            raise error
        if elementwise:
            self.merge()
        else:
            self.deferred.append(_Deferred(left, right, error))

    def error(self, expr: Expr, message: str) -> CellError:
        return CellError.at(expr.span, self.known.text, message)

    # Equations

    def read(self, equations: Sequence[Assignment]) -> None:
        for line in equations:
            self.assign(line)

    def settle_state(self, name: str, *, itself_d: bool) -> None:
        """Decide the size of a state that elementwise operations leave free or make d: it is n, and then d = n, unless it is `x` itself."""
        size = self.resolve(self.table[name][0])
        if size == D and not itself_d:
            self.merge()
        elif len(size.terms) == 1 and size.names[0].startswith(_UNKNOWN):
            self.unify(size, N)

    def finish(self) -> None:
        """Add the equations of products, which must hold without d = n or after it."""
        for make in self.later:
            later = make()
            self.equal(later.left, later.right, later.error, elementwise=False)
        for item in self.deferred:
            if not self.unify(item.left, item.right):
                raise item.error
        for name, shape in self.table.items():
            for size in shape:
                settled = self.settled(size)
                if any(k < 0 for _, k in settled.terms) or settled.constant < 0 or settled == Size():
                    raise CellError(f"the size of `{name}` comes out as {settled}: declare its shape in `shapes`", text=self.known.text)

    def assign(self, line: Assignment) -> None:
        if self.eye_only(line.value):
            raise self.error(line.value, "`eye` has no size of its own: it needs a matrix beside it")
        value = self.shape(line.value)
        if len(line.targets) > 1:
            return self.split(line, value)
        (target,) = line.targets
        shape = self.table[target]
        message = f"`{target}` is {self.kind(shape)}, its right side is {self.kind(value)}"
        if len(value) not in (0, len(shape)) or (len(value) == 0 and len(shape) == 2):
            raise CellError.at(line.span, self.known.text, message)
        for a, b in zip(shape, value, strict=False):
            self.equal(a, b, CellError.at(line.span, self.known.text, message), elementwise=len(shape) == 1)

    def split(self, line: Assignment, value: Shape) -> None:
        parts = len(line.targets)
        if len(value) != 1:
            raise self.error(line.value, f"`split` needs a vector, `{self.text(line.value)}` is {self.kind(value)}")
        first = self.table[line.targets[0]]
        for target in line.targets:
            shape = self.table[target]
            if len(shape) != 1:
                raise CellError.at(line.span, self.known.text, f"`{target}` is {self.kind(shape)}, a part of `split` is a vector")
            message = f"the parts of `split` have one size: `{line.targets[0]}` has size {self.show(first)}, `{target}` has size {self.show(shape)}"
            self.equal(first[0], shape[0], CellError.at(line.span, self.known.text, message), elementwise=False)
        size = self.show(value)
        error = self.error(
            line.value, f"`split` into {parts} parts of size {self.show(first)} needs a vector of size {self.settled(first[0] * parts)}, it has size {size}"
        )
        self.equal(value[0], first[0] * parts, error, elementwise=False)

    # Expressions

    def text(self, expr: Expr) -> str:
        return unparse_expression(expr)

    def kind(self, shape: Shape) -> str:
        shown = self.show(shape)
        return ("a scalar", f"a vector of size {shown}", f"a matrix ({shown})")[len(shape)]

    def shape(self, expr: Expr) -> Shape:
        match expr:
            case Number():
                return ()
            case Name(id=name):
                return () if name in self.known.scalars else self.table[base_name(name, self.known.states)]
            case MatMul():
                return self.product(expr)
            case Transpose(operand=operand):
                shape = self.shape(operand)
                if len(shape) != 2:
                    raise self.error(expr, f"`.T` needs a matrix, `{self.text(operand)}` is {self.kind(shape)}")
                return shape[::-1]
            case Concat(parts=parts):
                return (sum((self.vector(part, "a concatenation").__getitem__(0) for part in parts), Size()),)
            case Call(function="eye"):
                side = self.fresh()
                return side, side
            case Call(function="sum" | "mean" as function, args=(value,)):
                if self.eye_only(value):
                    raise self.error(value, "`eye` has no size of its own: it needs a matrix beside it")
                if not self.shape(value):
                    raise self.error(expr, f"`{function}` needs a vector or a matrix, `{self.text(value)}` is a scalar")
                return ()
            case Call(function="logsumexp", args=(value,)):
                self.vector(value, "`logsumexp`")
                return ()
            case Call(function="pick", args=(value, _)):
                self.vector(value, "`pick`")
                return ()
            case Call(function="softmax" | "layer_norm" as function, args=(value,)):
                return self.vector(value, f"`{function}`")
        return self.join(expr, children(expr))

    def vector(self, expr: Expr, user: str) -> Shape:
        shape = self.shape(expr)
        if len(shape) != 1:
            raise self.error(expr, f"{user} needs a vector, `{self.text(expr)}` is {self.kind(shape)}")
        return shape

    def join(self, expr: Expr, parts: Sequence[Expr]) -> Shape:
        """Return the shape of an elementwise operation: scalars broadcast, all others have one shape."""
        shaped = [(part, shape) for part in parts if (shape := self.shape(part))]
        if not shaped:
            return ()
        (first, shape), *rest = shaped
        for other, its in rest:
            if len(its) != len(shape):
                raise self.error(expr, self.mixed(expr, first, shape, other, its))
            if not self.elementwise and len(shape) == 1:
                return (self.fresh(),)
            message = f"`{self.text(first)}` is {self.kind(shape)}, `{self.text(other)}` is {self.kind(its)}: elementwise operands have one shape"
            for a, b in zip(shape, its, strict=True):
                self.equal(a, b, self.error(expr, message), elementwise=len(shape) == 1)
        return shape

    def mixed(self, expr: Expr, first: Expr, shape: Shape, other: Expr, its: Shape) -> str:
        matrix, vector = (first, other) if len(shape) == 2 else (other, first)
        shapes = f"`{self.text(first)}` is {self.kind(shape)}, `{self.text(other)}` is {self.kind(its)}"
        if isinstance(expr, Binary) and expr.op == "*":
            return f"{shapes}: `*` is elementwise, write `{self.text(MatMul(matrix, vector))}` for their product"
        return f"{shapes}: elementwise operands have one shape; `@` makes a vector of a matrix and a vector"

    def eye_only(self, expr: Expr) -> bool:
        """Say whether `eye` is the only matrix in an elementwise expression."""
        leaves = list(_leaves(expr))
        return any(_is_eye(leaf) for leaf in leaves) and not any(len(self.shape(leaf)) == 2 for leaf in leaves if not _is_eye(leaf))

    # Products

    def product(self, expr: MatMul) -> Shape:
        if self.eye_only(expr.left):
            raise self.error(expr.left, "`eye` has no size of its own: it needs a matrix beside it; `c * eye @ v` is `c * v`")
        left, right = self.shape(expr.left), self.shape(expr.right)
        if not left:
            raise self.error(expr, f"`@` needs a matrix or a vector on its left, `{self.text(expr.left)}` is a scalar: write `*`")
        if len(right) == 2:
            raise self.error(
                expr, f"`{self.text(expr)}` multiplies two matrices: the right operand of `@` must be a vector, as in `A @ B @ v`; declare it in `shapes` if it is one"
            )
        if not right:
            raise self.error(expr, f"the right operand of `@` must be a vector, `{self.text(expr.right)}` is a scalar: write `*`")
        if len(left) == 1:
            self.later.append(lambda: _Deferred(left[0], right[0], self.unequal_vectors(expr, left, right)))
            return ()
        if any(name.startswith(_UNKNOWN) for name in left[1].names):
            self.later.append(lambda: _Deferred(left[1], right[0], self.wrong_operand(expr, left, right[0])))
        else:
            self.equal(left[1], right[0], self.wrong_operand(expr, left, right[0]), elementwise=False)
        return (self.rows(expr, left),)

    def unequal_vectors(self, expr: MatMul, left: Shape, right: Shape) -> CellError:
        sizes = f"`{self.text(expr.left)}` has size {self.show(left)}, `{self.text(expr.right)}` has size {self.show(right)}"
        return self.error(expr, f"`@` of two vectors needs equal sizes: {sizes}")

    def wrong_operand(self, use: MatMul, left: Shape, size: Size) -> CellError:
        matrix, vector = self.text(use.left), self.text(use.right)
        message = (
            f"`{matrix}` is ({self.show(left)}): its right operand must have size {self.show(left[1:])}, `{vector}` has size {self.settled(size)}"
        )
        first = self.first_use.get(matrix)
        if first is not None and first is not use:
            message += f"; {self.both(first, left, use, (left[0], size))}"
        return self.error(use, message)

    def both(self, first: MatMul, left: Shape, use: MatMul, now: Shape) -> str:
        """Return what the two uses of one matrix make of it."""
        return (
            f"`{self.text(use.left)}` is ({self.show(left)}) in `{self.text(first)}` (line {first.span.line}) "
            f"and would be ({self.show(now)}) in `{self.text(use)}` (line {use.span.line})"
        )

    def rows(self, use: MatMul, left: Shape) -> Size:
        """Return the size of a product; further uses of a matrix have one of their own at first, so that a conflict names both."""
        first = self.first_use.setdefault(self.text(use.left), use)
        if first is use or not any(name.startswith(_UNKNOWN) for name in left[0].names):
            return left[0]
        size = self.fresh()
        self.later.append(lambda: _Deferred(left[0], size, self.error(use, self.both(first, left, use, (size, left[1])))))
        return size


def _is_eye(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.function == "eye"


def _leaves(expr: Expr) -> Iterator[Expr]:
    """Yield the operands of an elementwise expression that are not elementwise themselves."""
    if is_elementwise(expr):
        for part in children(expr):
            yield from _leaves(part)
    else:
        yield expr
