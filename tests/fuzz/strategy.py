"""Random well-shaped cells, as text: a typed generator of expressions that draws from Hypothesis."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from derive.cell import Cell
from derive.language.errors import CellError
from derive.language.vocabulary import ELEMENTWISE, RESERVED
from derive.package.contents import ARGUMENTS

Shape = tuple[str, ...]

# Names that emitted code, SymPy, NumPy or the interface use themselves.
AWKWARD = (
    *("T", "B", "n", "d", "y", "np", "t", "j", "seq", "at", "row", "tape_", "first", "last", "end", "real", "one", "half", "zero", "count"),
    *(
        "call",
        "static",
        "kernel",
        "given",
        "dy",
        "dx",
        "dh",
        "dW",
        "delta_h",
        "h_out",
        "h_state",
        "h_rows",
        "W_x",
        "sum_v",
        "LAYER",
        "Params",
    ),
    *(
        "State",
        "Inputs",
        "Grads",
        "Saved",
        "Tape",
        "saved",
        "final",
        "initial",
        "init",
        "spec",
        "forward",
        "infer",
        "backward",
        "size",
        "I",
    ),
    *("pi", "N", "S", "E", "Q", "oo", "zoo", "Symbol", "range", "min", "max", "float", "print", "square", "power", "multiply", "pack", "α"),
    *("σ_1", "absolute", "heaviside", "above", "inside", "normal_cdf", "less", "x_", "a", "A", "b_", "k_0p5", "params", "state", "index"),
)
PLAIN = (
    "W",
    "U",
    "V",
    "b",
    "g",
    "v",
    "w",
    "p",
    "q",
    "r",
    "z",
    "c",
    "s",
    "m",
    "alpha",
    "beta",
    "gamma",
    "tau",
    "R",
    "h",
    "i",
    "f",
    "o",
    "u",
)
INPUTS = ("x", "u", "x_2", "xs", "e", "in_", "y", "np", "call", "T", "dx", "LAYER", "n", "d", "Inputs", "given", "kernel", "Params", "α")
SAFE_UNARY = tuple(sorted(ELEMENTWISE - {"log", "sqrt", "exp"}))
NUMBERS = ("0", "1", "2", "0.5", "0.1", "3", "1.5", "0.001", "7", "1e-2", "0.3333333333")
POWERS = ("2", "3", "4", "5", "1", "0", "(1 + 1)", "6")
OWN = (
    *("u * u + 1", "tanh(2 * u) - u", "u / (1 + abs(u))"),
    *(
        ("step(u)", "1 / (1 + abs(u)) ** 2"),
        ("round(3 * u) / 3", "where(abs(u) < 1, 1, 0.5)"),
        ("sin(u)", "u + 1"),
        ("step(u - 0.5)", "exp(-u * u)"),
    ),
)
"""Functions of a cell's own, of u: what is put in, and values with a derivative that is not theirs."""
POSITIVE_POWERS = ("0.5", "-1", "-2", "-0.5", "1.5", "-3", "(1/3)", "0.3", "-1.7", "(64/32)")


@dataclass(frozen=True)
class Drawn:
    """A random cell: its text and declarations, the numbers for its sizes, and the cell itself or why it was refused."""

    text: str
    declarations: dict[str, Any]
    sizes: dict[str, int]
    cell: Cell | None = None
    refusal: str = ""

    def __repr__(self) -> str:
        given = "".join(f", {k}={_plain(v)!r}" for k, v in self.declarations.items() if v)
        return f'Case("""\n{self.text}\n"""{given}, sizes={self.sizes!r})'


def _words(text: str) -> set[str]:
    return set(re.findall(r"(?<!\.)\b\w+", text))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def case(text: str, *, sizes: dict[str, int] | None = None, **declarations: Any) -> Drawn:
    """Return a cell written out, as the fuzzer prints it."""
    declarations = {"name": "fuzz", **declarations}
    try:
        cell = Cell(text, **declarations)
    except CellError as error:
        return Drawn(text, declarations, sizes or {}, None, str(error))
    return Drawn(text, declarations, sizes or {}, cell)


@st.composite
def cells(draw: st.DrawFn, *, matrices: bool = False, heads: bool = False) -> Drawn:
    """A random cell; about one in a hundred is refused by the language, and says why.

    With `matrices` one of states that are matrices, with `heads` one of heads if the language lets it be.
    """
    return _Writer(draw, memories=matrices, heads=heads).write()


@dataclass
class _Writer:
    """The cell that is being written.

    `scope` has every name that an expression may read: its shape, and whether it changes from row to row.
    """

    draw: st.DrawFn
    scope: dict[str, tuple[Shape, bool]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    parameters: list[str] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    indices: list[str] = field(default_factory=list)
    functions: dict[str, Any] = field(default_factory=dict)
    memories: bool = False
    heads: bool = False
    lines: list[str] = field(default_factory=list)
    budget: int = 0

    # Choices

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, one_in: int) -> bool:
        return self.number(1, one_in) == one_in

    def choose(self, options: Any) -> Any:
        options = list(options)
        return options[self.number(0, len(options) - 1)]

    def name(self, pool: tuple[str, ...] = PLAIN) -> str:
        """Return a new name; it claims its previous value's name too."""
        name = base = self.choose(AWKWARD if self.chance(4) and pool is PLAIN else pool)
        count = 1
        while name in self.taken or name in RESERVED or (pool is INPUTS and name in ARGUMENTS):
            count += 1
            name = f"{base}{count}"
        self.taken.add(name)
        return name

    # The cell

    def write(self) -> Drawn:
        self.sizes = {"n": self.choose((1, 3, 5, 5, 17)), "d": self.choose((1, 2, 7, 2))}
        if self.chance(2):
            self.sizes[self.choose(("p", "T", "h", "B", "q"))] = self.choose((1, 4, 2, 6))
        self.widths = [*self.sizes, *self.choose(([], [], ["2*n"], ["n + d"], ["3"]))]
        inputs, context = self.given()
        states = self.declare_states()
        if not (inputs or context or states):
            states = [self.state("n")]
        targets = self.equations(states)
        self.read_everything(states, inputs, context)
        return self.finish(inputs, context, [*targets, *states])

    def given(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        inputs, context = [], []
        for group, count in ((inputs, self.choose((1, 1, 1, 1, 0, 2, 3))), (context, self.choose((0, 0, 0, 1, 2)))):
            for k in range(count):
                if group is inputs and k == 0:
                    name = self.name(INPUTS) if self.chance(3) else self.name(("x",))
                    shape: Shape = (self.choose(("d", "d", "d", "n")),)
                else:
                    name, shape = self.name(INPUTS), self.choose(((self.width(),), (self.width(),), ()))
                group.append(name)
                if shape == () and self.chance(2):
                    self.indices.append(name)
                else:
                    self.scope[name] = (shape, True)
                self.shapes[name] = ", ".join(shape)
        return tuple(inputs), tuple(context)

    def declare_states(self) -> list[str]:
        count = self.choose((1, 1, 1, 2, 2, 3, 4, 0))
        states = [self.state(self.choose(("n", "n", "n", self.width(), ""))) for _ in range(count)]
        self.memories = self.memories or self.chance(4)
        return [*states, *(self.state(self.width(), self.width()) for _ in range(self.choose((1, 1, 2)) if self.memories else 0))]

    def state(self, *widths: str) -> str:
        name = self.name()
        shape = tuple(width for width in widths if width)
        self.scope[f"{name}_prev"] = (shape, True)
        self.taken.add(f"{name}_prev")
        self.shapes[name] = ", ".join(shape)
        return name

    def equations(self, states: list[str]) -> list[str]:
        """Write one line for each state, and others between them; return the other names."""
        extra: list[str] = []
        todo = [*states, *[""] * self.number(0 if states else 1, 8 - len(states))]
        while todo:
            state = todo.pop(self.number(0, len(todo) - 1))
            self.budget = self.number(2, 14)
            if state:
                shape = self.scope[f"{state}_prev"][0]
                self.line(state, shape, self.expression(shape))
            else:
                extra += self.other_line()
        return extra

    def line(self, name: str, shape: Shape, text: str) -> None:
        self.lines.append(f"{name} = {text}")
        self.scope[name] = (shape, self.scope.get(f"{name}_prev", ((), False))[1] or self.varies(text))

    def varies(self, text: str) -> bool:
        words = _words(text)
        return any(varies and name in words for name, (_, varies) in self.scope.items()) or not words.isdisjoint(self.indices)

    def other_line(self) -> list[str]:
        kind = self.number(0, 10)
        if kind == 9 and self.memories:
            shape = (self.width(), self.width())
            name, text = self.name(), self.changing(*shape)
            self.shapes[name] = ", ".join(shape)
            self.line(name, shape, text)
            return []
        if kind == 0:  # static matrix
            shape = self.choose((("n", "n"), (self.width(), self.width())))
            name = self.name()
            self.line(name, shape, self.matrix(*shape))
            return []
        if kind == 1:
            return self.split()
        if kind == 10:
            return self.block()
        shape = self.choose(((self.width(),), (self.width(),), (self.width(),), ()))
        text = self.expression(shape, static=kind == 2)
        name = self.name()
        if len(shape) == 1:
            self.shapes[name] = shape[0]
        else:
            self.shapes[name] = ""
        self.line(name, shape, text)
        return [name] if self.scope[name][1] else []

    def split(self) -> list[str]:
        width, parts = self.choose(list(self.sizes)), self.number(2, 4)
        if self.chance(2):
            text = f"{self.parameter((f'{parts}*{width}', other := self.width()))} @ {self.bracket(self.vector(other))}"
        else:
            text = "[" + ", ".join(self.vector(width) for _ in range(parts)) + "]"
        if self.chance(2):
            text = f"{self.choose(('tanh', 'sin', 'silu'))}({text})"
        names = [self.name() for _ in range(parts)]
        varies = self.varies(text)
        for name in names:
            self.scope[name] = ((width,), varies)
        self.lines.append(f"{', '.join(names)} = split({text}, {parts})")
        return names if varies else []

    def block(self) -> list[str]:
        """Write lines that give a vector several values, one after the other, with a matrix for each or one for all."""
        width, name, variable = self.choose(list(self.sizes)), self.name(), self.name(("j", "k", "l"))
        self.shapes[name] = width
        self.line(name, (width,), self.expression((width,)))
        matrix = self.name()
        self.shapes[matrix] = f"{width}, {width}"
        self.parameters.append(matrix)
        factor = self.choose((matrix, f"{matrix}[{variable}]", f"{matrix}[{variable} + 1]"))
        change = self.choose(
            (f"tanh({factor} @ {name} + {self.leaf((width,), True)})", f"sin({variable} * {name}) - {factor} @ sigmoid({name})")
        )
        rest = self.choose((f"{name} + 0.3 * {change}", change, f"0.5 * ({name} - {change})"))
        self.lines.append(f"for {variable} in range({self.choose(('2', '1, 3', '3'))}):\n    {name} = {rest}")
        return [name] if self.scope[name][1] else []

    def own(self) -> str:
        """Return a function of the cell's own."""
        if not self.functions or self.chance(2):
            name = self.name(("f", "phi", "spike", "act"))
            self.functions[name] = self.choose(OWN)
            return name
        return str(self.choose(self.functions))

    def held(self, text: str) -> str:
        """Return a value whose gradient is changed, if it is one of each step."""
        if not self.varies(text):
            return text
        return str(self.choose((f"clip_gradient({text}, -0.5, 0.25)", f"scale_gradient({text}, {self.choose(('0.5', '-2', '0'))})")))

    def read_everything(self, states: list[str], inputs: tuple[str, ...], context: tuple[str, ...]) -> None:
        """Let the last lines read what must be read: every previous value, input and context."""
        words = _words("\n".join(line.split(" = ", 1)[1] for line in self.lines))
        for state in states:
            if f"{state}_prev" not in words:
                self.append(state, f"0.5 * {state}_prev")
        for name in (*inputs, *context):
            if name not in words:
                self.append(
                    states[-1] if states else "",
                    f"pick({self.parameter((self.width(),))}, {name})"
                    if name in self.indices
                    else (f"mean({name})" if self.shapes[name] else name),
                )

    def append(self, state: str, term: str) -> None:
        """Add a term to the line that assigns `state`, or to the last line of a name that is no matrix."""
        candidates = [k for k, line in enumerate(self.lines) if line.startswith(f"{state} = ")] if state else []
        if not candidates:
            plain = [k for k, line in enumerate(self.lines) if "split(" not in line and not line.startswith("for ")]
            single = [k for k in plain if len(self.scope[self.lines[k].split(" = ")[0]][0]) < 2]
            scalar_term = not term.startswith("0.5")
            if not single or not scalar_term:
                name = self.name()
                self.lines.append(f"{name} = {term}")
                self.scope[name], self.shapes[name] = ((), True), ""
                return
            candidates = single
        position = candidates[-1]
        name, text = self.lines[position].split(" = ", 1)
        self.lines[position] = f"{name} = {text} + {term}"
        self.scope[name] = (self.scope[name][0], True)

    def finish(self, inputs: tuple[str, ...], context: tuple[str, ...], targets: list[str]) -> Drawn:
        assigned = [t for line in self.lines if not line.startswith("for ") for t in line.split(" = ")[0].split(", ")]
        vectors = [t for t in assigned if len(self.scope[t][0]) < 2]
        output = self.choose([t for t in vectors if self.scope[t][1]] or vectors or assigned)
        text = "\n".join(self.lines)
        words = _words(text)
        used = [p for p in self.parameters if p in words]
        fixed = tuple(p for p in used if self.chance(10))
        shapes = {k: v for k, v in self.shapes.items() if k in words}
        constants = {k: v for k, v in self.constants.items() if k in words}
        functions = {f"{name}(u)": own for name, own in self.functions.items() if name in words}
        declarations = {
            "output": output,
            "inputs": inputs,
            "context": context,
            "fixed": fixed,
            "constants": constants,
            "functions": functions,
        }
        if not self.heads and self.chance(4):  # let the shapes be found, but for those that nothing else tells
            told = {k: v for k, v in shapes.items() if v not in ("n", "d", "n, n", "n, d")}
            sparse = case(text, sizes=self.sizes, **declarations, shapes=told)
            if sparse.cell is not None:
                return sparse
        if (self.heads or self.chance(4)) and "H" not in words | {*self.sizes}:
            headed = self.of_heads(text, declarations, shapes, used)
            if headed.cell is not None:  # else it picks, or has a name that heads would give a value each
                return headed
        return case(text, sizes=self.sizes, **declarations, shapes=shapes)

    def of_heads(self, text: str, declarations: dict[str, Any], shapes: dict[str, str], used: list[str]) -> Drawn:
        """Return the cell of one head so many times side by side; some parameters are shared, and a state may be mixed by all heads."""
        shared = tuple(p for p in used if self.chance(3))
        vectors = [s for s in _words(text) if s.endswith("_prev") and shapes.get(s.removesuffix("_prev")) == "n"]
        if vectors and self.chance(2):
            name = self.choose(sorted(vectors))
            mixed = self.choose((f"part(merge({name}))", f"part(M_all @ merge({name}))"))
            text = re.sub(rf"\b{name}\b", mixed, text, count=1)
            if "M_all" in mixed:
                shared, shapes = (*shared, "M_all"), {**shapes, "M_all": "H*n, H*n"}
        return case(text, sizes={**self.sizes, "H": self.choose((1, 2, 3))}, **declarations, shapes=shapes, heads="H", shared=shared)

    # Expressions; each costs from the budget, and without budget is a name or a number

    def width(self) -> str:
        return str(self.choose(self.widths))

    def spend(self) -> bool:
        self.budget -= 1
        return self.budget > 0

    def expression(self, shape: Shape, static: bool = False) -> str:
        if len(shape) == 2:
            return self.changing(*shape)
        return self.vector(shape[0], static) if shape else self.scalar(static)

    def parameter(self, shape: Shape) -> str:
        """Return a parameter or an array constant of `shape`, now and then one that was made before."""
        known = [p for p in (*self.parameters, *self.constants) if self.scope.get(p, (None,))[0] == shape]
        if known and self.chance(2):
            return str(self.choose(known))
        name = self.name()
        self.scope[name] = (shape, False)
        if shape and all(s.isdigit() for s in shape) and self.chance(2):
            size = tuple(map(int, shape))
            self.constants[name] = (np.arange(np.prod(size)).reshape(size) % 5 - 2) / 4
            return name
        if shape == () and self.chance(3):
            self.constants[name] = self.choose((0.1, 2, 0.75, -1, 3))
            return name
        self.parameters.append(name)
        self.shapes[name] = ", ".join(shape)
        return name

    def known(self, shape: Shape, static: bool) -> list[str]:
        return [name for name, (its, varies) in self.scope.items() if its == shape and not (static and varies)]

    def leaf(self, shape: Shape, static: bool) -> str:
        known = self.known(shape, static)
        varying = [name for name in known if self.scope[name][1]]
        if varying and not self.chance(4):
            return str(self.choose(varying))
        return str(self.choose(known)) if known and self.chance(2) else self.parameter(shape)

    def vector(self, width: str, static: bool = False) -> str:
        if not self.spend():
            return self.leaf((width,), static)

        def same() -> str:
            return self.vector(width, static)

        kinds: list[Callable[[], str]] = [
            lambda: self.leaf((width,), static),
            lambda: self.product(width, static),
            lambda: self.product(width, static),
            lambda: self.product(width, static),
            lambda: f"{self.bracket(same())} + {self.bracket(same())}",
            lambda: f"{same()} + {self.product(width, static)} + {self.leaf((width,), True)}",
            lambda: f"{self.bracket(same())} {self.choose('+-*')} {self.bracket(self.scalar(static))}",
            lambda: f"{self.bracket(self.scalar(static))} {self.choose('+-*')} {self.bracket(same())}",
            lambda: f"{self.choose(('softmax', 'layer_norm'))}({same()})",
            lambda: self.elementwise(same),
            lambda: self.elementwise(same),
            lambda: self.elementwise(same),
            lambda: self.elementwise(same),
            lambda: self.mixed(same, lambda: self.scalar(static)),
            lambda: self.concat(width, static),
            lambda: self.held(same()),
        ]
        if self.memories and not static:
            kinds += [lambda: self.sum_over_an_axis(width), lambda: self.read_memory(width), lambda: self.read_memory(width)]
        return str(self.choose(kinds)())

    def sum_over_an_axis(self, width: str) -> str:
        other = self.width()
        return self.choose((lambda: f"sum({self.changing(width, other)}, 1)", lambda: f"sum({self.changing(other, width)}, 0)"))()

    def read_memory(self, width: str) -> str:
        """Return the product of a matrix that changes and a vector."""
        known = [(n, its) for n, (its, varies) in self.scope.items() if varies and len(its) == 2 and width in its]
        name, (rows, columns) = self.choose(known) if known else ("", (width, self.width()))
        if rows == width:
            matrix = name or f"({self.changing(rows, columns)})"
            return f"({matrix} @ {self.bracket(self.vector(columns))})"
        return f"({name}.T @ {self.bracket(self.vector(rows))})"

    def changing(self, rows: str, columns: str) -> str:
        """Return a matrix that changes from step to step, or may."""
        known = [name for name in self.known((rows, columns), False) if self.scope[name][1]]
        if not self.spend():
            return str(self.choose(known)) if known and self.chance(2) else f"outer({self.vector(rows)}, {self.vector(columns)})"

        def same() -> str:
            return self.changing(rows, columns)

        kinds: list[Callable[[], str]] = [
            *([lambda: str(self.choose(known))] * 4 if known else []),
            lambda: f"outer({self.vector(rows)}, {self.vector(columns)})",
            lambda: f"outer({self.vector(rows)}, {self.vector(columns)})",
            lambda: f"{self.bracket(same())} - outer({self.read_memory(rows)}, {self.vector(columns)})",
            lambda: f"outer(1, {self.vector(columns)}) * {self.bracket(same())}",
            lambda: f"outer({self.vector(rows)}, {self.choose(('1', '0.5', self.bracket(self.scalar())))}) * {self.bracket(same())}",
            lambda: f"{self.bracket(self.scalar())} * {self.bracket(same())}",
            lambda: f"{self.bracket(same())} + {self.bracket(self.matrix(rows, columns))}",
            lambda: f"{self.bracket(same())} * {self.bracket(self.matrix(rows, columns))}",
            lambda: self.elementwise(same),
            lambda: self.elementwise(same),
            lambda: self.held(same()),
        ]
        if rows == columns:
            kinds.append(lambda: f"{self.bracket(same())} - eye * {self.bracket(same())}")
        return str(self.choose(kinds)())

    def concat(self, width: str, static: bool) -> str:
        if width == "2*n":
            return f"[{self.vector('n', static)}, {self.vector('n', static)}]"
        if width == "n + d":
            first, second = self.choose((("n", "d"), ("d", "n")))
            return f"[{self.vector(first, static)}, {self.vector(second, static)}]"
        return f"[{self.vector(width, static)}]" if self.chance(4) else self.leaf((width,), static)

    def scalar(self, static: bool = False) -> str:
        if not self.spend():
            return str(self.choose(NUMBERS)) if self.chance(3) else self.leaf((), static)

        def same() -> str:
            return self.scalar(static)

        width = self.width()
        kinds: list[Callable[[], str]] = [
            lambda: str(self.choose(NUMBERS)),
            lambda: self.leaf((), static),
            lambda: self.leaf((), static),
            lambda: f"{self.choose(('sum', 'mean', 'logsumexp'))}({self.vector(width, static)})",
            lambda: f"{self.choose(('sum', 'mean', 'logsumexp'))}({self.vector(width, static)})",
            lambda: f"{self.choose(('sum', 'mean'))}({self.matrix(width, self.width())})",
            lambda: f"({self.bracket(self.vector(width, static))} @ {self.bracket(self.vector(width, static))})",
            lambda: f"({self.leaf((width,), static)} @ {self.bracket(self.vector(width, static))})",
            lambda: self.elementwise(same),
            lambda: self.elementwise(same),
        ]
        if self.memories and not static:
            kinds += [lambda: f"{self.choose(('sum', 'mean'))}({self.changing(width, self.width())})"]
        if self.indices and not static:
            kinds += [lambda: f"pick({self.vector(width, static)}, {self.choose(self.indices)})"] * 2
        return str(self.choose(kinds)())

    def product(self, width: str, static: bool) -> str:
        other = self.width()
        if self.chance(6):
            return f"({self.factor(width, other)} @ {self.product(other, static) if self.spend() else self.leaf((other,), static)})"
        return f"({self.factor(width, other)} @ {self.bracket(self.vector(other, static))})"

    def factor(self, rows: str, columns: str) -> str:
        """Return the left operand of a product."""
        if self.chance(4) and self.spend():
            return f"({self.matrix(rows, columns)})"
        return f"{self.leaf((columns, rows), True)}.T" if self.chance(5) else self.leaf((rows, columns), True)

    def matrix(self, rows: str, columns: str) -> str:
        if not self.spend():
            return self.leaf((rows, columns), True)

        def same() -> str:
            return self.matrix(rows, columns)

        kinds: list[Callable[[], str]] = [
            lambda: self.leaf((rows, columns), True),
            lambda: f"{self.leaf((columns, rows), True)}.T",
            lambda: self.elementwise(same),
            lambda: self.elementwise(same),
            lambda: f"{self.bracket(self.scalar(True))} * {self.bracket(same())}",
            lambda: f"({self.matrix(columns, rows)}).T",
        ]
        if rows == columns:
            kinds += [lambda: self.diagonal(same)] * 2
            kinds.append(lambda: f"{(w := self.leaf((rows, rows), True))} - {w}.T - {self.choose(('0.1', '2', self.leaf((), True)))} * eye")
            kinds.append(lambda: f"eye + {self.bracket(same())} * {self.leaf((rows, rows), True)}")
        return str(self.choose(kinds)())

    def diagonal(self, same: Callable[[], str]) -> str:
        """Return a matrix with another diagonal, or of nothing else: `eye` stands in parts that have no size of their own."""
        kinds: list[Callable[[], str]] = [
            lambda: f"{self.bracket(same())} - eye * {self.bracket(same())}",
            lambda: f"{self.bracket(same())} * ({self.choose(NUMBERS)} - {self.choose(('eye', 'tanh(2 * eye)', 'eye / 3'))})",
            lambda: f"({self.bracket(self.scalar(True))} * eye - 1) * {self.bracket(same())}",
            lambda: f"where(eye > 0.5, {self.choose((same(), *NUMBERS[:3]))}, {same()})",
            lambda: f"maximum(eye, {same()})",
            lambda: f"({self.bracket(same())} * eye ** {self.choose(POWERS)}).T",
        ]
        return str(self.choose(kinds)())

    def elementwise(self, same: Callable[[], str]) -> str:
        """Return an elementwise operation on values of one shape, defined for all of them."""

        def one() -> str:
            return self.bracket(same())

        kinds: list[Callable[[], str]] = [
            lambda: f"{self.choose(SAFE_UNARY)}({same()})",
            lambda: f"{self.choose(SAFE_UNARY)}({same()})",
            lambda: f"{self.own()}({same()})",
            lambda: f"{self.choose(SAFE_UNARY)}({same()})",
            lambda: f"{self.choose(('exp(sin', 'exp(-abs', 'exp(tanh', 'exp(-exp'))}({same()}))",
            lambda: f"{self.choose(('log', 'sqrt'))}({self.positive(same())})",
            lambda: f"{one()} {self.choose('+-')} {one()}",
            lambda: f"{one()} * {one()}",
            lambda: f"{one()} * {one()}",
            lambda: f"{one()} / {self.bracket(self.positive(same()))}",
            lambda: f"{one()} ** {self.choose(POWERS)}",
            lambda: f"({self.positive(same())}) ** {self.choose(POSITIVE_POWERS)}",
            lambda: f"{self.choose(('maximum', 'minimum'))}({same()}, {same()})",
            lambda: f"{self.choose(('maximum', 'minimum'))}({same()}, {self.choose(NUMBERS)})",
            lambda: f"where({same()} {self.choose(('<', '<=', '>', '>='))} {same()}, {same()}, {same()})",
            lambda: f"where({same()} > {self.choose(NUMBERS)}, {same()}, {self.choose(NUMBERS)})",
            lambda: f"-{one()}",
            lambda: f"{self.choose(NUMBERS)} {self.choose('+-*')} {one()}",
            lambda: f"{one()} / {self.choose(('3', '7', '2', '0.3'))}",
            lambda: f"{self.choose(('1', '2', '0.7'))} / {self.bracket(self.positive(same()))}",
        ]
        return str(self.choose(kinds)())

    def mixed(self, same: Callable[[], str], scalar: Callable[[], str]) -> str:
        """Return an elementwise operation on a vector and a scalar a row."""
        kinds: list[Callable[[], str]] = [
            lambda: f"{self.bracket(same())} / {self.bracket(self.positive(scalar()))}",
            lambda: f"maximum({scalar()}, {same()})",
            lambda: f"where({scalar()} < {same()}, {same()}, {scalar()})",
            lambda: f"where({scalar()} < {scalar()}, {same()}, {same()})",
            lambda: f"tanh({self.bracket(scalar())} * {self.bracket(same())})",
        ]
        return str(self.choose(kinds)())

    def positive(self, text: str) -> str:
        inner = self.bracket(text)
        return str(
            self.choose((f"2 + sin({text})", f"1 + {inner} ** 2", f"softplus({text}) + 0.1", f"0.5 + sigmoid({text})", f"1 + abs({text})"))
        )

    @staticmethod
    def bracket(text: str) -> str:
        return text if re.fullmatch(r"\w+(\.\w+)?", text) else f"({text})"
