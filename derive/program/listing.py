"""A cell on its way through the compiler, as text: recurrences, their regions, and programs."""

from __future__ import annotations

import sympy as sp

from ..calculus.ir import (
    Along,
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Merge,
    Node,
    Outer,
    Part,
    Pick,
    Recurrence,
    Repeat,
    Slice,
    Spread,
    Total,
    Transpose,
)
from ..calculus.symbols import constant_name, is_constant
from ..language.definition import Definition
from .imperative import HeadLoop, Loop, Program, RowLoop, VectorLoop
from .passes.hoist import hoist
from .pipeline import compile_cell, stages


def listing(cell: Definition) -> str:
    """Return the recurrences after each pass, then their regions and their programs."""
    parts = []
    for name, stage in stages(cell):
        parts += [f"== {name}", *(recurrence(link.recurrence) for link in stage)]
    compiled = compile_cell(cell)
    for link in compiled.derivation:
        regions = hoist(link.recurrence)
        parts.append(f"== hoist {link.recurrence.name}")
        parts += [f"  {n}: {' '.join(eq.name for eq in getattr(regions, n))}" for n in ("once", "before", "loop", "after")]
    parts += ["== storage", *(program(link.program) for link in compiled)]
    return "\n".join(parts)


def recurrence(rec: Recurrence) -> str:
    """Return a recurrence, an equation a line."""
    lines = [f"{rec.name} ({'last step first' if rec.reverse else 'first step first'})"]
    lines += [f"  reads {' '.join(rec.sequences)}" if rec.sequences else "  reads nothing"]
    lines += [f"  carries {', '.join(f'{c.previous} → {c.value}' for c in rec.carries)}"] if rec.carries else []
    for title in ("prologue", "body", "accumulators", "epilogue"):
        equations = getattr(rec, title)
        lines += [f"  {title}", *(f"    {_equation(eq)}" for eq in equations)] if equations else []
    return "\n".join([*lines, f"  writes {' '.join(rec.written)}"])


def _equation(eq: Equation) -> str:
    return f"{eq.name} = {_node(eq.node)}" + (f"    ({eq.tag})" if eq.shown and eq.tag else "")


def _node(node: Node) -> str:
    match node:
        case Map(expr=expr):
            return str(expr.xreplace({s: sp.Symbol(constant_name(s)) for s in expr.free_symbols if is_constant(s)}))
        case MatVec(matrix=m, vector=v, plus=p):
            return f"{m} @ {v}" + (f" + {p}" if p else "")
        case MatVecT(matrix=m, vector=v, plus=p):
            return f"{m}.T @ {v}" + (f" + {p}" if p else "")
        case Outer(left=u, right=v):
            return f"Σ {u} {v}ᵀ"
        case Total(value=v):
            return f"Σ {v}"
        case FeatureSum(value=v):
            return f"sum({v})"
        case LogSumExp(value=v):
            return f"logsumexp({v})"
        case Transpose(matrix=m):
            return f"{m}.T"
        case Concat(parts=parts):
            return f"[{', '.join(parts)}]"
        case AxisSum(value=v, axis=axis):
            return f"sum({v}, {axis})"
        case Repeat(value=v):
            return f"{v} for each head"
        case HeadSum(value=v):
            return f"Σ_heads {v}"
        case Merge(value=v):
            return f"merge({v})"
        case Part(value=v):
            return f"part({v})"
        case Along(value=v, axis=axis):
            return f"{v} along {axis}"
        case Slice(value=v, start=a, size=n):
            return f"{v}[{a} : {a + n}]"
        case Pick(value=v, index=k):
            return f"{v}[{k}]"
        case Spread(value=v, index=k, size=n):
            return f"{v} at {k} of {n}"
    raise TypeError(f"no text for {type(node).__name__}")


def program(prog: Program) -> str:
    """Return a program's arrays and stages."""
    lines = [f"{prog.rec.name}: arrays", *(f"  {a.name}: {a.space}, {a.width} wide" for a in prog.arrays.values())]
    for region in ("once", "before", "loop", "after"):
        for number, stage in enumerate(getattr(prog, region)):
            lines.append(f"  {region}, stage {number}")
            lines += [f"    product {p.equation.name} = {_node(p.equation.node)} → {p.out.array}" for p in stage.products]
            for loop in stage.loops:
                lines += _loop(loop, "    ")
    return "\n".join(lines)


def _loop(loop: Loop, indent: str) -> list[str]:
    if isinstance(loop, HeadLoop):
        return [f"{indent}for head in range({loop.heads})", *(line for own in loop.loops for line in _loop(own, f"{indent}  "))]
    if isinstance(loop, RowLoop):
        parts = [line for part in loop.parts for line in _loop(part, f"{indent}  ")]
        return [f"{indent}for i in range({loop.rows})", *parts]
    head = f"for j in range({loop.size})" if isinstance(loop, VectorLoop) else "scalars"
    stores = [f"{indent}  {_equation(c.equation)}" + "".join(f" → {p.array}" for p in c.stores) for c in loop.computes]
    return [f"{indent}{head}", *stores]
