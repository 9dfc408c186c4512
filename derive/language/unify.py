"""The sizes of a cell's names, by unification of linear forms over d, n and declared sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from .errors import CellError
from .ranks import Declarations, base_name, x_input
from .sizes import Shape, Size, over, shape_text
from .tree import Assignment, Binary, Call, Concat, Expr, MatMul, Name, Number, Transpose
from .unparse import unparse_expression
from .walks import children, is_eye, leaves, walk

D, N = Size.of("d"), Size.of("n")
LONGEST = 90  # characters of an expression in a message
_UNKNOWN = "?"


@dataclass(frozen=True)
class _Deferred:
    """Sizes that must agree in the end, once it is known whether d = n."""

    left: Size
    right: Size
    error: CellError


@dataclass(frozen=True)
class _Merged:
    """The size of all heads' vectors one after the other, and that of each."""

    whole: Size
    part: Size
    error: CellError


class Sizes:
    """Sizes of names of known rank, by unification."""

    def __init__(self, known: Declarations, ranks: Mapping[str, int], *, elementwise: bool) -> None:
        self.known, self.elementwise = known, elementwise
        self.bound: dict[str, Size] = {}
        self.deferred: list[_Deferred] = []
        self.later: list[Callable[[], _Deferred]] = []
        self.merged: list[_Merged] = []
        self.first_use: dict[Expr, MatMul] = {}
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

    def is_open(self, size: Size) -> bool:
        """Say whether a size is not fully known yet."""
        return any(name.startswith(_UNKNOWN) for name in size.names)

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
        if elementwise and self.d_is_n(left, right):
            self.merge()
        elif self.d_is_n(left, right) or self.is_open(self.resolve(left) - self.resolve(right)):
            self.deferred.append(_Deferred(left, right, error))
        else:
            raise error

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
        self.merge_heads()
        for make in self.later:
            later = make()
            self.equal(later.left, later.right, later.error, elementwise=False)
        for item in self.deferred:
            self.unify(item.left, item.right)
        for item in self.deferred:
            if self.settled(item.left) != self.settled(item.right):
                raise item.error
        for name, shape in self.table.items():
            for size in shape:
                settled = self.settled(size)
                if any(k < 0 for _, k in settled.terms) or settled.constant < 0 or settled == Size():
                    raise CellError(f"the size of `{name}` comes out as {settled}: declare its shape in `shapes`", text=self.known.text)

    def merge_heads(self) -> None:
        """Solve the sizes of heads together: each from the one that is known, and where none is, with n for a head."""
        heads, waiting = Size.of(self.known.heads), list(self.merged)
        while waiting:
            known = next(
                (m for m in waiting if not self.is_open(self.resolve(m.part)) or not self.is_open(self.resolve(m.whole))), waiting[0]
            )
            waiting.remove(known)
            if self.is_open(self.resolve(known.part)) and not self.is_open(self.resolve(known.whole)):
                found = over(self.resolve(known.whole), self.known.heads)
                if found is None or not self.unify(known.part, found):
                    raise known.error
            elif not self.unify(known.whole, heads * self.settled(known.part)):
                raise known.error

    def assign(self, line: Assignment) -> None:
        self.sized(line.value)
        value = self.shape(line.value)
        if len(line.targets) > 1:
            return self.split(line, value)
        (target,) = line.targets
        shape = self.table[target]
        message = f"`{target}` is {self.kind(shape)}, its right side is {self.kind(value)}"
        message += self.inner_product(line.value) if (len(shape), len(value)) == (0, 1) else ""
        if len(value) not in (0, len(shape)) or (len(value) == 0 and len(shape) == 2):
            raise CellError.at(line.span, self.known.text, message)
        for a, b in zip(shape, value, strict=False):
            self.equal(a, b, CellError.at(line.span, self.known.text, message), elementwise=len(shape) == 1)

    def inner_product(self, expr: Expr) -> str:
        """Return how a vector in `expr` would be a number: a parameter on the left of `@` is a matrix unless it is declared a vector."""
        for node in walk(expr):
            if isinstance(node, MatMul) and isinstance(node.left, Name) and node.left.id in self.known.parameters:
                name, (size,) = node.left.id, self.shape(node.right)
                if name not in self.known.declared:
                    declared = f'`shapes={{"{name}": "{self.settled(size)}"}}`'
                    return f"; `{self.text(node)}` is a number if `{name}` is declared a vector, {declared}"
        return ""

    def split(self, line: Assignment, value: Shape) -> None:
        parts = len(line.targets)
        if len(value) != 1:
            raise self.error(line.value, f"`split` needs a vector, `{self.text(line.value)}` is {self.kind(value)}")
        first = self.table[line.targets[0]]
        for target in line.targets:
            shape = self.table[target]
            if len(shape) != 1:
                raise CellError.at(line.span, self.known.text, f"`{target}` is {self.kind(shape)}, a part of `split` is a vector")
            sizes = f"`{line.targets[0]}` has size {self.show(first)}, `{target}` has size {self.show(shape)}"
            message = f"the parts of `split` have one size: {sizes}"
            self.equal(first[0], shape[0], CellError.at(line.span, self.known.text, message), elementwise=False)
        size = self.show(value)
        error = self.error(
            line.value,
            f"`split` into {parts} parts of size {self.show(first)} needs a vector of size {self.settled(first[0] * parts)}, "
            f"it has size {size}",
        )
        self.equal(value[0], first[0] * parts, error, elementwise=False)

    # Expressions

    def text(self, expr: Expr) -> str:
        """Return an expression for a message, its middle left out if it is long."""
        text = unparse_expression(expr)
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 3 :]}"

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
                if self.eye_only(operand):
                    raise self.error(expr, f"`{self.text(expr)}` is `{self.text(operand)}`: leave `.T` out")
                self.sized(operand)
                shape = self.shape(operand)
                if len(shape) != 2:
                    message = f"`.T` needs a matrix, `{self.text(operand)}` is {self.kind(shape)}"
                    outer = ": `a @ b` is the inner product of two vectors, `outer(a, b)` their outer product"
                    raise self.error(expr, message + (outer if shape else ""))
                return shape[::-1]
            case Concat(parts=parts):
                return (sum((self.vector(part, "a concatenation").__getitem__(0) for part in parts), Size()),)
            case Call(function="eye"):
                side = self.fresh()
                return side, side
            case Call(function="outer", args=args):
                return self.outer(expr, args)
            case Call(function="sum", args=(value, Number(value=axis))):
                self.sized(value)
                shape = self.shape(value)
                if len(shape) != 2:
                    raise self.error(expr, f"`sum(M, {axis})` needs a matrix, `{self.text(value)}` is {self.kind(shape)}")
                return (shape[1 - int(axis)],)
            case Call(function="sum" | "mean" as function, args=(value,)):
                self.sized(value)
                if not self.shape(value):
                    raise self.error(expr, f"`{function}` needs a vector or a matrix, `{self.text(value)}` is a scalar")
                return ()
            case Call(function="logsumexp" | "len" as function, args=(value,)):
                self.vector(value, f"`{function}`")
                return ()
            case Call(function="pick", args=(value, _)):
                self.vector(value, "`pick`")
                return ()
            case Call(function="merge", args=(value, _)):
                return (self.product_of_heads(expr, self.fresh(), self.vector(value, "`merge`")[0]).whole,)
            case Call(function="part", args=(value, _)):
                return (self.product_of_heads(expr, self.vector(value, "`part`")[0], self.fresh()).part,)
            case Call(function="softmax" | "layer_norm" as function, args=(value,)):
                return self.vector(value, f"`{function}`")
        return self.join(expr, children(expr))

    def product_of_heads(self, expr: Expr, whole: Size, part: Size) -> _Merged:
        """Note that a size is that of all heads together."""
        message = f"`{self.text(expr)}`: a vector of all heads has size {self.known.heads}*n, of n for each: declare its shape in `shapes`"
        self.merged.append(_Merged(whole, part, self.error(expr, message)))
        return self.merged[-1]

    def outer(self, expr: Expr, args: tuple[Expr, ...]) -> Shape:
        """Return the shape of an outer product; an axis along which a number is spread has the size of what stands beside it."""
        shapes = [self.shape(part) for part in args]
        for part, shape in zip(args, shapes, strict=True):
            if len(shape) > 1:
                raise self.error(part, f"`outer` needs vectors, `{self.text(part)}` is {self.kind(shape)}")
        if not any(shapes):
            raise self.error(expr, f"`outer` needs a vector: `{self.text(expr)}` spreads a number along both axes, write the number")
        return tuple(shape[0] if shape else self.fresh() for shape in shapes)

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
            message = (
                f"`{self.text(first)}` is {self.kind(shape)}, `{self.text(other)}` is {self.kind(its)}: elementwise operands have one shape"
            )
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
        parts = list(leaves(expr))
        return any(map(is_eye, parts)) and not any(len(self.shape(part)) == 2 for part in parts if not is_eye(part))

    def sized(self, expr: Expr) -> None:
        """Check that a matrix in an elementwise expression has sizes: `eye`, and a number that is spread, have none of their own."""
        if self.eye_only(expr):
            raise self.error(expr, "`eye` has no size of its own: it needs a matrix beside it")
        if not any(isinstance(node, Call) and node.function == "outer" for node in walk(expr)):
            return
        parts = [part for part in leaves(expr) if not is_eye(part) and len(self.shape(part)) == 2]
        open_axes = [{axis for axis in (0, 1) if not self.has_size(part, axis)} for part in parts]
        if parts and (missing := set.intersection(*open_axes)):
            ways = {0: "rows", 1: "columns"}
            part = next(part for part, axes in zip(parts, open_axes, strict=True) if axes & missing)
            raise self.error(part, f"`{self.text(part)}` has no number of {ways[min(missing)]} of its own: it needs a matrix beside it")

    def has_size(self, part: Expr, axis: int) -> bool:
        """Say whether a matrix that is not elementwise has a size of its own along an axis."""
        match part:
            case Transpose(operand=operand):
                return any(self.has_size(leaf, 1 - axis) for leaf in leaves(operand) if len(self.shape(leaf)) == 2)
            case Call(function="outer", args=args):
                return bool(self.shape(args[axis]))
        return True

    # Products

    def product(self, expr: MatMul) -> Shape:
        if self.eye_only(expr.left):
            raise self.error(expr.left, "`eye` has no size of its own: it needs a matrix beside it; `c * eye @ v` is `c * v`")
        self.sized(expr.left)
        left, right = self.shape(expr.left), self.shape(expr.right)
        if not left:
            raise self.error(expr, f"`@` needs a matrix or a vector on its left, `{self.text(expr.left)}` is a scalar: write `*`")
        if len(right) == 2:
            raise self.error(
                expr,
                f"`{self.text(expr)}` multiplies two matrices: the right operand of `@` must be a vector, as in `A @ B @ v`; "
                "declare it in `shapes` if it is one",
            )
        if not right:
            raise self.error(expr, f"the right operand of `@` must be a vector, `{self.text(expr.right)}` is a scalar: write `*`")
        if len(left) == 1:
            self.later.append(lambda: _Deferred(left[0], right[0], self.unequal_vectors(expr, left, right)))
            return ()
        if self.is_open(left[1]):
            self.later.append(lambda: _Deferred(left[1], right[0], self.wrong_operand(expr, left, right[0])))
        else:
            self.equal(left[1], right[0], self.wrong_operand(expr, left, right[0]), elementwise=False)
        return (self.rows(expr, left),)

    def unequal_vectors(self, expr: MatMul, left: Shape, right: Shape) -> CellError:
        sizes = f"`{self.text(expr.left)}` has size {self.show(left)}, `{self.text(expr.right)}` has size {self.show(right)}"
        return self.error(expr, f"`@` of two vectors needs equal sizes: {sizes}{self.as_wide(expr, left[0], right[0])}")

    def as_wide(self, expr: MatMul, left: Size, right: Size) -> str:
        """Return what to declare where a state would have to be as wide as the input."""
        if not self.d_is_n(left, right):
            return ""
        names = [base_name(node.id, self.known.states) for node in (*walk(expr.left), *walk(expr.right)) if isinstance(node, Name)]
        state = next((name for name in names if name in self.undeclared_vectors()), "")
        return f'; a state that is as wide as the input is declared so, `shapes={{"{state}": "d"}}`' if state else ""

    def wrong_operand(self, use: MatMul, left: Shape, size: Size) -> CellError:
        matrix, vector = self.text(use.left), self.text(use.right)
        needed = f"its right operand must have size {self.show(left[1:])}"
        message = f"`{matrix}` is ({self.show(left)}): {needed}, `{vector}` has size {self.settled(size)}"
        first = self.first_use.get(use.left)
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
        first = self.first_use.setdefault(use.left, use)
        if first is use or not self.is_open(left[0]):
            return left[0]
        size = self.fresh()
        self.later.append(lambda: _Deferred(left[0], size, self.error(use, self.both(first, left, use, (size, left[1])))))
        return size
