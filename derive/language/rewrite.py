"""Putting expressions for names: substitution, folding of constants, and leaving out what is no longer used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from .definition import Definition
from .errors import CellError, nearest
from .functions import put_in
from .parse import parse_expression
from .sizes import shape_text
from .tree import Assignment, Binary, Call, Compare, Expr, MatMul, Name, Negative, Number, Power, Transpose
from .unparse import decimal, unparse
from .walks import children, rebuild, with_leaves
from .wellformed import names_in, previous_names, targets_of

ZERO, ONE = Number(Fraction(0)), Number(Fraction(1))
_AT_ZERO: Mapping[str, Fraction] = {
    **dict.fromkeys(
        ["tanh", "relu", "sqrt", "softsign", "elu", "gelu", "silu", "hard_tanh", "erf", "sin", "abs", "sign", "step"], Fraction(0)
    ),
    **dict.fromkeys(["exp", "cos"], Fraction(1)),
    **dict.fromkeys(["sigmoid", "hard_sigmoid"], Fraction(1, 2)),
}


@dataclass(frozen=True)
class Rewritten:
    """New equations, and the names whose shape they no longer tell."""

    equations: tuple[Assignment, ...]
    keep_shape: tuple[str, ...]


def replaced(cell: Definition, expressions: Mapping[str, str], texts: Mapping[str, str]) -> Definition:
    """Return the definition, of the kind of `cell`, with `expressions` put for names and what is no longer used left out.

    `texts` are its name, title, reference and description.

    Raises
    ------
    CellError
        If a key is neither an assigned name nor a parameter, an expression is wrong, or what results is not a cell.
    """
    result = rewrite(cell, expressions)
    used = {node.id for _, node in names_in(result.equations)} | {*targets_of(result.equations)}

    def keep(mapping: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in mapping.items() if key in used}

    return type(cell)(
        unparse(result.equations),
        name=texts["name"],
        title=texts["title"],
        reference=texts["reference"],
        description=texts["description"],
        output=cell.output,
        inputs=tuple(i for i in cell.inputs if i in used),
        context=tuple(c for c in cell.context if c in used),
        fixed=tuple(f for f in cell.fixed if f in used),
        shapes=keep(cell.declared_shapes) | {key: shape_text(cell.shapes[key]) for key in result.keep_shape},
        constants=keep(cell.constants),
        init=keep(cell.init),
        latex=keep(cell.latex),
        functions=cell.surrogates,
        heads=cell.heads,
        shared=tuple(name for name in cell.shared if name in used),
    )


def rewrite(cell: Definition, expressions: Mapping[str, str]) -> Rewritten:
    """Return the equations of `cell` with `expressions` put for names.

    Raises
    ------
    CellError
        If a key is neither an assigned name nor a parameter, or an expression is wrong.
    """
    targets = targets_of(cell.equations)
    allowed = (*targets, *cell.parameters)
    values: dict[str, Expr] = {}
    for name, text in expressions.items():
        if name not in allowed:
            raise CellError(f"replace: `{name}` is neither assigned nor a parameter{nearest(name, allowed)}", text=cell.text)
        if name in {written for written, _ in cell.unrolled.versions.values()}:
            raise CellError(f"replace: `{name}` is assigned in a block: write the cell's text anew", text=cell.text)
        values[name] = put_in(parse_expression(text, cell.scalar_constants, cell.arguments), cell.own.macros, "replace")
    parts = {name for line in cell.equations if len(line.targets) > 1 for name in line.targets}
    for name in sorted(parts & values.keys()):
        raise CellError(f"replace: `{name}` is a part of `split`: replace the parameters that make it", text=cell.text)
    lines = [replace(line, value=values.get(line.targets[0], line.value)) for line in cell.equations]
    parameters = {name: value for name, value in values.items() if name in cell.parameters}
    lines = [replace(line, value=substitute(line.value, parameters)) for line in lines]
    equations = _settle(lines, cell.output)
    constant = tuple(line.targets[0] for line in equations if literal_value(line.value) is not None and cell.shapes[line.targets[0]])
    return Rewritten(equations, constant)


def _settle(lines: Sequence[Assignment], output: str) -> tuple[Assignment, ...]:
    """Fold constants into their uses and drop what is unused until nothing changes."""
    while True:
        folded = [part for line in lines for part in _parted(replace(line, value=fold(line.value)))]
        kept = {output, *(p[:-5] for p in previous_names(folded))}
        constants = {
            line.targets[0]: line.value
            for line in folded
            if len(line.targets) == 1 and line.targets[0] not in kept and literal_value(line.value) is not None
        }
        inlined = [replace(line, value=substitute(line.value, constants)) for line in folded]
        needed = _needed(inlined, output)
        result = [line for line in inlined if needed.intersection(line.targets)]
        if result == list(lines):
            return tuple(result)
        lines = result


def _parted(line: Assignment) -> list[Assignment]:
    """Return a line; one that splits a constant is a line for each part."""
    if len(line.targets) == 1 or literal_value(line.value) is None:
        return [line]
    return [replace(line, targets=(target,)) for target in line.targets]


def _needed(lines: Sequence[Assignment], output: str) -> set[str]:
    """Return the assigned names that reach the output, within a step or over steps."""
    needed, before = {output}, 0
    while len(needed) != before:
        before = len(needed)
        alive = [line for line in lines if needed.intersection(line.targets)]
        needed |= {
            node.id.removesuffix("_prev") if node.id.removesuffix("_prev") in targets_of(lines) else node.id for _, node in names_in(alive)
        }
    return needed


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Return `expr` with expressions put for names, all at once."""
    return with_leaves(expr, lambda leaf: values.get(leaf.id, leaf) if isinstance(leaf, Name) else leaf)


def literal(value: Fraction) -> Expr | None:
    """Return a number as the parser would make it, or None if it has no finite decimal."""
    if decimal(abs(value)) is None:
        return None
    return Negative(Number(-value)) if value < 0 else Number(value)


def literal_value(expr: Expr) -> Fraction | None:
    """Return the value of a number or of its negative, or None."""
    match expr:
        case Number(value=value):
            return value
        case Negative(operand=Number(value=value)):
            return -value
    return None


def fold(expr: Expr) -> Expr:
    """Return `expr` with its constants folded: `0 * a`, `1 * a`, `a + 0`, `a / 1`, `--a`, `0 @ v`, functions of 0, numbers."""
    expr = rebuild(expr, tuple(map(fold, children(expr))))
    match expr:
        case Negative(operand=Negative(operand=inner)):
            return inner
        case Negative(operand=Number(value=value)) if not value:
            return ZERO
        case Binary():
            return _fold_binary(expr)
        case MatMul(left=left, right=right) if literal_value(left) == 0 or literal_value(right) == 0:
            return ZERO
        case Transpose(operand=operand) if literal_value(operand) is not None:
            return operand
        case Power(base=base, exponent=exponent):
            if exponent == 1:
                return base
            if exponent == 0 or literal_value(base) == 1:
                return ONE
            return ZERO if literal_value(base) == 0 and exponent > 0 else expr
        case Call(function=function, args=args) if args:
            return _fold_call(expr, function, args)
    return expr


def _fold_binary(expr: Binary) -> Expr:
    left, right, op = expr.left, expr.right, expr.op
    a, b = literal_value(left), literal_value(right)
    if a is not None and b is not None and not (op == "/" and b == 0):
        value = {"+": a + b, "-": a - b, "*": a * b}[op] if op != "/" else a / b
        return literal(value) or expr
    match op:
        case "+" | "-" if b == 0:
            return left
        case "+" if a == 0:
            return right
        case "-" if a == 0:
            return fold(Negative(right))
        case "+" if isinstance(right, Negative):
            return fold(Binary("-", left, right.operand))
        case "-" if isinstance(right, Negative):
            return fold(Binary("+", left, right.operand))
        case "*" if a == 0 or b == 0:
            return ZERO
        case "/" if a == 0:
            return ZERO
        case "*" | "/" if b == 1:
            return left
        case "*" | "/" if b == -1:
            return fold(Negative(left))
        case "*" if a == 1:
            return right
        case "*" if a == -1:
            return fold(Negative(right))
    return expr


def _fold_call(expr: Expr, function: str, args: tuple[Expr, ...]) -> Expr:
    values = [literal_value(arg) for arg in args]
    if values == [Fraction(0)] and function in _AT_ZERO:
        return Number(_AT_ZERO[function])
    if function == "where" and isinstance(args[0], Compare):
        a, b = literal_value(args[0].left), literal_value(args[0].right)
        if a is not None and b is not None:
            return args[1] if {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[args[0].op] else args[2]
    if function in ("maximum", "minimum") and values[0] is not None and values[1] is not None:
        return args[values.index(max(values) if function == "maximum" else min(values))]  # type: ignore[type-var]
    if function in ("relu", "abs") and values[0] is not None and values[0] > 0:
        return args[0]
    return expr
