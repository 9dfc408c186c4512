"""From a cell's expression trees to its drawing graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from ..language.definition import Definition
from ..language.shapes import rank_of
from ..language.tree import Assignment, Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Transpose
from ..language.vocabulary import ELEMENTWISE
from ..language.walks import walk
from ..notation.lines import LineFormulas
from ..notation.style import Latex, Text
from ..notation.written import latex_of
from .graph import Graph, Input, Node, Value
from .label import Label, Run, joined, plain, typeset, width
from .terms import Factor, Reader, Sum, Term, weights_product

LAYERS = ELEMENTWISE | {"softmax", "layer_norm"}
LONGEST = 98.0  # px of a label inside a node
_FUNCTION_LABELS = {
    **{"sigmoid": "σ", "logsigmoid": "log σ", "relu": "ReLU", "layer_norm": "LN", "silu": "SiLU", "gelu": "GELU", "elu": "ELU"},
    **{"hard_sigmoid": "hard σ", "hard_tanh": "hard tanh", "abs": "|·|", "sqrt": "√", "sum": "Σ", "maximum": "max", "minimum": "min"},
    "where": "where",
}
_COMPARISONS = {"<=": "≤", ">=": "≥"}
_DOT = plain("·")


def _loose(label: Label) -> Label:
    """Return a product of weights without signs between them."""
    return tuple(replace(run, text=run.text.replace("⊙", " ")) for run in label)


def build(cell: Definition) -> Graph:
    """Return the drawing graph of a cell."""
    return _Builder(cell).graph()


@dataclass
class _Builder:
    """Collects nodes and values line by line."""

    cell: Definition
    nodes: list[Node] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    named: dict[str, int] = field(default_factory=dict)
    made: dict[Expr, int] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)  # lines without anything that varies, by the name they assign
    line: int = 0

    def __post_init__(self) -> None:
        """Prepare the notations."""
        self.reader = Reader(self.cell)
        self.latex = LineFormulas(self.cell, latex_of(self.cell))
        self.text = LineFormulas(self.cell, Text(self.cell.latex))

    def graph(self) -> Graph:
        for name in self._sources():
            self._source(name)
        for number, line in enumerate(self.cell.equations, 1):
            self.line = number
            self._assignment(line)
        for name in dict.fromkeys((*self.cell.states, self.cell.output)):
            self._sink(name)
        return Graph(tuple(self.nodes), tuple(self.values))

    # Where values come from and where they go

    def _sources(self) -> list[str]:
        cell = self.cell
        return [*(f"{s}_prev" for s in cell.states), *cell.inputs, *cell.context]

    def _source(self, name: str) -> None:
        kind = "context" if name in self.cell.context else "input" if name in self.cell.inputs else "state"
        word = {"state": "state before the step", "input": "input", "context": "given once a sequence"}[kind]
        self.line = 0
        self.named[name] = self._node(kind, self._name(name), (), f"{self.text.name(name)}: {word}", name=name)

    def _sink(self, name: str) -> None:
        cell = self.cell
        kind = "next" if name in cell.states else "output"
        self.line = next(k for k, line in enumerate(cell.equations, 1) if name in line.targets)
        word = "new state" if kind == "next" else ""
        word = ", ".join(w for w in (word, "output" if name == cell.output else "") if w)
        tip = f"{self._line_text(self.line)}\n{self.text.name(name)}: {word}"
        self.nodes.append(Node(kind, self._name(name), (Input(self.named[name]),), (), self._number(), tip, name=name))

    def _number(self) -> str:
        """Return the number of the line at hand."""
        return self.cell.unrolled.numbers[self.line - 1] if self.line else ""

    def _assignment(self, line: Assignment) -> None:
        if not self.reader.varies(line.value) and self.cell.batched.isdisjoint(line.targets):
            self.constants |= dict.fromkeys(line.targets, self._line_text(self.line))
            return
        if len(line.targets) > 1:
            self._split(line)
            return
        (target,) = line.targets
        value = self.value(line.value)
        if target not in (*self.cell.states, self.cell.output):
            value = self._christen(value, target)
        self.named[target] = value

    def _christen(self, value: int, name: str) -> int:
        """Write a name beside a value; what comes in keeps its own name, and gets another further on."""
        if not self.nodes[self.values[value].node].inputs:
            value = self._node("wire", (), (Input(value),), pointwise=True)
        old = self.values[value]
        names = (*old.names, name)
        self.values[value] = replace(old, names=names, label=joined([self._short(n) for n in names], ", "))
        return value

    def _split(self, line: Assignment) -> None:
        source = self.value(line.value)
        outputs = tuple(range(len(self.values), len(self.values) + len(line.targets)))
        for port, target in enumerate(line.targets):
            self.values.append(Value(len(self.nodes), port, (target,), self._short(target)))
            self.named[target] = outputs[port]
        self.nodes.append(Node("split", (), (Input(source),), outputs, self._number(), self._tip(line.value)))

    # Labels

    def _name(self, name: str) -> Label:
        return typeset(self.latex.name(name))

    def _short(self, name: str) -> Label:
        """Return the name of a value inside the step, without the time, which is always t."""
        return typeset(latex_of(self.cell).name(name))

    def _expression(self, expr: Expr) -> Label:
        return typeset(self.latex.text(expr))

    def _line_text(self, number: int) -> str:
        return self.text.line(self.cell.equations[number - 1])

    def _tip(self, *exprs: Expr) -> str:
        """Return the line, and the lines that make constants which it reads."""
        lines = [self._line_text(self.line)] if self.line else []
        names = [n.id for e in exprs for n in walk(e) if isinstance(n, Name) and n.id in self.constants]
        return "\n".join(dict.fromkeys([*lines, *(self.constants[n] for n in names)]))

    def _weights(self, terms: Sequence[Term], *, signed: bool = False) -> Label:
        """Return the weights of terms as a label, with their minus signs if `signed`: all of them where there is room, else the first and
        dots.
        """
        signs = [plain("−") if signed and term.negative else () for term in terms]
        labels = [sign + _loose(self._expression(weights_product(term.weights))) for sign, term in zip(signs, terms, strict=True)]
        for count in range(len(labels), 0, -1):
            label = joined([*labels[:count], *([plain("…")] if count < len(labels) else [])], ", ")
            if width(label) <= LONGEST:
                return label
        names = [n.id for term in terms for f in term.weights for n in walk(f.expr) if isinstance(n, Name)]
        label = joined([self._name(name) for name in dict.fromkeys(names)], ", ")
        return label if width(label) <= LONGEST else (Run("W", italic=True),)

    # Nodes

    def _node(
        self,
        kind: str,
        label: Label,
        inputs: Sequence[Input],
        tip: str | None = None,
        *,
        ordered: bool = False,
        pointwise: bool = False,
        name: str = "",
    ) -> int:
        """Add a node with one output; return its value."""
        value = len(self.values)
        self.values.append(Value(len(self.nodes), 0))
        told = self._tip() if tip is None else tip
        self.nodes.append(Node(kind, label, tuple(inputs), (value,), self._number(), told, ordered, pointwise, name))
        return value

    def value(self, expr: Expr) -> int:
        """Return the value of an expression, made where it was not yet."""
        if isinstance(expr, Name) and expr.id in self.named:
            return self.named[expr.id]
        if expr not in self.made:
            self.made[expr] = self._make(expr)
        return self.made[expr]

    def _make(self, expr: Expr) -> int:
        if not self.reader.varies(expr):
            return self._node("function", self._fitting(self._expression(expr), expr), (), self._tip(expr))
        match expr:
            case Binary() | Negative():
                return self._sum(expr)
            case MatMul(left=left, right=right):
                if self.reader.varies(left) and rank_of(left, self.cell.shapes) == 2:
                    return self._read(left, right)
                if self.reader.varies(left) and self.reader.varies(right):
                    return self._node("function", plain("⟨·,·⟩"), (Input(self.value(left)), Input(self.value(right))))
                return self._sum(expr)
            case Power(base=base, exponent=exponent):
                return self._power(base, exponent)
            case Concat(parts=parts):
                varying = [p for p in parts if self.reader.varies(p)]
                return self._node("join", (), [Input(self.value(p)) for p in varying], self._tip(*parts), ordered=True)
            case Compare(op=op, left=left, right=right):
                return self._mixed((left, right), f" {_COMPARISONS.get(op, op)} ", "", "")
            case Call(function=function, args=args):
                return self._call(function, args)
        raise TypeError(f"nothing to draw for {type(expr).__name__}")

    def _read(self, matrix: Expr, vector: Expr) -> int:
        """Return the product of a matrix that varies and a vector: ``M v``, or ``Mᵀv``."""
        turned = isinstance(matrix, Transpose)
        inputs = [Input(self.value(part)) for part in (matrix.operand if isinstance(matrix, Transpose) else matrix, vector)]
        return self._node("function", plain("Mᵀv" if turned else "Mv"), inputs, self._tip(matrix, vector), ordered=True)

    def _outer(self, args: tuple[Expr, ...]) -> int:
        """Return an outer product, or a vector that is spread over an axis."""
        varying = [part for part in args if self.reader.varies(part)]
        a, b = ("·" if self.reader.varies(part) else "1" if isinstance(part, Number) else "v" for part in args)
        label = "⊗" if len(varying) == 2 else f"{a}{b}ᵀ"
        return self._node("function", plain(label), [Input(self.value(part)) for part in varying], self._tip(*args), ordered=True)

    def _power(self, base: Expr, exponent: Fraction) -> int:
        power = typeset(Latex({}).number(exponent))
        label = (Run("(·)"), *(replace(run, shift=-1) for run in power))
        if exponent == Fraction(1, 2):
            label = plain("√")
        return self._node("function", label, (Input(self.value(base)),), pointwise=True)

    def _fitting(self, label: Label, expr: Expr) -> Label:
        if width(label) <= LONGEST:
            return label
        names = [self._name(n.id) for n in walk(expr) if isinstance(n, Name)]
        return names[0] if names else plain("…")

    # Functions

    def _call(self, function: str, args: tuple[Expr, ...]) -> int:
        name = plain(_FUNCTION_LABELS.get(function, function.replace("_", " ")))
        if function == "outer":
            return self._outer(args)
        if function in ("merge", "part"):
            return self._node("function", name, (Input(self.value(args[0])),))
        if function == "pick":
            inputs = [Input(self.value(a)) for a in args]
            return self._node("function", name, inputs, ordered=True)
        if len(args) > 1:
            head = name[0].text
            return self._mixed(args, ", ", f"{head}(", ")", head, commutes=function in ("maximum", "minimum"))
        layer = self._layer(name, args[0]) if function in LAYERS else None
        if layer is not None:
            return layer
        pointwise = function in ELEMENTWISE
        return self._node("function", name, (Input(self.value(args[0])),), pointwise=pointwise)

    def _layer(self, name: Label, expr: Expr) -> int | None:
        """Return a function of weighted inputs as one box, if that is what it is."""
        if isinstance(expr, Name) or expr in self.reader.shared:
            return None
        found = self.reader.sum(expr)
        biased = any(self.reader.trainable(f.expr) for term in found.constant for f in term.weights)
        if found.plain and (found.weighted or len(found.plain) > 1 or found.plain[0].negative or not biased):
            return None
        inputs, whole = self._inputs(found.weighted or found.plain), name[0].text in ("softmax", "LN")
        if whole and found.matrix:  # what the matrix is says as much as the function
            name = joined([name, self._weights(found.weighted)], " ")
        return self._node("layer", name, inputs, self._tip(expr), pointwise=not found.matrix and not whole)

    def _inputs(self, terms: Sequence[Term]) -> list[Input]:
        """Return the values that terms read, each once."""
        return [Input(v) for v in dict.fromkeys(self.value(t.varying) for t in terms if t.varying is not None)]

    def _mixed(self, args: tuple[Expr, ...], comma: str, before: str, after: str, head: str = "", *, commutes: bool = False) -> int:
        """Return a function of several arguments; those that do not vary stand in its label."""
        varying = [a for a in args if self.reader.varies(a)]
        if len(varying) == len(args) and head:
            label = plain(head)
        else:
            parts = [_DOT if self.reader.varies(a) else self._fitting(self._expression(a), a) for a in args]
            label = joined([x for x in (plain(before), joined(parts, comma), plain(after)) if x], "")
        inputs = [Input(self.value(a)) for a in varying]
        return self._node("function", label, inputs, self._tip(*args), ordered=not commutes, pointwise=True)

    # Sums and products

    def _sum(self, expr: Expr) -> int:
        found = self.reader.sum(expr)
        inputs = self._linear(found) if found.matrix else self._gains(found)
        inputs += [self._plain(term) for term in found.plain]
        constant = () if found.matrix else found.constant
        if len(inputs) > 1:
            inputs = [Input(self._node("sum", (), inputs, pointwise=True))]
        (single,) = inputs
        if found.weighted and all(isinstance(f.expr, Name) and self.reader.trainable(f.expr) for t in constant for f in t.weights):
            constant = ()  # biases beside a weight: they stand in the tip only
        if constant:
            return self._shift(single, found, constant)
        if single.mark:
            return self._node("gain", plain("−"), (Input(single.value),), pointwise=True)
        return single.value

    def _linear(self, found: Sum) -> list[Input]:
        """Return all that is weighted as one box."""
        weights = [f.expr for term in found.weighted for f in term.weights]
        return [Input(self._node("linear", self._weights(found.weighted, signed=True), self._inputs(found.weighted), self._tip(*weights)))]

    def _gains(self, found: Sum) -> list[Input]:
        return [Input(self._gain(term), "−" if term.negative else "") for term in found.weighted]

    def _gain(self, term: Term) -> int:
        assert term.varying is not None
        source = self.value(term.varying)
        weights = [f.expr for f in term.weights]
        return self._node("gain", self._weights([term]), (Input(source),), self._tip(*weights), pointwise=True)

    def _plain(self, term: Term) -> Input:
        expr = term.varying
        assert expr is not None
        mark = "−" if term.negative else ""
        if isinstance(expr, Binary) and expr.op in "*/" and expr not in self.made:
            self.made[expr] = self._product(expr)
        return Input(self.value(expr), mark)

    def _product(self, expr: Expr) -> int:
        factors = self.reader.factors(expr)
        constant = [f for f in factors if not self.reader.varies(f.expr)]
        varying = [f for f in factors if self.reader.varies(f.expr)]
        if len(varying) == 1:  # a constant divided by what varies
            return self._divided(constant, varying[0].expr)
        marks = ["÷" if f.divides else "" for f in varying]
        product = self._node("product", (), [Input(self.value(f.expr), m) for f, m in zip(varying, marks, strict=True)], pointwise=True)
        if not constant:
            return product
        label = self._expression(weights_product(constant))
        return self._node("gain", self._fitting(label, expr), (Input(product),), self._tip(expr), pointwise=True)

    def _divided(self, constant: Sequence[Factor], varying: Expr) -> int:
        weight = weights_product(constant)
        label = joined([self._fitting(self._expression(weight), weight), _DOT], "/")
        return self._node("function", label, (Input(self.value(varying)),), self._tip(weight), pointwise=True)

    def _shift(self, single: Input, found: Sum, constant: tuple[Term, ...]) -> int:
        """Return a constant plus or minus a value."""
        expr = constant[0].weights[0].expr
        sign = "−" if constant[0].negative else ""
        for term in constant[1:]:
            expr = Binary("-" if term.negative != constant[0].negative else "+", expr, term.weights[0].expr)
        label = self._fitting(self._expression(expr), expr)
        if single.mark:
            label = joined([plain(sign), label, plain("−")], "") if sign else joined([label, plain("−")], " ")
        elif isinstance(expr, Number) and not sign:
            label = joined([label, plain("+")], " ")
        else:
            label = joined([plain(sign or "+"), label], " ")
        return self._node("shift", label, (Input(single.value),), self._tip(expr), pointwise=True)
