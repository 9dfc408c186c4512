"""Expressions of a cell's text: nodes of Python's `ast` against a whitelist. Nothing of the text is ever executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from .hints import HABITS, function_hint
from .places import TOO_LARGE, Written, no_index
from .tree import Binary, Call, Compare, Concat, Expr, Indexed, MatMul, Name, Negative, Number, Power, Span, Transpose
from .vocabulary import ARITY, AXES, MAX_DEPTH, MAX_EXPONENT, MAX_NUMBER, RESERVED, bad_name

_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_EXACT: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_SYMBOL = {ast.FloorDiv: "//", ast.Mod: "%", ast.BitOr: "|", ast.BitAnd: "&", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>"}


def _reads_time(*nodes: ast.expr) -> bool:
    """Say whether `t` stands in what would be an index."""
    return any(isinstance(node, ast.Name) and node.id == "t" for part in nodes for node in ast.walk(part))


@dataclass(frozen=True)
class Reader(Written):
    """Turns the nodes of `ast` into a cell's expressions.

    Attributes
    ----------
    constants : mapping
        Values of named scalar constants, which exponents may use.
    functions : mapping
        Names of the arguments of each function of the cell's own.
    variables : tuple of str
        Those of the blocks around.
    """

    constants: Mapping[str, Fraction | float]
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variables: tuple[str, ...] = ()

    def expression(self, node: ast.expr, depth: int) -> Expr:
        """An expression that is a value (so no comparison)."""
        self.check_depth(node, depth)
        return replace(self._expression(node, depth + 1), span=self.span(node))

    def check_depth(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            message = f"nested too deeply: at most {MAX_DEPTH} levels are read; name parts of it on lines of their own"
            raise self.error(message, node)

    def _expression(self, node: ast.expr, depth: int) -> Expr:
        match node:
            case ast.Constant():
                return Number(self.number(node))
            case ast.Name(id=name):
                return self.name(name, node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Negative(self.expression(operand, depth))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.expression(operand, depth)
            case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
                return Power(self.expression(base, depth), self.exponent(exponent))
            case ast.BinOp(op=ast.MatMult()):
                return self.product(node, depth)
            case ast.BinOp(op=ast.Div(), right=ast.Constant(value=0 | 0.0)):
                raise self.error("division by zero", node)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
                return Binary(_BINARY[type(op)], self.expression(left, depth), self.expression(right, depth))
            case ast.Attribute(value=operand, attr="T"):
                return Transpose(self.expression(operand, depth))
            case ast.Subscript(value=ast.Name(), slice=index) if self.is_index(index):
                return self.indexed(node)
            case ast.List(elts=parts) if parts:
                return Concat(tuple(self.expression(part, depth) for part in parts))
            case ast.Call():
                return self.call(node, depth)
        raise self.error(self.refusal(node), node)

    def refusal(self, node: ast.expr) -> str:
        """Why a node of Python is not in the language."""
        match node:
            case ast.BinOp(op=ast.BitXor()):
                return "the operator `^` is not in the language: a power is `a ** 2`"
            case ast.BinOp(op=op):
                return f"the operator `{_SYMBOL[type(op)]}` is not in the language: `+ - * / ** @` are"
            case ast.UnaryOp():
                return "this operator is not in the language: unary `-` is"
            case ast.Attribute(attr=attr):
                return f"the attribute `.{attr}` is not in the language: only `.T`, the transpose of a matrix, is"
            case ast.Compare() | ast.BoolOp():
                return "a comparison may only be the first argument of `where(a > b, c, d)`"
            case ast.Subscript(value=ast.Name(id=name), slice=index) if _reads_time(index):
                return no_index(name)
            case ast.Subscript(value=ast.Name(id=name)):
                return (
                    f"`{name}[…]` is one of several parameters, whose number is an integer or the variable of a `for` around, as in "
                    f"`{name}[j + 1]`; `a, b = split(v, 2)` and `pick(v, k)` take parts of a vector"
                )
            case ast.Subscript():
                return "indexing is not in the language: `a, b = split(v, 2)` and `pick(v, k)` take parts of a vector"
            case ast.Tuple():
                return "a value is expected, not several; `[a, b]` concatenates vectors"
            case ast.List():
                return "an empty concatenation: `[a, b]` needs vectors"
            case ast.IfExp():
                return "`if` is not in the language: `where(a > b, c, d)` chooses elementwise"
        return f"this form of Python ({type(node).__name__}) is not in the language"

    def number(self, node: ast.Constant) -> Fraction:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"a number is expected, not {str(value)[:40]!r}", node)
        if value > MAX_NUMBER:
            raise self.error(TOO_LARGE, node)
        return Fraction(value) if isinstance(value, int) else Fraction(repr(value))

    def name(self, name: str, node: ast.expr) -> Expr:
        if name == "eye":
            return Call("eye", ())
        if name in RESERVED:
            raise self.error(f"`{name}` is a function: write `{name}(…)`", node)
        if reason := bad_name(name):
            raise self.error(reason, node)
        return Name(name)

    def is_index(self, node: ast.expr) -> bool:
        """Say whether a node is what numbers parameters: an integer, or a variable with or without an integer added."""
        match node:
            case ast.Constant(value=value):
                return type(value) is int
            case ast.BinOp(op=ast.Add() | ast.Sub(), left=ast.Name(id=name), right=ast.Constant(value=value)):
                return name in self.variables and type(value) is int
        return isinstance(node, ast.Name) and node.id in self.variables

    def indexed(self, node: ast.Subscript) -> Expr:
        """One of several parameters: `W[j + 1]`."""
        assert isinstance(node.value, ast.Name)
        if reason := bad_name(node.value.id):
            raise self.error(reason, node)
        match node.slice:
            case ast.Constant(value=int(number)):
                return Indexed(node.value.id, "", number)
            case ast.BinOp(op=op, left=ast.Name(id=name), right=ast.Constant(value=int(number))):
                return Indexed(node.value.id, name, number if isinstance(op, ast.Add) else -number)
            case ast.Name(id=name):
                return Indexed(node.value.id, name, 0)
        raise self.error(self.refusal(node), node)

    def product(self, node: ast.expr, depth: int) -> Expr:
        """A chain of `@`, which Python reads from the left and mathematics from the right: `A @ B @ v` is `A @ (B @ v)`."""
        factors: list[Expr] = []
        bracketed = False
        while not bracketed and isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            factors.append(self.expression(node.right, depth))
            # a left operand that starts after its product stands in brackets: `(u @ v) @ w` is meant as it is written
            bracketed = (node.left.lineno, node.left.col_offset) != (node.lineno, node.col_offset)
            node, depth = node.left, depth + 1
        chain = factors[0]
        for factor in (*factors[1:], self.expression(node, depth)):
            chain = MatMul(factor, chain, span=Span(factor.span.line, factor.span.column, chain.span.end))
        return chain

    def exponent(self, node: ast.expr) -> Fraction:
        value = self.rational(node, 0)
        if abs(value) > MAX_EXPONENT:
            raise self.error(f"the exponent is {float(value):g}: at most {MAX_EXPONENT} in magnitude", node)
        return value

    def rational(self, node: ast.expr, depth: int) -> Fraction:
        """The value of a constant expression of numbers and named scalar constants."""
        self.check_depth(node, depth)
        match node:
            case ast.Constant():
                return self.number(node)
            case ast.Name(id=name) if name in self.constants:
                value = self.constants[name]
                return value if isinstance(value, Fraction) else Fraction(repr(value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.rational(operand, depth + 1)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.rational(operand, depth + 1)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
                a, b = self.rational(left, depth + 1), self.rational(right, depth + 1)
                if isinstance(op, ast.Div) and not b:
                    raise self.error("division by zero", node)
                result = _EXACT[type(op)](a, b)
                if max(abs(result.numerator), result.denominator) > MAX_NUMBER:
                    raise self.error("the numbers of an exponent are too long: at most 300 digits", node)
                return result
        raise self.error("an exponent must be a constant number; `exp(p * log(a))` is a to the power of a value p", node)

    def call(self, node: ast.Call, depth: int) -> Expr:
        """A call of a function of the language."""
        if not isinstance(node.func, ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            hint = f": write `{name}(…)`" if name in ARITY else function_hint(name, frozenset()) if name in HABITS else ""
            raise self.error(f"only a function's name can be called{hint}", node.func)
        name = node.func.id
        if name in self.functions:
            return self.own(node, self.functions[name], depth)
        if name not in ARITY and _reads_time(*node.args) and name not in HABITS:
            raise self.error(no_index(name), node.func)
        if name not in ARITY:
            what = "`eye` is not a function" if name == "eye" else f"unknown function `{name}`"
            raise self.error(what + function_hint(name, RESERVED | {*self.functions}), node.func)
        self.check_plain(node, name)
        if name in AXES and len(node.args) == 2:
            return Call(name, (self.expression(node.args[0], depth), self.axis(name, node.args[1])))
        if len(node.args) != ARITY[name]:
            plural = "" if ARITY[name] == 1 else "s"
            more = ", or a matrix and an axis" if name in AXES else ""
            raise self.error(f"`{name}` takes {ARITY[name]} argument{plural}{more}, got {len(node.args)}", node)
        if name == "split":
            raise self.error("`split` must be the whole right side of an assignment to several names: `a, b = split(v, 2)`", node)
        if name == "where":
            condition, *values = node.args
            return Call(name, (self.comparison(condition, depth), *(self.expression(v, depth) for v in values)))
        args = tuple(self.expression(arg, depth) for arg in node.args)
        if name == "pick" and not isinstance(args[1], Name):
            raise self.error("the index of `pick` must be the name of an input", node.args[1])
        return Call(name, args)

    def axis(self, name: str, node: ast.expr) -> Expr:
        """The axis of a matrix that is summed over."""
        if not (isinstance(node, ast.Constant) and type(node.value) is int and node.value in (0, 1)):
            raise self.error(f"the axis of `{name}(M, axis)` is 0, which leaves the sum of each column, or 1, that of each row", node)
        return Number(Fraction(node.value), span=self.span(node))

    def check_plain(self, node: ast.Call, name: str) -> None:
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self.error(f"`{name}` takes plain arguments only", node)

    def own(self, node: ast.Call, arguments: tuple[str, ...], depth: int) -> Expr:
        """A call of one of the cell's own functions."""
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        self.check_plain(node, name)
        if len(node.args) != len(arguments):
            plural = "" if len(arguments) == 1 else "s"
            message = f"`{name}({', '.join(arguments)})` takes {len(arguments)} argument{plural}, got {len(node.args)}"
            raise self.error(message, node)
        return Call(name, tuple(self.expression(arg, depth) for arg in node.args))

    def comparison(self, node: ast.expr, depth: int) -> Expr:
        """The first argument of `where`."""
        if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE):
            raise self.error("the first argument of `where` must be one comparison by `<`, `<=`, `>` or `>=`", node)
        left, right = self.expression(node.left, depth), self.expression(node.comparators[0], depth)
        return Compare(_COMPARE[type(node.ops[0])], left, right, span=self.span(node))
