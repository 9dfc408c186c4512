"""Sums and means of a row's features inside expressions, in the form that a textbook gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sympy as sp

Scalar = Callable[[sp.Expr], bool]
"""Says whether a factor is one number for all features of a row."""


class Total(sp.Function):
    """The sum over the elements of the first argument, of whose axes the others are the lengths: one for a vector, two for a matrix."""


class Mean(sp.Function):
    """The mean over the features of the argument."""


def total(value: sp.Expr, axes: Iterable[sp.Expr], scalar: Scalar) -> sp.Expr:
    """Return the sum over the elements of `value`, which has those axes, with those factors before it that are numbers of the row."""
    factors = sp.Mul.make_args(value)
    alone = [f for f in factors if f.is_number or scalar(f)]
    rest = sp.Mul(*(f for f in factors if f not in alone))
    return sp.Mul(*alone) * (sp.Mul(*axes) if rest == 1 else Total(rest, *axes))


def tidied(expr: sp.Expr, scalar: Scalar) -> sp.Expr:
    """Return a sum with means where it has totals over their counts, and with one divisor for all the terms that have it."""
    terms = [averaged(term) for product in sp.Add.make_args(expr) for term in distributed(product)]
    divisors = {f.base for term in terms for f in sp.Mul.make_args(term) if f.is_Pow and f.exp == -1 and scalar(f.base)}
    for divisor in sorted(divisors, key=str):
        over = [term for term in terms if 1 / divisor in sp.Mul.make_args(term)]
        if len(over) > 1:
            sign = -1 if all(term.as_coeff_Mul()[0].is_negative for term in over) else 1
            joint = sp.Mul(sign, 1 / divisor, sp.Add(*(sign * term * divisor for term in over)))
            terms = [*(term for term in terms if term not in over), joint]
    return sp.Add(*terms)


def distributed(product: sp.Expr) -> tuple[sp.Expr, ...]:
    """Return the terms of a product that has a sum of totals or means as a factor."""
    for factor in sp.Mul.make_args(product):
        if factor.is_Add and all(term.has(Total, Mean) for term in factor.args):
            return tuple(product / factor * term for term in factor.args)
    return (product,)


def averaged(product: sp.Expr) -> sp.Expr:
    """Return a product with a mean in place of a total over its count."""
    for factor in sp.Mul.make_args(product):
        if isinstance(factor, Total):
            value, *axes = factor.args
            count = sp.Mul(*axes)
            rest = product / factor * count
            if count.free_symbols and count.free_symbols <= product.xreplace({factor: sp.S.One}).free_symbols:
                return product if rest.free_symbols & count.free_symbols else rest * Mean(value)
    return product
