"""What the compiled host functions do with values that are constant in time: loops over their elements, and calls of small functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import sympy as sp

from ...calculus.ir import (
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Outer,
    Recurrence,
    Slice,
    Transpose,
)
from ...calculus.symbols import EYE, extent_name, is_extent
from ...language.sizes import Size
from ..expression import Expressions
from ..source import Source, Statement, Tree, assign, block, code, do, free, name, needed, store
from .kernel import real_of

INDICES = ("at", "j")  # of the elements of a matrix: names that no value has


class Host(Protocol):
    """What is asked of the code that the statements are in."""

    constants: dict[str, str]

    @property
    def arrays(self) -> Iterable[str]:
        """The names of arrays that are never nothing."""

    @property
    def perhaps(self) -> Iterable[str]:
        """Those of arrays that may be."""

    @property
    def rec(self) -> Recurrence: ...

    def source(self, value: str) -> Source: ...

    def size(self, size: Size) -> Source: ...

    def size_of(self, named: str) -> Source: ...


def static_work(host: Host, eq: Equation, target: Source) -> list[Tree]:
    """Return the statements that write a static value to its array."""
    match eq.node:
        case Map(expr=expr):
            return _elementwise(host, eq, target, expr)
        case HeadSum(value=v):
            return _summed_over_heads(host, eq, target, v)
        case Concat(parts=parts) if not host.rec.types[eq.name].headed:
            return _stacked(host, target, parts, host.source)
    if not host.rec.types[eq.name].headed:
        return _of_one(host, eq, target)
    of_head = code("{}[head : head + 1]" if not host.rec.types[eq.name].shape else "{}[head]", target, uses=("head",))
    return [block(code("for head in range({}):", host.size_of(host.rec.heads)), _of_one(host, eq, of_head), defines=("head",))]


def _of_one(host: Host, eq: Equation, target: Source) -> list[Tree]:
    """Return the statements that write a value; of one that each head has, that of the head at hand."""

    def of(value: str) -> Source:
        value = host.rec.repeated.get(value, value)
        return code("{}[head]", host.source(value), uses=("head",)) if host.rec.types[value].headed else host.source(value)

    match eq.node:
        case Concat(parts=parts):
            return _stacked(host, target, parts, of)
        case Slice(value=v, start=start, size=size):
            return [_called("put_rows", target, Source("0"), code("{}[{} : {}]", of(v), host.size(start), host.size(start + size)))]
        case Transpose(matrix=m):
            return [_called("transposed", target, of(m))]
        case Outer(left=u, right=v):
            return [_called("outer", target, of(u), of(v))]
        case MatVec(matrix=m, vector=v, plus=p):
            return [_called("matvec", target, of(m), of(v)), *([_called("plus", target, of(p))] if p else [])]
        case MatVecT(matrix=m, vector=v, plus=p):
            return [_called("matvec_t", target, of(m), of(v)), *([_called("plus", target, of(p))] if p else [])]
        case AxisSum(value=v, axis=axis):
            return _summed_over(host, target, v, axis)
        case FeatureSum(value=v):
            return [store(code("{}[0]", target), code("feature_sum({})", of(v), uses=("feature_sum",)))]
        case LogSumExp(value=v):
            return [store(code("{}[0]", target), code("log_sum_exp({})", of(v), uses=("log_sum_exp",)))]
    raise TypeError(f"{eq.name}: {type(eq.node).__name__} of static values has no code")


def typed_constants(host: Host, work: list[Tree]) -> list[Statement]:
    """Return the statements that make the constants which `work` reads, of its dtype."""
    read = free(work)
    real = real_of([made for made in host.arrays if made in read], [made for made in host.perhaps if made in read])
    if real is None:
        return []
    pairs = sorted(host.constants.items(), key=lambda item: float(item[1]))
    constants = [assign(constant, code("real({})", value, uses=("real",))) for constant, value in pairs]
    return needed([assign("real", real), *constants], work)


def _called(function: str, *given: Source) -> Statement:
    return do(code(f"{function}({', '.join(['{}'] * len(given))})", *given, uses=(function,)))


def _stacked(host: Host, target: Source, parts: tuple[str, ...], of: Callable[[str], Source]) -> list[Tree]:
    lines: list[Tree] = []
    start = Size()
    for part in parts:
        lines.append(_called("put_rows", target, host.size(start), of(part)))
        start = start + host.rec.types[part].shape[0]
    return lines


def _elementwise(host: Host, eq: Equation, target: Source, expr: sp.Expr) -> list[Tree]:
    """Return the loops over the elements of a value; those of fewer axes have the last ones."""
    kind = host.rec.types[eq.name]
    loops = [("seq", name("batch"))] if kind.batched else []
    loops += [("head", host.size_of(host.rec.heads))] if kind.headed else []
    loops += list(zip(INDICES[2 - len(kind.shape) :], map(host.size, kind.shape), strict=True))
    indices = [index for index, _ in loops] or ["0"]
    indices += ["0"] if indices == ["seq"] else []

    def atom(symbol: sp.Symbol) -> Source:
        if symbol == EYE:
            host.constants |= {"one": "1.0", "zero": "0.0"}
            return code("where(at == j, one, zero)", uses=("where", "at", "j", "one", "zero"))
        if is_extent(symbol):
            return code("real({})", host.size_of(extent_name(symbol)), uses=("real",))
        return _element(host, symbol.name)

    printer = Expressions(atom)
    value = printer.source(expr)
    host.constants |= printer.constants
    return _looped(loops, [store(code("{}[{}]", target, ", ".join(indices), uses=[index for index, _ in loops]), value)])


def _looped(loops: Iterable[tuple[str, Source]], work: list[Tree]) -> list[Tree]:
    """Return statements in loops, the first around all others, by their indices and how far these go."""
    for index, size in reversed([*loops]):
        work = [block(code(f"for {index} in range({{}}):", size), work, defines=(index,))]
    return work


def _summed_over_heads(host: Host, eq: Equation, target: Source, value: str) -> list[Tree]:
    """Return the loops that sum what each head has."""
    host.constants |= {"zero": "0.0"}
    kind = host.rec.types[eq.name]
    loops = [("seq", name("batch"))] if kind.batched else []
    loops += list(zip(INDICES[2 - len(kind.shape) :], map(host.size, kind.shape), strict=True))
    indices = [index for index, _ in loops]
    place = code("{}[{}]", target, ", ".join(indices if kind.shape else [*indices, "0"]), uses=indices)
    added = _looped([("head", host.size_of(host.rec.heads)), *loops], [store(place, code("{} + {}", place, _element(host, value)))])
    return [*_looped(loops, [store(place, name("zero"))]), *added]


def _summed_over(host: Host, target: Source, value: str, axis: int) -> list[Tree]:
    """Return the loops that sum a matrix over an axis."""
    host.constants |= {"zero": "0.0"}
    rows, columns = map(host.size, host.rec.types[value].shape)
    index, size = ("at", rows) if axis == 1 else ("j", columns)
    place = code(f"{{}}[{index}]", target, uses=(index,))
    added = store(place, code("{} + {}", place, _element(host, value)))
    return [
        block(code(f"for {index} in range({{}}):", size), [store(place, name("zero"))], defines=(index,)),
        block(code("for at in range({}):", rows), [block(code("for j in range({}):", columns), [added], defines=("j",))], defines=("at",)),
    ]


def _element(host: Host, value: str) -> Source:
    along = host.rec.laid.get(value)
    axis = None if along is None else INDICES[along.axis]
    value = value if along is None else along.value
    value = host.rec.repeated.get(value, value)
    kind = host.rec.types[value]
    last = (*(("head",) if kind.headed else ()), *((axis,) if axis else INDICES[2 - len(kind.shape) :] if kind.shape else ())) or ("0",)
    indices = (*(("seq",) if kind.batched else ()), *last)
    return code("{}[{}]", host.source(value), ", ".join(indices), uses=[index for index in indices if index != "0"])
