"""What is in the language and hardly meant: a recurrence that lost its state, and parameters that no gradient reaches.

Both are said where a person reads about a cell (`derive show`, `derive check`); neither is an error.  A readout or a loss has no state, and
that alone is no reason to doubt.  What tells a recurrence without its state from them is a matrix times something that is the same at every
step: their products take a value of the step, while `U @ hh` of two parameters might as well be one vector.  It is where a state was meant.
"""

from __future__ import annotations

import sympy as sp

from ..language.definition import Definition
from ..language.tree import Expr, MatMul
from ..language.unparse import unparse_expression
from ..language.walks import is_batched, names_of, walk
from .chain import BACKWARD
from .derivation import differentiate
from .ir import Map


def doubts(cell: Definition) -> tuple[str, ...]:
    """Return a sentence for each thing that was hardly meant."""
    return (*_lost_state(cell), *_without_gradient(cell))


def _lost_state(cell: Definition) -> tuple[str, ...]:
    products = [node for line in cell.equations for node in walk(line.value) if isinstance(node, MatMul)]
    alone = [node for node in products if not is_batched(node, cell.batched) and _trained(node.left, cell) and _trained(node.right, cell)]
    if cell.states or not alone:
        return ()
    return (
        f"the cell has no state: nothing is handed on from step to step, and `{unparse_expression(alone[0])}`, of parameters alone, is the "
        f"same at every step; the value of `{cell.output}` at the step before is written `{cell.output}_prev`",
    )


def _trained(expr: Expr, cell: Definition) -> bool:
    return any(name in cell.parameters and name not in cell.fixed for name in names_of(expr))


def _without_gradient(cell: Definition) -> tuple[str, ...]:
    """Say which parameters get no gradient, whatever the loss is."""
    derivation = differentiate(cell)
    zero = {eq.name for eq in derivation[BACKWARD].recurrence.equations() if eq.node == Map(sp.S.Zero)}
    found = [name for name in cell.parameters if name not in cell.fixed and derivation[BACKWARD].cotangent[name] in zero]
    if not found:
        return ()
    names, declared = ", ".join(f"`{name}`" for name in found), ", ".join(f'"{name}"' for name in found)
    return (
        f"no gradient reaches {names}: on every way from there to the loss is a slope of zero, as of `step`, `sign` or a comparison, or "
        f"there is no way; what is not to be trained is declared, `fixed=({declared}{',' * (len(found) == 1)})`",
    )
