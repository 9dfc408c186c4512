"""Numba code for the CPU: a cell's module, from its two programs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import sympy as sp

from ..functions import FUNCTIONS
from ..ir import (
    EYE,
    Concat,
    Equation,
    FeatureSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Outer,
    Pick,
    Recurrence,
    Slice,
    Spread,
    Total,
    Transpose,
    extent_name,
    is_extent,
)
from ..naming import Names
from ..program import Array, Compute, Place, Product, Program, Scalars, Stage, VectorLoop
from ..sizes import Size
from .expression import RENAMED, Expressions

# Names of the emitted module and of its functions' own variables: a cell's names give way to them.
HOST = frozenset(
    {"np", "kernel", "call", "y", "dy", "params", "state", "final", "count", "saved", "initial", "dfinal", "static", "LAYER"}
    | {"Params", "State", "Inputs", "Saved", "Tape", "Grads", "init", "zero_state", "spec", "forward", "infer", "step", "backward"}
)
INSIDE = frozenset({"row", "tape", "ring", "active", "first", "last", "t", "seq", "at", "j", "end", "real", "min", "range"})
RUNTIME = frozenset(
    {RENAMED.get(name, name) for name in FUNCTIONS}
    | {"power", "square", "feature_sum", "log_sum_exp", "multiply", "pack", "run_rows", "multiply_rows", "outer_sums", "column_sums"}
    | {"state_rows", "carried_rows", "last_rows", "as_rows", "one", "two", "three", "four", "half", "zero"}
)
INDENT = "    "
WIDTH = 140


@dataclass
class Kernel:
    """A kernel's source, and the arguments that its call must pass, in order: (name in the kernel, expression of the caller)."""

    name: str
    lines: list[str]
    arguments: list[tuple[str, str]]


@dataclass
class Code:
    """One recurrence's code: kernels, and the host's statements that run them.

    Attributes
    ----------
    program : Program
    prefix : str
        Of the kernels' names.
    comment : callable
        The text of the equation with a tag.
    host : mapping
        The caller's expression for each array and static value that is given.
    """

    program: Program
    prefix: str
    comment: Callable[[Equation], str]
    host: dict[str, str]
    names: Names
    functions: set[str] = field(default_factory=set)
    runtime: set[str] = field(default_factory=set)
    kernels: list[Kernel] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    @property
    def rec(self) -> Recurrence:
        return self.program.rec

    # Host

    def run(self) -> None:
        """Make all kernels and statements."""
        program = self.program
        for eq in self.rec.prologue:
            self.static(eq)
        self.allocate()
        self.rows("once", program.once, "call.batch")
        self.rows("before", program.before, "count")
        self.time_loop(program.loop)
        self.rows("after", program.after, "count")
        for eq in self.rec.accumulators:
            self.total(eq)
        for eq in self.rec.epilogue:
            self.static(eq)

    def variable(self, name: str) -> str:
        """Return a new variable of the host for a value."""
        self.host[name] = self.names.fresh(name)
        return self.host[name]

    def say(self, eq: Equation) -> list[str]:
        """Return the comment of a shown equation."""
        return commented(f"({eq.tag})  {self.comment(eq)}") if eq.shown and eq.tag else []

    def note(self, eq: Equation) -> list[str]:
        """Return a comment for any equation."""
        return self.say(eq) or commented(self.comment(eq))

    def allocate(self) -> None:
        """Make the arrays that are not given."""
        for array in self.program.arrays.values():
            if array.name in self.host:
                continue
            count = {"sequence": "count", "tape": "call.rows.kept", "once": "call.batch", "scratch": "call.batch"}[array.space]
            self.statements.append(f"{self.variable(array.name)} = np.empty(({count}, {self.size(array.width)}), call.dtype)")

    def size(self, size: Size) -> str:
        """Return the source of a size on the host."""
        terms = [f"{'' if k == 1 else f'{k} * '}{self.sizes(name)}" for name, k in size.terms]
        if size.constant or not terms:
            terms.append(str(size.constant))
        return " + ".join(terms).replace("+ -", "- ")

    def sizes(self, name: str) -> str:
        return self.host[f"size:{name}"]

    def static(self, eq: Equation) -> None:
        """Add the host's statement of a static equation."""
        node, host = eq.node, self.host
        match node:
            case Map(expr=expr):
                value = self.static_map(eq, expr)
            case Concat(parts=parts):
                value = f"np.concatenate(({', '.join(host[p] for p in parts)}{',' if len(parts) == 1 else ''}))"
            case Slice(value=v, start=start, size=size):
                value = f"{host[v]}[{self.size(start)} : {self.size(start + size)}]"
            case Transpose(matrix=m):
                value = f"np.ascontiguousarray({host[m]}.T)"
            case MatVec(matrix=m, vector=v, plus=p):
                value = f"{host[m]} @ {host[v]}" + (f" + {host[p]}" if p else "")
            case MatVecT(matrix=m, vector=v, plus=p):
                value = f"{host[m]}.T @ {host[v]}" + (f" + {host[p]}" if p else "")
            case Outer(left=u, right=v):
                value = f"np.outer({host[u]}, {host[v]})"
            case FeatureSum(value=v):
                value = f"np.sum({host[v]})"
            case LogSumExp(value=v):
                value = f"np.max({host[v]}) + np.log(np.sum(np.exp({host[v]} - np.max({host[v]}))))"
            case _:
                raise TypeError(f"{eq.name}: {type(node).__name__} of static values has no code")
        self.statements += [*self.say(eq), f"{self.variable(eq.name)} = {value}"]

    def static_map(self, eq: Equation, expr: sp.Expr) -> str:
        kind = self.rec.types[eq.name]
        last = kind.shape[-1] if kind.shape else Size()

        def atom(symbol: sp.Symbol) -> str:
            if symbol == EYE:
                return f"np.eye({self.size(last)}, dtype=call.dtype)"
            return self.sizes(extent_name(symbol)) if is_extent(symbol) else self.host[symbol.name]

        printer = Expressions(atom, typed=False)
        text = printer.source(expr)
        for name in sorted(printer.functions, key=len, reverse=True):
            text = _prefixed(text, name)
        lead, rank = ["call.batch"] if kind.batched else [], len(kind.shape)
        values = [self.rec.types[s.name] for s in expr.free_symbols if s != EYE and not is_extent(s)]
        full = EYE in expr.free_symbols or any(len(v.shape) == rank and v.batched == kind.batched for v in values)
        if not full and (lead or rank):
            shape = [*lead, *(self.size(s) for s in kind.shape)]
            return f"np.full(({', '.join(shape)}{',' if len(shape) == 1 else ''}), {text}, call.dtype)"
        return f"np.asarray({text}, call.dtype)"

    def matrix(self, name: str, transposed: bool) -> str:
        """Return the host's variable of a matrix packed for products, ``v @ M.T`` or, transposed, ``v @ M``."""
        key = f"packed:{name}:{transposed}"
        if key not in self.host:
            variable = self.names.fresh(f"{self.host[name].split('.')[-1]}{'_t' if transposed else ''}_packed")
            self.host[key] = variable
            self.runtime.add("pack")
            self.statements.append(f"{variable} = pack({self.host[name]}{'' if transposed else '.T'})")
        return self.host[key]

    def rows(self, region: str, stages: tuple[Stage, ...], count: str) -> None:
        """Run a region over all rows at once."""
        for k, stage in enumerate(stages):
            for product in stage.products:
                matrix = self.matrix(product.matrix, product.transposed)
                vector, out = self.columns(product.vector, product.equation, 1), self.columns(product.out, product.equation, 0)
                if region != "once" and self.program.arrays[product.vector.array].space == "once":
                    vector = f"np.tile({vector}, (call.steps, 1))"
                self.runtime.add("multiply_rows")
                self.statements += self.note(product.equation)
                self.statements.append(f"multiply_rows({vector}, {matrix}, {out}, {product.accumulate})")
            if stage.loops:
                kernel = _RowKernel(self, region).kernel(self.names.fresh(f"{self.prefix}_{region}{k or ''}"), stage)
                self.call(kernel, count)

    def call(self, kernel: Kernel, count: str) -> None:
        self.kernels.append(kernel)
        self.statements += wrapped("run_rows(", [kernel.name, count, *(host for _, host in kernel.arguments)], ")")

    def columns(self, place: Place, eq: Equation, operand: int) -> str:
        """Return the host's expression for the columns of an array where a value lies."""
        node = eq.node
        assert isinstance(node, MatVec | MatVecT)
        width = self.program.shape(node.vector if operand else eq.name)[0]
        return self.view(place, width)

    def view(self, place: Place, width: Size) -> str:
        array = self.program.arrays[place.array]
        name = self.host[place.array]
        rows = "" if not array.extra else ":count"
        if place.start == Size() and width == array.width:
            return f"{name}[{rows}]" if rows else name
        return f"{name}[{rows or ':'}, {self.size(place.start)} : {self.size(place.start + width)}]"

    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        if any(s.loops or s.products for s in stages):
            kernel = _RowKernel(self, "loop").kernel(self.names.fresh(f"{self.prefix}_steps"), *stages)
            self.call(kernel, "call.batch")

    def total(self, eq: Equation) -> None:
        """Add the sum over all rows of an accumulator."""
        kind = self.rec.types[eq.name]
        variable = self.variable(eq.name)
        self.statements += self.note(eq)
        match eq.node:
            case Outer(left=u, right=v):
                self.runtime.add("outer_sums")
                self.statements.append(f"{variable} = outer_sums({self.operand(u)}, {self.operand(v)})")
            case Total(value=v) if kind.batched:
                shape = "".join(f", {self.size(s)}" for s in kind.shape)
                value = self.operand(v)
                self.statements.append(f"{variable} = {value}.reshape(call.steps, call.batch{shape}).sum(axis=0, dtype=call.dtype)")
            case Total(value=v):
                self.runtime.add("column_sums")
                shape = "" if kind.shape else ".reshape(())"
                self.statements.append(f"{variable} = column_sums({self.operand(v)}){shape}")

    def operand(self, name: str) -> str:
        """Return the host's rows of a value that is summed over steps."""
        shape = self.rec.types[name].shape
        if name not in self.program.places:
            return f"np.broadcast_to({self.host[name]}, (count, {self.size(shape[0])}))"
        place = self.program.places[name]
        if self.program.arrays[place.array].space == "once":
            return f"np.tile({self.view(place, shape[0])}, (call.steps, 1))"
        return self.view(place, shape[0] if shape else Size((), 1))


def commented(text: str) -> list[str]:
    """Return a comment, on as many lines as it takes."""
    return textwrap.wrap(text, WIDTH - 24, initial_indent="# ", subsequent_indent="#     ", break_long_words=False)


def wrapped(head: str, items: Iterable[str], tail: str, indent: int = 8) -> list[str]:
    """Return ``head item, item, … tail`` on as many lines as it takes, indented by one level."""
    items = list(items)
    if len(head) + sum(len(i) + 2 for i in items) + indent <= WIDTH:
        return [head + ", ".join(items) + tail]
    lines = [head]
    for item in items:
        if len(lines) > 1 and len(lines[-1]) + len(item) + 2 + indent <= WIDTH:
            lines[-1] += f" {item},"
        else:
            lines.append(f"{INDENT}{item},")
    return [*lines, tail]


def _prefixed(text: str, function: str) -> str:
    return re.sub(rf"(?<![\w.]){function}\(", f"static.{function}(", text)


class _RowKernel:
    """A kernel that works row by row: over all rows of a region, or, for the time loop, step by step over the rows of a batch shard."""

    def __init__(self, code: Code, region: str) -> None:
        self.code, self.region = code, region
        self.program, self.rec = code.program, code.program.rec
        self.names = Names([*INSIDE, *RUNTIME])
        self.arguments: dict[str, tuple[str, str]] = {}
        self.constants: dict[str, str] = {}
        self.sized: set[str] = set()
        self._sizes: dict[str, str] = {}
        self.indices: set[str] = set()

    def kernel(self, name: str, *stages: Stage) -> Kernel:
        self.local = {value: self.names.fresh(value) for value in self.used(stages)}
        body = self.loop_over_time(stages) if self.region == "loop" else self.loop_over_rows(stages[0])
        sizes = [(self.size_name(s), self.code.sizes(s)) for s in sorted(self.sized)]
        indices = [(k, f"call.rows.{k}") for k in ("row", "tape", "ring", "active") if k in self.indices]
        arguments = [*indices, *sizes, *self.arguments.values()]
        head = wrapped(f"def {name}(", [*(a for a, _ in arguments), "first", "last"], "):")
        constants = self.typed_constants()
        lines = [*head, *(INDENT + line for line in (*constants, *body))]
        return Kernel(name, lines, arguments)

    def used(self, stages: Iterable[Stage]) -> list[str]:
        """Return the batched values that the rows of `stages` compute or read: they keep their names."""
        names: dict[str, None] = {}
        for compute in (c for stage in stages for loop in stage.loops for c in loop.computes):
            names |= dict.fromkeys((compute.equation.name, *compute.equation.node.operands()))
        return [name for name in names if self.rec.types[name].batched]

    def typed_constants(self) -> list[str]:
        if not self.constants:
            return []
        array = next(
            local for key, (local, _) in self.arguments.items() if key.startswith("array:") and not self.program.arrays[key[6:]].integer
        )
        lines = [f"real = {array}.dtype.type  # constants of the kernel's dtype: one of another would widen float32"]
        return [*lines, *(f"{name} = real({value})" for name, value in sorted(self.constants.items(), key=lambda item: float(item[1])))]

    # Arguments

    def array(self, name: str) -> str:
        key = f"array:{name}"
        if key not in self.arguments:
            known = name.endswith(("_rows", "_state", "_states", "_kept"))
            self.arguments[key] = (self.names.fresh(name if known else f"{name}_rows"), self.code.host[name])
        return self.arguments[key][0]

    def static(self, name: str) -> str:
        """Return the kernel's variable of a static vector or scalar."""
        key = f"static:{name}"
        if key not in self.arguments:
            host = self.code.host[name]
            self.arguments[key] = (self.names.fresh(name), host if self.rec.types[name].shape else f"np.atleast_1d({host})")
        return self.arguments[key][0]

    def packed(self, name: str, transposed: bool) -> str:
        key = f"packed:{name}:{transposed}"
        if key not in self.arguments:
            host = self.code.matrix(name, transposed)
            self.arguments[key] = (self.names.fresh(host), host)
        return self.arguments[key][0]

    def size_name(self, name: str) -> str:
        self.sized.add(name)
        if name not in self._sizes:
            self._sizes[name] = self.names.fresh(name)
        return self._sizes[name]

    def size(self, size: Size) -> str:
        terms = [f"{'' if k == 1 else f'{k} * '}{self.size_name(name)}" for name, k in size.terms]
        if size.constant or not terms:
            terms.append(str(size.constant))
        return " + ".join(terms).replace("+ -", "- ")

    # Loops

    def loop_over_time(self, stages: Iterable[Stage]) -> list[str]:
        self.indices.add("active")
        direction = "range(active.size - 1, -1, -1)" if self.rec.reverse else "range(active.size)"
        lines = [f"for t in {direction}:", INDENT + "end = min(last, active[t])  # sequences that are still running"]
        for stage in stages:
            for product in stage.products:
                lines += [INDENT + line for line in self.product(product)]
            if stage.loops:
                lines.append(INDENT + "for seq in range(first, end):")
                lines += [2 * INDENT + line for line in self.row(stage)]
        return lines

    def loop_over_rows(self, stage: Stage) -> list[str]:
        return ["for at in range(first, last):", *(INDENT + line for line in self.row(stage))]

    def product(self, product: Product) -> list[str]:
        self.code.runtime.add("multiply")
        node = product.equation.node
        assert isinstance(node, MatVec | MatVecT)
        rows = [
            self.shard(place, self.program.shape(name)[0])
            for place, name in ((product.vector, node.vector), (product.out, product.equation.name))
        ]
        comment = self.code.note(product.equation)
        matrix = self.packed(product.matrix, product.transposed)
        return [*comment, f"multiply({rows[0]}, {matrix}, {rows[1]}, {product.accumulate})"]

    def shard(self, place: Place, width: Size) -> str:
        """Return the current step's rows of a place, for the batch shard of this call."""
        array = self.program.arrays[place.array]
        offset = self.offset(array, place.shift)
        columns = "" if place.start == Size() and width == array.width else f", {self.size(place.start)} : {self.size(place.start + width)}"
        return f"{self.array(array.name)}[{offset}first : {offset}end{columns}]"

    def offset(self, array: Array, shift: int) -> str:
        index = {"sequence": "row", "tape": "tape", "carry": "ring"}.get(array.space)
        if index is None:
            return ""
        self.indices.add(index)
        return f"{index}[t + {shift}] + " if shift else f"{index}[t] + "

    def row_index(self, array: Array, shift: int) -> str:
        if self.region != "loop":
            if array.space == "once" and self.region != "once":
                self.indices.add("active")
                return "at % active[0]"
            return "at"
        return f"{self.offset(array, shift)}seq"

    def row(self, stage: Stage) -> list[str]:
        """Return the statements for one row: views of the arrays, then the loops."""
        made = {c.equation.name for loop in stage.loops for c in loop.computes}
        views: list[str] = []
        self.stored: dict[str, list[str]] = {}
        body: list[str] = []
        self.viewed: dict[str, str] = {}
        self.fresh_views = views
        for position, loop in enumerate(stage.loops):
            self.current = {c.equation.name for c in loop.computes}
            self.made = made
            done = {c.equation.name for other in stage.loops[:position] for c in other.computes}
            self.scalars_done = {n for n in done | self.current if not self.rec.types[n].shape}
            body += self.vector_loop(loop) if isinstance(loop, VectorLoop) else self.scalars(loop)
        return [*views, *body]

    def view(self, name: str, place: Place, suffix: str = "") -> str:
        """Return the variable of a row's view of a place, adding its statement once."""
        key = f"{name}@{place}"
        if key not in self.viewed:
            array, shape = self.program.arrays[place.array], self.rec.types[name].shape
            index = self.row_index(array, place.shift)
            variable = self.local[name] if not suffix else self.names.fresh(f"{name}{suffix}")
            if not shape or (place.start == Size() and shape[0] == array.width):
                source = f"{self.array(array.name)}[{index}]"
            else:
                source = f"{self.array(array.name)}[{index}, {self.size(place.start)} : {self.size(place.start + shape[0])}]"
            self.fresh_views.append(f"{variable} = {source}")
            self.viewed[key] = variable
        return self.viewed[key]

    def read(self, name: str, *, element: bool) -> str:
        """Return the source of a value in the current loop; of one element, or of the whole row."""
        kind = self.rec.types[name]
        if not kind.batched:
            static = self.static(name)
            return static if not element else f"{static}[j]" if kind.shape else f"{static}[0]"
        if (name in self.current and element) or name in self.scalars_done:
            return self.local[name]
        place = self.program.places[name]
        view = self.view(name, place, "_row" if name in self.made or not kind.shape else "")
        if not kind.shape:
            return f"{view}[0]"
        return f"{view}[j]" if element else view

    def source(self, expr: sp.Expr) -> str:
        def atom(symbol: sp.Symbol) -> str:
            if is_extent(symbol):
                return f"real({self.size_name(extent_name(symbol))})"
            return self.read(symbol.name, element=True)

        if any(is_extent(s) for s in expr.free_symbols):
            self.constants.setdefault("one", "1.0")
        printer = Expressions(atom)
        text = printer.source(expr)
        self.code.functions |= printer.functions
        self.constants |= printer.constants
        return text

    def value(self, compute: Compute) -> str:
        """Return the source of an equation's value in the current loop."""
        match compute.equation.node:
            case Map(expr=expr):
                return self.source(expr)
            case Spread(value=v, index=k):
                self.code.functions.add("where")
                self.constants["zero"] = "0.0"
                return f"where(j == {self.read(k, element=True)}, {self.read(v, element=True)}, zero)"
            case FeatureSum(value=v):
                self.code.runtime.add("feature_sum")
                return f"feature_sum({self.read(v, element=False)})"
            case LogSumExp(value=v):
                self.code.runtime.add("log_sum_exp")
                return f"log_sum_exp({self.read(v, element=False)})"
            case Pick(value=v, index=k):
                return f"{self.read(v, element=False)}[{self.read(k, element=True)}]"
        raise TypeError(f"{type(compute.equation.node).__name__} has no code a row")

    def vector_loop(self, loop: VectorLoop) -> list[str]:
        lines = [f"for j in range({self.size(loop.size)}):"]
        for compute in loop.computes:
            lines += [INDENT + line for line in self.compute(compute, "[j]")]
        return lines

    def scalars(self, loop: Scalars) -> list[str]:
        return [line for compute in loop.computes for line in self.compute(compute, "[0]")]

    def compute(self, compute: Compute, index: str) -> list[str]:
        eq = compute.equation
        lines = self.code.say(eq)
        value = self.value(compute)
        name = self.local[eq.name]
        stores = [self.view(eq.name, place, "_row") for place in compute.stores]
        return [*lines, f"{name} = {value}", *(f"{view}{index} = {name}" for view in stores)]
