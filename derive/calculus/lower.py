"""From a cell's expression trees to its forward `Recurrence`.

Nested expressions become named equations: each matrix product, each operand of a product, and the *pre-activation* of each function whose
argument is more than a name, because its cotangent is what the literature calls δ.  What stays together stays one elementwise expression.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import sympy as sp

from ..language.definition import Definition
from ..language.functions import Surrogate
from ..language.names import previous
from ..language.rewrite import substitute
from ..language.shapes import is_batched, rank_of, shape_of
from ..language.sizes import Shape, Size
from ..language.tree import Assignment, Binary, Call, Compare, Expr, MatMul, Name, Negative, Number, Power
from ..language.tree import Concat as ConcatExpr
from ..language.tree import Transpose as TransposeExpr
from ..language.walks import is_headed, values_of
from . import functions as fn
from .ir import (
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
    MatVec,
    MatVecT,
    Merge,
    Node,
    Part,
    Pick,
    Recurrence,
    Repeat,
    Slice,
    Transpose,
    Type,
    prune,
    validate,
)
from .naming import Names
from .rowfunctions import Normalised, RowFunction, Softmax, Std
from .spikes import sparse
from .symbols import EYE, constant, extent, is_constant, is_value

_PREFIX = {FeatureSum: "sum", LogSumExp: "lse", Pick: "picked"}
TERMS = "_terms"  # the end of a name of what a product with a matrix sums
LAYER_NORM_EPSILON = sp.Rational(1, 100000)


def lower(cell: Definition) -> Recurrence:
    """Return the forward recurrence of `cell`, which writes its output at every step.

    Equations carry the tags F1, F2 … of the lines of the text that they belong to.
    """
    return _Lowering(cell).recurrence()


class _Lowering:
    """The equations made so far, and the means to make more."""

    def __init__(self, cell: Definition) -> None:
        self.cell = cell
        self.types: dict[str, Type] = {}
        self.labels: dict[str, Label] = {}
        self.prologue: list[Equation] = []
        self.body: list[Equation] = []
        self.made: dict[tuple[Node, Type], str] = {}
        self.laid: dict[tuple[Along, bool], str] = {}
        self.names = Names(cell.shapes)
        self.normalised: dict[str, str] = {}
        self.clipped = 0
        self.surrogates: dict[str, type[fn.Surrogate]] = {}
        self.tag = ""
        self.target = ""  # of the line; of several the first
        self.line = ""  # what a part of the line may be called
        self.whole: Expr | None = None  # the elementwise expression at hand
        for name, shape in cell.shapes.items():
            self.types[name] = Type(shape, name in cell.batched, name in cell.integers, name in cell.headed)
            self.labels[name] = Label("own")
        for state in cell.states:
            self.labels[previous(state)] = Label("previous", state)

    def recurrence(self) -> Recurrence:
        cell = self.cell
        self.surrogates |= {name: self.surrogate(own) for name, own in cell.own.surrogates.items()}
        for number, line in zip(cell.unrolled.numbers, cell.equations, strict=True):
            self.tag = f"F{number}"
            self.assign(line)
        rec = Recurrence(
            name=cell.name,
            reverse=False,
            types=self.types,
            labels=self.labels,
            constants={name: _number(value) for name, value in cell.scalar_constants.items()},
            statics=(*cell.parameters, *cell.constant_arrays),
            contexts=tuple(cell.context),
            sequences=tuple(cell.inputs),
            carries=tuple(Carry(previous(s), s) for s in cell.states),
            prologue=tuple(self.prologue),
            body=tuple(self.body),
            written=(cell.output,),
            heads=cell.heads,
        )
        # what reaches no result is left out, but the inputs stay: their gradient is zero
        kept = replace(prune(rec), statics=rec.statics, contexts=rec.contexts, sequences=rec.sequences)
        return validate(replace(kept, sparse=sparse(kept)))

    def assign(self, line: Assignment) -> None:
        """Add the equations of one line."""
        self.target, several = line.targets[0], len(line.targets) > 1
        self.line = "v" if several else f"v_{self.target}"
        if several:
            whole, size = self.operand(line.value), self.types[self.target].shape[0]
            for k, self.target in enumerate(line.targets):
                self.define(Slice(whole, size * k, size))
            return
        node = self.structural(line.value)
        if isinstance(line.value, Call) and line.value.function == "layer_norm":
            (value,) = line.value.args
            v = self.operand(value)
            if v not in self.normalised and self.types[v].batched == self.types[self.target].batched:
                node = self.normalisation(v, self.shape(value), self.target)
        self.define(Map(self.scalar(line.value)) if node is None else node)

    def define(self, node: Node) -> None:
        """Add the equation of the line's target; a static value that is assigned to a state or the output is broadcast by a `Map`."""
        kind = self.types[self.target]
        elementwise = isinstance(node, Map) and not isinstance(node, RowFunction)  # whose rule takes its value to be of the argument's kind
        if kind.batched and not elementwise and not any(self.types[o].batched for o in node.operands()):
            node = Map(sp.Symbol(self.named(node, self.wish(node), kind.shape)))
        self.emit(self.target, node, kind, shown=True)

    # Equations

    def emit(self, name: str, node: Node, kind: Type, *, shown: bool = False) -> str:
        """Add ``name = node`` to the body, or to the prologue if it is static."""
        level = self.body if kind.batched or any(self.types[o].batched for o in node.operands()) else self.prologue
        self.types[name] = replace(kind, batched=level is self.body, headed=kind.headed or self.is_headed(node))
        level.append(Equation(name, node, self.tag, shown))
        return name

    def is_headed(self, node: Node) -> bool:
        """Say whether a node has a value for each head."""
        if isinstance(node, Repeat | Part | Merge | HeadSum):
            return isinstance(node, Repeat | Part)
        return any(self.types[name].headed for name in node.operands())

    def named(self, node: Node, wish: str, shape: Shape, label: Label | None = None, *, headed: bool = False) -> str:
        """Return the name of a subexpression's equation, made once for equal nodes.

        A node that SymPy has made a number, as it does of ``0 * W``, tells neither its shape nor whether it has a value for each head.
        """
        key = node, Type(shape, False, headed=headed or self.is_headed(node))
        if key not in self.made:
            name = self.names.fresh(wish)
            self.labels[name] = label or Label("part")
            self.made[key] = self.emit(name, *key)
        return self.made[key]

    def elements(self, scalar: sp.Expr, expr: Expr, wish: str = "", label: Label | None = None) -> str:
        """Return the name of the equation of an elementwise expression that is the value of `expr`."""
        node = Map(scalar)
        return self.named(node, wish or self.wish(node), self.shape(expr), label, headed=is_headed(expr, self.cell.headed))

    def shape(self, expr: Expr) -> Shape:
        return shape_of(expr, self.cell.shapes)

    def rank(self, expr: Expr) -> int:
        return rank_of(expr, self.cell.shapes)

    def is_sized(self, expr: Expr) -> bool:
        """Say whether an expression is a matrix that has its sizes where it stands alone."""
        if self.rank(expr) < 2:
            return False
        try:
            return bool(self.shape(expr))
        except ValueError:  # `eye`, or a number that is spread, without a matrix beside it
            return False

    # Expressions

    def operand(self, expr: Expr) -> str:
        """Return the name of the value of `expr`, adding an equation for it unless it is a name already."""
        if isinstance(expr, Name) and expr.id not in self.cell.scalar_constants:
            return expr.id
        around, self.whole = self.whole, None  # it is what it is, whatever is around it: what heads have in common is made once
        node = self.structural(expr)
        self.whole = around
        if node is None:
            scalar = self.scalar(expr)
            return str(scalar.name) if self.is_whole(scalar, self.shape(expr)) else self.elements(scalar, expr)
        return self.named(node, self.wish(node), self.shape(expr))

    def is_whole(self, scalar: sp.Expr, shape: Shape) -> bool:
        """Say whether an expression is a mere name of that shape: ``v + 0 * x`` is one number where `v` is."""
        return isinstance(scalar, sp.Symbol) and is_value(scalar) and self.types[scalar.name].shape == shape

    def wish(self, node: Node) -> str:
        """Propose a name that tells what the node is, as long as that is short."""
        if isinstance(node, (MatVec, MatVecT)):
            return f"{node.matrix}_{node.vector}"
        if isinstance(node, Softmax):
            return f"softmax_{node.value}"
        names = node.operands()
        if isinstance(node, AxisSum):
            return names[0].removesuffix(TERMS)
        if isinstance(node, FeatureSum | LogSumExp | Pick):
            return f"{_PREFIX[type(node)]}_{names[0]}"
        return "_".join(names) if 0 < len(names) <= 2 and sum(map(len, names)) <= 16 else self.line

    def structural(self, expr: Expr) -> Node | None:
        """Return the node of an expression that is not elementwise, or None."""
        match expr:
            case MatMul(left=left, right=right):
                return None if self.parted(expr) else self.product(left, right)
            case ConcatExpr(parts=parts):
                return Concat(self.alike(*(self.operand(p) for p in parts)))
            case Call(function="merge", args=(value, _)):
                return Merge(self.operand(value))
            case Call(function="part", args=(value, _)):
                return Part(self.operand(value))
            case TransposeExpr(operand=matrix):
                return Transpose(self.operand(matrix))
            case Call(function="sum", args=(value,)):
                return FeatureSum(self.operand(value))
            case Call(function="sum", args=(value, Number(value=axis))):
                return AxisSum(self.operand(value), int(axis))
            case Call(function="logsumexp", args=(value,)):
                return LogSumExp(self.operand(value))
            case Call(function="softmax", args=(value,)):
                v = self.row(value)
                return Softmax(fn.exp(sp.Symbol(v) - sp.Symbol(self.named(LogSumExp(v), f"lse_{v}", ()))), v)
            case Call(function="pick", args=(value, index)):
                return Pick(self.operand(value), self.operand(index))
            case Call(function="clip_gradient", args=(value, low, high)):
                self.clipped += 1
                return Clipped(sp.Symbol(self.operand(value)), self.scalar(low), self.scalar(high), self.clipped)
        return None

    def surrogate(self, own: Surrogate) -> type[fn.Surrogate]:
        """Return a function of the cell's own; what is computed has numbers for constants, its derivative their names."""
        value, slope = (self.scalar(substitute(part, {own.argument: Name(fn.ARGUMENT.name)})) for part in (own.value, own.slope))
        numbers = {constant(name): _number(number) for name, number in self.cell.scalar_constants.items()}
        return fn.surrogate(own.name, value.xreplace(numbers), slope)

    def product(self, left: Expr, right: Expr) -> Node:
        if len(self.shape(left)) == 1:
            u, v = self.operand(left), self.operand(right)
            if (together := self.of_all_heads(u, v)) is not None:
                return together
            u, v = self.alike(u, v)
            return FeatureSum(self.named(Map(sp.Symbol(u) * sp.Symbol(v)), f"{u}_{v}", self.shape(left)))
        if is_batched(left, self.cell.batched):
            return self.batched_product(left, right)
        if isinstance(left, TransposeExpr):
            matrix, vector = self.operand(left.operand), self.operand(right)
            return MatVecT(matrix, self.repeated(vector) if self.types[matrix].headed else vector)
        matrix, vector = self.operand(left), self.operand(right)
        return self.of_all_heads(matrix, vector) or MatVec(matrix, vector)

    def of_all_heads(self, left: str, vector: str) -> Node | None:
        """Return the product of each head's static matrix, or vector, and a vector that all have in common, as one product with all of them
        one below the other; None for other products.
        """
        own, other = self.types[left], self.types[vector]
        if not own.headed or own.batched or other.headed:
            return None
        heads, numbers = Size.of(self.cell.heads), len(own.shape) == 1
        rows = heads if numbers else own.shape[0] * heads
        matrix = self.named(Merge(left), f"{left}_heads", (rows, own.shape[-1]))
        product = self.named(MatVec(matrix, vector), f"{left}_{vector}_heads", (rows,))
        return Part(product)

    def alike(self, *names: str) -> tuple[str, ...]:
        """Return values, those that all heads have in common for each if one is of each."""
        if not any(self.types[name].headed for name in names):
            return names
        return tuple(map(self.repeated, names))

    def repeated(self, name: str) -> str:
        """Return a value for each head."""
        kind = self.types[name]
        return name if kind.headed else self.named(Repeat(name), f"{name}_each", kind.shape)

    def batched_product(self, left: Expr, right: Expr) -> Node:
        """Return the product of a matrix that has a row a sequence and a vector: the sum, over an axis, of what each element is times."""
        turned = isinstance(left, TransposeExpr)
        matrix = left.operand if isinstance(left, TransposeExpr) else left
        v, shape = self.operand(right), self.shape(matrix)
        axis = 0 if turned else 1
        headed = is_headed(matrix, self.cell.headed)
        of = self.scalar(matrix)
        if self.types[v].headed and not headed:
            of = sp.Symbol(self.repeated(self.operand(matrix)))
        laid = self.along(self.repeated(v) if headed else v, axis, shape[1 - axis], batched=True)
        product = Map(of * laid)
        names = [matrix.id] if isinstance(matrix, Name) else []
        wish = f"{'_'.join([*names, v]) if names else self.line}{TERMS}"
        return AxisSum(self.named(product, wish, shape, headed=headed or self.types[v].headed), axis)

    def along(self, vector: str, axis: int, size: Size, *, batched: bool) -> sp.Symbol:
        """Return the matrix of a vector along an axis; one that has a row a sequence may be of a vector without."""
        key = Along(vector, axis, size), batched
        if key not in self.laid:
            name = self.names.fresh(f"{vector}_along")
            whole = self.types[vector].shape[0]
            kind = Type((whole, size) if axis == 0 else (size, whole), batched, headed=self.types[vector].headed)
            self.labels[name], self.types[name] = Label("part"), kind
            (self.body if batched else self.prologue).append(Equation(name, key[0], self.tag, shown=False))
            self.laid[key] = name
        return sp.Symbol(self.laid[key])

    def outer(self, left: Expr, right: Expr) -> sp.Expr:
        """Return an outer product: each vector along its axis; a number is spread over it."""
        assert self.whole is not None
        shape, batched, product = self.shape(self.whole), is_batched(self.whole, self.cell.batched), sp.S.One
        for axis, part in enumerate((left, right)):
            if self.shape(part):
                vector = self.operand(part)
                vector = self.repeated(vector) if is_headed(self.whole, self.cell.headed) else vector
                product *= self.along(vector, axis, shape[1 - axis], batched=batched)
            else:
                product *= self.elementwise(part)
        return product

    def parted(self, expr: MatMul) -> Expr | None:
        """Return a product as one, or two, of which those with static matrices are alone, or None: of a sum of a static matrix and one that
        has a row a sequence the sum of two products, of a matrix times a number a number times the product.
        """
        match expr.left:
            case Binary(op="*" | "/" as op, left=a, right=b) if is_batched(expr.left, self.cell.batched) and not self.rank(b):
                return Binary(op, MatMul(a, expr.right), b)
            case Binary(op="*", left=a, right=b) if is_batched(expr.left, self.cell.batched) and not self.rank(a):
                return Binary("*", a, MatMul(b, expr.right))
            case Binary(op="+" | "-" as op, left=a, right=b) if is_batched(a, self.cell.batched) != is_batched(b, self.cell.batched):
                if self.is_sized(a) and self.is_sized(b):
                    return Binary(op, MatMul(a, expr.right), MatMul(b, expr.right))
        return None

    def scalar(self, expr: Expr) -> sp.Expr:
        """Return `expr` as an elementwise expression over names, adding equations for the parts that are not elementwise."""
        around, self.whole = self.whole, expr
        found = self.elementwise(expr)
        self.whole = around
        return found

    def elementwise(self, expr: Expr) -> sp.Expr:
        """Return a part of an elementwise expression."""
        if self.in_common(expr):
            return sp.Symbol(self.repeated(self.operand(expr)))
        match expr:
            case Number(value=value):
                return _number(value)
            case Name(id=name):
                constants = self.cell.scalar_constants
                return sp.Symbol(name) if name not in constants else constant(name) if constants[name] else sp.S.Zero
            case Negative(operand=operand):
                return -self.elementwise(operand)
            case Binary(op=op, left=left, right=right):
                a, b = self.elementwise(left), self.elementwise(right)
                return {"+": a + b, "-": a - b, "*": a * b}[op] if op != "/" else a / b
            case Power(base=base, exponent=exponent):
                return self.elementwise(base) ** _number(exponent)
            case Compare(op=op, left=left, right=right):
                return fn.COMPARISONS[op](self.elementwise(left), self.elementwise(right))
            case Call(function="eye"):
                return EYE
            case Call(function="len", args=(value,)):
                return extent(self.shape(value)[0])
            case Call(function="outer", args=(left, right)):
                return self.outer(left, right)
            case MatMul() if parted := self.parted(expr):
                return self.scalar(parted)
            case Call(function="mean", args=(value,)):
                return self.mean(self.scalar(value), value)
            case Call(function="layer_norm", args=(value,)):
                return self.layer_norm(value)
            case Call(function="detach" | "scale_gradient" as name, args=args):
                return fn.FUNCTIONS[name](*map(self.elementwise, args))
            case Call(function=name, args=(value,)) if name in self.surrogates:
                return self.surrogates[name](self.argument(value, alone=True))
            case Call(function="sqrt", args=(value,)) if _is_number(value):
                return sp.sqrt(self.elementwise(value))  # whose square is the number again
            case Call(function=name, args=args) if name in fn.FUNCTIONS:
                return fn.FUNCTIONS[name](*(self.argument(a, len(args) == 1) for a in args))
        return sp.Symbol(self.operand(expr))

    def in_common(self, expr: Expr) -> bool:
        """Say whether a part of an expression has one value for all heads, where the whole has one for each.

        A comparison is none: its sides are numbers that can be kept, it is not.
        """
        if not self.cell.heads or self.whole is None or isinstance(expr, Compare):
            return False
        if not is_headed(self.whole, self.cell.headed) or is_headed(expr, self.cell.headed):
            return False
        values = [name for name in values_of(expr) if name not in self.cell.scalar_constants]
        return bool(values) and (self.rank(expr) < 2 or self.is_sized(expr))

    def argument(self, expr: Expr, alone: bool) -> sp.Expr:
        """Return a function's argument; if it is alone and more than a name, it becomes the pre-activation, an equation of its own."""
        batched = is_batched(expr, self.cell.batched)
        label = Label("preactivation", self.target)
        if alone and batched and isinstance(expr, MatMul) and not self.parted(expr):
            return sp.Symbol(self.named(self.product(expr.left, expr.right), f"a_{self.target}", self.shape(expr), label))
        scalar = self.scalar(expr) if self.whole is None else self.elementwise(expr)
        if not alone or not batched or (sum(not is_constant(s) for s in scalar.free_symbols) < 2 and not scalar.is_Add):
            return scalar
        sized = self.whole if self.whole and self.rank(expr) == 2 else expr
        return sp.Symbol(self.elements(scalar, sized, f"a_{self.target}", label))

    def mean(self, value: sp.Expr, expr: Expr) -> sp.Expr:
        """Return the mean of the features of `value`, which has the shape of `expr`."""
        shape = self.shape(expr)
        name = value.name if self.is_whole(value, shape) else self.elements(value, expr)
        return self.mean_of(name, shape)

    def mean_of(self, name: str, shape: Shape) -> sp.Expr:
        """Return the mean of the features of the value `name`."""
        total = self.named(FeatureSum(name), f"sum_{name}", ())
        return sp.Symbol(total) / sp.Mul(*(extent(size) for size in shape))

    def row(self, expr: Expr) -> str:
        """Return the name of a function's argument whose features it takes together: a pre-activation if it is more than a name."""
        scalar, shape = self.argument(expr, alone=True), self.shape(expr)
        if self.is_whole(scalar, shape):
            return str(scalar.name)
        if is_batched(expr, self.cell.batched):
            return self.elements(scalar, expr, f"a_{self.target}", Label("preactivation", self.target))
        return self.elements(scalar, expr)

    def layer_norm(self, expr: Expr) -> sp.Expr:
        """Return the name of the normalised value, made once for each value."""
        v = self.operand(expr)
        if v not in self.normalised:
            name = self.names.fresh(f"{v}_hat")
            self.labels[name] = Label("part", v, "normalised")
            self.emit(name, self.normalisation(v, self.shape(expr), name), Type(self.shape(expr), False))
        return sp.Symbol(self.normalised[v])

    def normalisation(self, v: str, shape: Shape, name: str) -> Normalised:
        """Return ``(v - mean(v)) / sqrt(mean((v - mean(v))**2) + 1e-5)``, which will be called `name` (Ba et al. 2016,
        arXiv:1607.06450, eq. 3, with ε as in PyTorch).

        Where the mean is large beside the deviations, its rounding shifts all of v̂; but the rule of its cotangent takes v̂ to have mean 0,
        and makes of a shift an error that all features have in common, which what moves them all alike multiplies by a large number once
        more.  So the mean that rounding leaves is subtracted too, as in the corrected two-pass algorithm (Chan, Golub, LeVeque 1983,
        doi:10.2307/2683386): after the division, as a number so small would be lost in a sum with the mean, which may be in any order.
        """

        def part(role: str, node: Map) -> sp.Symbol:
            return sp.Symbol(self.named(node, f"{role}_{v}", (), Label("part", v, role)))

        self.normalised[v] = name
        deviation = sp.Symbol(v) - part("mean", Map(self.mean_of(v, shape)))
        centred = self.named(Map(deviation), f"centred_{v}", shape)
        squares = self.named(Map(sp.Symbol(centred) ** 2), f"squares_{v}", shape)
        std = part("std", Std(fn.sqrt(self.mean_of(squares, shape) + LAYER_NORM_EPSILON), v, name))
        shift = sp.Symbol(self.named(Map(self.mean_of(centred, shape) / std), f"shift_{v}", ()))
        return Normalised(deviation / std - shift, v, str(std))


def _is_number(expr: Expr) -> bool:
    """Say whether an expression is made of sizes."""
    return isinstance(expr, Call) and expr.function == "len"


def _number(value: Fraction | float) -> sp.Expr:
    exact = Fraction(value) if isinstance(value, Fraction | int) else Fraction(repr(value))
    return sp.Rational(exact.numerator, exact.denominator)
