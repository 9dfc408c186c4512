"""From expression trees back to text: the fewest brackets that `derive.language.parse` reads as the same tree."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from .tree import Assignment, Binary, Call, Compare, Concat, Expr, Heads, MatMul, Name, Negative, Number, Power, Transpose

_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(1, 6)


def unparse(assignments: Iterable[Assignment]) -> str:
    """Return the text of equations, one a line: ``parse(unparse(x)) == x``."""
    return "\n".join(map(_line, assignments))


def unparse_expression(expr: Expr) -> str:
    """Return the text of one expression."""
    return _text(expr, 0)


def decimal(value: Fraction) -> str | None:
    """Return a number that is not negative as a decimal literal, exactly; None if it has no finite one of at most 40 digits."""
    if value.denominator == 1 and value < 10**16:
        return str(value.numerator)
    digits, denominator = 0, value.denominator
    while denominator % 10 == 0:
        denominator, digits = denominator // 10, digits + 1
    twos = fives = 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    if denominator != 1:
        return None
    digits += max(twos, fives)
    mantissa = str(value.numerator * 10**digits // value.denominator)
    if digits <= 6 and len(mantissa) <= 20:
        mantissa = mantissa.rjust(digits + 1, "0")
        return mantissa if not digits else f"{mantissa[:-digits]}.{mantissa[-digits:]}"
    short = mantissa.rstrip("0")
    return f"{short}e{len(mantissa) - len(short) - digits}" if len(short) <= 40 else None


def _line(line: Assignment) -> str:
    value = _text(line.value, 0)
    if len(line.targets) > 1:
        return f"{', '.join(line.targets)} = split({value}, {len(line.targets)})"
    return f"{line.targets[0]} = {value}"


def _text(expr: Expr, need: int) -> str:
    """Return the text of `expr`, in brackets if it binds less tightly than `need`."""
    text, level = _render(expr)
    return text if level >= need else f"({text})"


def _render(expr: Expr) -> tuple[str, int]:
    match expr:
        case Number(value=value):
            literal = decimal(value)
            return (literal, _ATOM) if literal is not None else (f"{value.numerator} / {value.denominator}", _PRODUCT)
        case Name(id=name):
            return name, _ATOM
        case Negative(operand=operand):
            return f"-{_text(operand, _SIGN)}", _SIGN
        case Binary(op=op, left=left, right=right):
            level = _SUM if op in "+-" else _PRODUCT
            return f"{_text(left, level)} {op} {_text(right, level + 1)}", level
        case Power(base=base, exponent=exponent):
            return f"{_text(base, _ATOM)} ** {_exponent(exponent)}", _POWER
        case MatMul():
            return _chain(expr), _PRODUCT
        case Transpose(operand=operand):
            return f"({_text(operand, 0)}).T" if isinstance(operand, Number) else f"{_text(operand, _ATOM)}.T", _ATOM
        case Concat(parts=parts):
            return f"[{', '.join(_text(p, 0) for p in parts)}]", _ATOM
        case Compare(op=op, left=left, right=right):
            return f"{_text(left, _SUM)} {op} {_text(right, _SUM)}", 0
        case Call(function="eye"):
            return "eye", _ATOM
        case Call(function=function, args=args):
            return f"{function}({', '.join(_text(a, 0) for a in args if not isinstance(a, Heads))})", _ATOM
    raise TypeError(f"not an expression: {expr!r}")


def _chain(expr: MatMul) -> str:
    """Return ``A @ (B @ v)`` as ``A @ B @ v``, which is read from the right."""
    left = _text(expr.left, _PRODUCT)
    parts = [f"({left})" if isinstance(expr.left, MatMul) else left]
    rest = expr.right
    while isinstance(rest, MatMul):
        parts.append(_text(rest.left, _SIGN))
        rest = rest.right
    return " @ ".join([*parts, _text(rest, _SIGN)])


def _exponent(value: Fraction) -> str:
    literal = decimal(abs(value))
    if literal is None:
        return f"({'-' * (value < 0)}{abs(value.numerator)}/{value.denominator})"
    return f"{'-' * (value < 0)}{literal}"
