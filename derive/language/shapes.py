"""Shapes of a cell's values.

Ranks first (`ranks`): what is a scalar, a vector or a matrix.  Then every use of a value gives equations between sizes, which are
solved over d, n and declared sizes (`unify`); a size that nothing determines is n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import CellError
from .ranks import Declarations, infer_ranks
from .sizes import Shape, Size, over
from .tree import Assignment, Call, Concat, Expr, Heads, MatMul, Name, Number, Transpose
from .unify import D, N, Sizes
from .unparse import unparse_expression
from .walks import children, is_batched, walk

__all__ = ["Declarations", "Inference", "infer", "is_batched", "rank_of", "shape_of"]


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
    ranks = infer_ranks(equations, known, integers)
    direct = Sizes(known, ranks, elementwise=False)
    direct.read(equations)
    full = Sizes(known, ranks, elementwise=True)
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
    known = tuple(size for size in shape if size is not None)
    if len(known) < len(shape):
        raise ValueError(f"`{unparse_expression(expr)}` has no size of its own: it needs a matrix beside it")
    return known


def rank_of(expr: Expr, shapes: Mapping[str, Shape]) -> int:
    """Return how many axes one row of `expr` has: 2 for `eye`, which has a rank of its own though no size."""
    return len(_shape_of(expr, shapes))


def _shape_of(expr: Expr, shapes: Mapping[str, Shape]) -> tuple[Size | None, ...]:
    """Return the shape of `expr`, of which those axes have no size that only what stands beside it tells: of `eye`, of `outer(1, v)`."""
    match expr:
        case Number():
            return ()
        case Name(id=name):
            return shapes[name]
        case MatMul(left=left):
            shape = shape_of(left, shapes)
            return (shape[0],) if len(shape) == 2 else ()
        case Transpose(operand=operand):
            return _shape_of(operand, shapes)[::-1]
        case Concat(parts=parts):
            return (sum((shape_of(part, shapes)[0] for part in parts), Size()),)
        case Call(function="eye"):
            return (None, None)
        case Call(function="outer", args=args):
            return tuple(next(iter(_shape_of(part, shapes)), None) for part in args)
        case Call(function="sum", args=(value, Number(value=axis))):
            return (_shape_of(value, shapes)[1 - int(axis)],)
        case Call(function="sum" | "mean" | "len" | "logsumexp" | "pick"):
            return ()
        case Call(function="merge", args=(value, Heads(size=heads))):
            return (shape_of(value, shapes)[0] * Size.of(heads),)
        case Call(function="part", args=(value, Heads(size=heads))):
            return (over(shape_of(value, shapes)[0], heads),)
    found = [_shape_of(part, shapes) for part in children(expr)]
    rank = max(map(len, found), default=0)
    beside = [shape for shape in found if len(shape) == rank]
    return tuple(next((shape[axis] for shape in beside if shape[axis] is not None), None) for axis in range(rank))


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
                raise CellError.at(
                    node.span, known.text, f"`{node.id}` is the index of a `pick`, an integer: it cannot be used as a number"
                )
    return frozenset(found)
