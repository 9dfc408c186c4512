"""What a cell's declarations and its text must agree on: names, initial values, and what may be a matrix."""

from __future__ import annotations

import math
import re
from numbers import Real

from . import blocks, wellformed
from .errors import CellError, nearest
from .hints import MATRICES, limit
from .names import canonical
from .reading import Reading
from .sizes import parse_shape, shape_text
from .tree import Call, Expr, MatMul, Name, Negative, Number, Transpose
from .unparse import unparse_expression
from .vocabulary import GRADIENTS, bad_name
from .walks import is_batched, is_headed, walk

RULES = ("uniform", "glorot", "orthogonal", "normal", "eye", "zeros", "ones")
"""The names of rules for initial values: see `derive.runtime.common.initial`."""
MATRIX_RULES = ("orthogonal", "eye")


def check(cell: Reading) -> None:
    """Raise the first error of the text and of the declarations."""
    given = {
        **dict.fromkeys(cell.inputs, "an input"),
        **dict.fromkeys(cell.context, "a context"),
        **dict.fromkeys(cell.constants, "a constant"),
    }
    groups = {"inputs": cell.inputs, "context": cell.context, "constants": tuple(cell.constants)}
    wellformed.check_declared_names(cell.text, groups)
    equations = cell.equations
    blocks.check(cell.text, cell.statements, equations, given, frozenset(cell.arguments))
    blocks.check_members(cell.text, cell.statements, cell.unrolled.families, cell.declared_shapes, given)
    wellformed.check_assignments(cell.text, equations, given)
    wellformed.check_reads(cell.text, equations, given)
    wellformed.check_output(cell.text, cell.output, equations)
    declared = frozenset({*cell.declared_shapes, *cell.fixed, *cell.init})
    wellformed.check_typos(cell.text, equations, (*cell.inputs, *cell.context), cell.parameters, declared)
    _check_names(cell)
    _check_shapes(cell)
    _check_initial_values(cell)
    _check_heads(cell)
    _check_matrices(cell)
    _check_gradients(cell)
    wellformed.check_inputs(cell.text, (*cell.inputs, *cell.context), equations)


def _check_names(cell: Reading) -> None:
    """Refuse declarations of what is no name of the text."""
    targets = wellformed.targets_of(cell.equations)
    read = {node.id for _, node in wellformed.names_in(cell.equations)}
    words = re.findall(r"\w+", canonical(re.sub("#.*", "", cell.text)))  # an exponent's constant is a number in the tree
    values = (*cell.inputs, *cell.context, *cell.parameters, *targets, *cell.constants)
    for what, keys, allowed, needed in (
        ("shapes", cell.declared_shapes, values, "a parameter, an input, a state or an assigned name"),
        ("fixed", cell.fixed, (*cell.parameters, *cell.inputs, *cell.context), "a parameter, an input or a context"),
        ("init", cell.init, (*cell.parameters, *cell.states), "a parameter or a state"),
        ("latex", cell.latex, values, "a name of the text"),
        ("constants", cell.constants, (*read, *words), "a name that the text reads"),
    ):
        for key in keys:
            if key not in allowed:
                raise CellError(f"{what}: `{key}` is not {needed}{nearest(str(key), allowed)}", text=cell.text)
    for key, tex in cell.latex.items():
        if not isinstance(tex, str):
            raise CellError(f"latex: `{key}` needs a text, not {tex!r}", text=cell.text)
    _ = cell.constant_arrays  # which says what is wrong with them


def _check_shapes(cell: Reading) -> None:
    for key, shape in cell.declared_shapes.items():
        try:
            parse_shape(shape)
        except ValueError as error:
            raise CellError(f"shapes: `{key}`: {error}", text=cell.text) from None


def _check_heads(cell: Reading) -> None:
    """Check the number of heads, what they share, and where heads are put together and parted."""
    if cell.heads and (not cell.heads.isidentifier() or bad_name(cell.heads)):
        raise CellError(f'heads needs the name of a size, such as "H", not {cell.heads!r}', text=cell.text)
    if cell.heads and not cell.headed:
        raise CellError(
            "heads: nothing has a value for each head: the cell has no parameter that is not shared, and no `part`", text=cell.text
        )
    if cell.shared and not cell.heads:
        raise CellError('shared tells what heads have in common: the cell has none without `heads="H"`', text=cell.text)
    for name in cell.shared:
        if name not in cell.parameters:
            raise CellError(f"shared: `{name}` is not a parameter{nearest(name, cell.parameters)}", text=cell.text)
    for name, shape in cell.declared_shapes.items():
        for size in parse_shape(shape):
            if product := next((term for term, _ in size.terms if "*" in term and cell.heads not in term.split("*")), ""):
                raise CellError(
                    f"shapes: `{name}`: `{product}` is no size: products of names are those of all heads together", text=cell.text
                )
    for line in cell.equations:
        for node in walk(line.value):
            if isinstance(node, Call):
                _check_head(cell, node)


def _check_head(cell: Reading, node: Call) -> None:
    if node.function in ("merge", "part"):
        if not cell.heads:
            message = f'`{node.function}` needs heads: `Cell(…, heads="H")` has the cell H times side by side'
            raise CellError.at(node.span, cell.text, message)
        if is_headed(node.args[0], cell.headed) != (node.function == "merge"):
            text = unparse_expression(node.args[0])
            what = "has no heads that could be put together" if node.function == "merge" else "has a value for each head already"
            raise CellError.at(node.span, cell.text, f"`{node.function}`: `{text}` {what}")
    if node.function == "pick" and is_headed(node.args[0], cell.headed):
        raise CellError.at(node.span, cell.text, "`pick` takes an element of a vector that all heads have in common")


def _check_initial_values(cell: Reading) -> None:
    for key, value in cell.init.items():
        if not isinstance(value, str | Real) or (isinstance(value, Real) and not math.isfinite(value)):
            raise CellError(f"init: `{key}` needs a finite number or the name of a rule, not {value!r}", text=cell.text)
        if key in cell.states and isinstance(value, str):
            raise CellError(f"init: `{key}` is a state, whose value before the first step must be a number, not {value!r}", text=cell.text)
        if isinstance(value, str) and value not in RULES:
            raise CellError(f"init: `{key}`: there is no rule `{value}`{nearest(value, RULES)}: {', '.join(RULES)}", text=cell.text)
        if value in MATRIX_RULES and len(cell.shapes[key]) != 2:
            raise CellError(f"init: the rule `{value}` needs a matrix, `{key}` is {shape_text(cell.shapes[key])}", text=cell.text)


def _check_gradients(cell: Reading) -> None:
    """Check what `clip_gradient` and `scale_gradient` are given: a value of the step, and numbers."""
    for line in cell.equations:
        for node in walk(line.value):
            if not isinstance(node, Call) or node.function not in GRADIENTS:
                continue
            value, *parts = node.args
            numbers = [_constant(cell, node.function, part) for part in parts]
            if len(numbers) == 2 and not numbers[0] <= 0 <= numbers[1]:
                message = f"`clip_gradient(v, low, high)` needs bounds with zero between them, got {numbers[0]:g} and {numbers[1]:g}"
                raise CellError.at(parts[0].span, cell.text, message)
            if not is_batched(value, cell.batched):
                message = (
                    f"`{unparse_expression(value)}` is the same at every step, and its gradient a sum over steps: change that outside of "
                    "the cell"
                )
                raise CellError.at(value.span, cell.text, message)


def _constant(cell: Reading, function: str, expr: Expr) -> float:
    """Return the value of a number or a constant, or of its negative."""
    match expr:
        case Number(value=value):
            return float(value)
        case Name(id=name) if name in cell.scalar_constants:
            return float(cell.scalar_constants[name])
        case Negative(operand=Number() | Name()):
            return -_constant(cell, function, expr.operand)
    raise CellError.at(expr.span, cell.text, f"`{function}` needs a number or a constant, not `{unparse_expression(expr)}`")


def _check_matrices(cell: Reading) -> None:
    """Refuse matrices as inputs and as the output, and the transpose of one that has a row a sequence but for a product."""
    for name in (*cell.inputs, *cell.context):
        if name in cell.declared_shapes and len(parse_shape(cell.declared_shapes[name])) == 2:
            what = "an input" if name in cell.inputs else "a context"
            shape = shape_text(parse_shape(cell.declared_shapes[name]))
            raise CellError(f"`{name}` is declared a matrix ({shape}): {what} is a vector or a scalar; {limit(MATRICES)}", text=cell.text)
    shapes = cell.shapes  # whose errors come first
    for line in cell.equations:
        products = {id(node.left) for node in walk(line.value) if isinstance(node, MatMul)}
        for node in walk(line.value):
            if isinstance(node, Transpose) and id(node) not in products and is_batched(node, cell.batched):
                raise CellError.at(
                    node.span,
                    cell.text,
                    f"`{unparse_expression(node.operand)}` is a matrix that changes from row to row: its transpose stands only on the left "
                    f"of `@`, as in `S.T @ q`; {limit(MATRICES)}",
                )
    if len(shapes[cell.output]) == 2:
        raise CellError(
            f"the output `{cell.output}` is a matrix: it must be a vector or a scalar, such as what is read from it, `{cell.output} @ q`",
            text=cell.text,
        )
