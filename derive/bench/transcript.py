"""A cell's step as the PyTorch program that one would write by hand.

The cell's text is read once, by `derive.verify.evaluate` on tensors that write down what is done with them.  The program has the
operations alone: reading expression trees at every step would take longer than the operations of a small cell, and slow PyTorch down
for no fault of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..language.definition import Definition
from ..language.vocabulary import GRADIENTS
from ..verify.evaluate import evaluate
from ..verify.frameworks import LAYER_NORM_EPSILON, functions, surrogate

Function = Callable[..., Any]


@dataclass(frozen=True)
class Program:
    """What is computed once a pass, and at every step.

    Attributes
    ----------
    prepare : callable
        From parameters and contexts, in the cell's order, to what the step takes of them: they and what follows from them alone, such as
        a transpose.
    step : callable
        From inputs, previous states and what `prepare` gave to the output and the tuple of states.
    source : str
        The text of both.
    """

    prepare: Function
    step: Function
    source: str


def transcribe(cell: Definition, tensors: Mapping[str, Any]) -> Program:
    """Return the program of `cell`.

    Parameters
    ----------
    cell : Definition
    tensors : mapping
        A tensor for each input and previous state, `(B, ·)`, context and parameter; the program is for their shapes and dtype.
    """
    recorder = _Recorder(importlib.import_module("torch"))
    moving = (*cell.inputs, *(f"{s}_prev" for s in cell.states))
    still = (*cell.parameters, *cell.context)
    given = {name: recorder.given(name, tensors[name], name in moving) for name in (*moving, *still)}
    values = evaluate(cell, given, recorder, _idioms(recorder), select=False)
    results = [recorder.tensor(values[name]) for name in (cell.output, *cell.states)]
    used = [name for name in recorder.made if name in recorder.used]
    source = "\n".join(
        [
            f"def prepare({', '.join(given[name].text for name in still)}):",
            *(f"    {line}" for line in recorder.before),
            f"    return ({''.join(f'{name}, ' for name in used)})",
            "",
            f"def step({', '.join([*(given[name].text for name in moving), *used])}):",
            *(f"    {line}" for line in recorder.body),
            f"    return {results[0]}, ({''.join(f'{name}, ' for name in results[1:])})",
        ]
    )
    namespace = dict(recorder.known)
    exec(compile(source, f"<{cell.name}>", "exec"), namespace)
    return Program(namespace["prepare"], namespace["step"], source)


def _idioms(recorder: _Recorder) -> dict[str, Function]:
    """Return the functions that PyTorch has as one operation, where `derive.verify.evaluate` makes them of several."""
    own = importlib.import_module("torch.nn.functional")
    found = {name: recorder.function(getattr(own, name)) for name in ("relu", "elu", "gelu", "silu", "softsign", "logsigmoid")}
    layer_norm, softmax = recorder.function(own.layer_norm), recorder.function(own.softmax)
    changed = {"detach": recorder.torch.detach, **{name: functions(recorder.torch)[name] for name in GRADIENTS}}
    return {
        **found,
        **{name: recorder.function(function) for name, function in changed.items()},
        "layer_norm": lambda x: layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPSILON),
        "softmax": lambda x: softmax(x, dim=-1),
    }


@dataclass(frozen=True, eq=False)
class _Value:
    """A tensor and the name that it has in the program; or a number, whose text is itself."""

    recorder: _Recorder
    text: str
    value: Any
    varies: bool = False
    literal: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.literal else tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def device(self) -> Any:
        return self.value.device

    @property
    def T(self) -> Any:
        return self.recorder.line("{}.T", self)

    def is_floating_point(self) -> bool:
        return bool(self.value.is_floating_point())

    def long(self) -> Any:
        return self.recorder.line("{}.long()", self)

    def reshape(self, shape: tuple[int, ...]) -> Any:
        return self.recorder.line(f"{{}}.reshape({', '.join(map(str, shape))})", self)

    def __getitem__(self, key: Any) -> Any:
        # A number broadcasts without a further axis.
        return self if self.literal else self.recorder.line(f"{{}}[{_key(key)}]", self)


_FORMS = {"neg": "-{}", "lt": "{} < {}", "le": "{} <= {}", "gt": "{} > {}", "ge": "{} >= {}"}
for _name, _sign in {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "matmul": "@", "pow": "**"}.items():
    _FORMS |= {_name: f"{{0}} {_sign} {{1}}", f"r{_name}": f"{{1}} {_sign} {{0}}"}


def _operator(form: str) -> Function:
    def method(self: _Value, *others: Any) -> _Value:
        return self.recorder.line(form, self, *others)

    return method


for _name, _form in _FORMS.items():
    setattr(_Value, f"__{_name}__", _operator(_form))


def _key(key: Any) -> str:
    """Return an index as it is written."""
    if isinstance(key, tuple):
        return ", ".join(map(_key, key))
    if isinstance(key, slice):
        return f"{key.start}:{key.stop}"
    return "..." if key is Ellipsis else repr(key)


@dataclass(eq=False)
class _Recorder:
    """PyTorch, as `derive.verify.evaluate` sees it: what is called is done and written down.

    Names begin with what they are, so that a cell's own names meet no others: `own_` of the cell, `v` made by a line, `k` a constant,
    `f_` a function.

    Attributes
    ----------
    known : dict
        Constants and functions by name, for the program, and the tensors that lines are tried on.
    before, body : list of str
        The lines that depend on parameters and contexts alone, and the others.
    made, used : list and set of str
        The names that are the same at every step, and those of them that a step reads.
    """

    torch: Any
    known: dict[str, Any] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    tried: dict[str, Any] = field(default_factory=dict)

    __name__ = "torch"

    def __getattr__(self, name: str) -> Any:
        return self.function(getattr(self.torch, name))

    def given(self, name: str, tensor: Any, varies: bool) -> _Value:
        """Return the value of a name of the cell."""
        return self._named(f"own_{name}", tensor, varies)

    def _named(self, name: str, value: Any, varies: bool) -> _Value:
        self.tried[name] = value
        if not varies:
            self.made.append(name)
        return _Value(self, name, value, varies)

    def asarray(self, value: Any, **options: Any) -> _Value:
        """Return a constant: a number is written as such, an array has a name."""
        tensor = self.torch.asarray(value, **options)
        return self._constant(tensor) if tensor.ndim else _Value(self, repr(tensor.item()), tensor, literal=True)

    def _constant(self, tensor: Any) -> _Value:
        name = f"k{len(self.known)}"
        self.known[name] = self.tried[name] = tensor
        return _Value(self, name, tensor)

    def tensor(self, value: _Value) -> str:
        """Return the name of a value's tensor, for a place where a number cannot stand."""
        if value.literal:
            return self._constant(value.value).text
        if not value.varies:
            self.used.add(value.text)
        return value.text

    def broadcast_to(self, value: _Value, shape: tuple[int, ...]) -> _Value:
        """Return the value itself where it has the shape."""
        return value if value.shape == tuple(shape) else self.function(self.torch.broadcast_to)(value, tuple(shape))

    def chunk(self, value: _Value, count: int, axis: int) -> list[_Value]:
        """Return the parts of a value, each by its number in the one tuple that PyTorch returns."""
        parts = self.function(self.torch.chunk)(value, count, axis)
        return [self.line(f"{{}}[{k}]", parts) for k in range(count)]

    def surrogate(self, value: Function, slope: Function) -> Function:
        """Return a function with a derivative of its own, both written down as functions, that is one operation of the program."""

        def call(x: _Value) -> Any:
            made = surrogate(self.torch, self._function("value", value, x), self._function("slope", slope, x))
            made.__name__ = f"own_{len(self.known)}"
            return self.function(made)(x)

        return call

    def _function(self, name: str, part: Function, x: _Value) -> Function:
        """Return what `part` does with x as a function of it."""
        around, self.body = self.body, []
        argument = self._named(f"v{len(self.tried)}", x.value, True)
        result = self.tensor(part(argument))
        source = "\n".join([f"def {name}({argument.text}):", *(f"    {line}" for line in self.body), f"    return {result}"])
        self.body, namespace = around, dict(self.known)
        exec(compile(source, f"<{name}>", "exec"), namespace)
        made: Function = namespace[name]
        return made

    def function(self, function: Function) -> Function:
        """Return `function` for recorded values; calls without any are only made."""

        def call(*arguments: Any, **options: Any) -> Any:
            if not any(_values(arguments)):
                return function(*arguments, **options)
            name = f"f_{function.__name__}"
            self.known[name] = self.tried[name] = function
            texts = [*map(self._argument, arguments), *(f"{key}={value!r}" for key, value in options.items())]
            return self._write(f"{name}({', '.join(texts)})", *_values(arguments))

        return call

    def _argument(self, argument: Any) -> str:
        if isinstance(argument, list | tuple):
            return f"({''.join(f'{self._argument(part)}, ' for part in argument)})"
        return self.tensor(argument) if isinstance(argument, _Value) else repr(argument)

    def line(self, form: str, *operands: Any) -> _Value:
        """Write down what `form` makes of operands."""
        texts = [o.text if isinstance(o, _Value) else repr(o) for o in operands]
        return self._write(form.format(*texts), *_values(operands))

    def _write(self, text: str, *operands: _Value) -> _Value:
        value, varies = eval(text, self.tried), any(operand.varies for operand in operands)
        if all(operand.literal for operand in operands):
            return self.asarray(value, dtype=operands[0].dtype)
        name = f"v{len(self.tried)}"
        (self.body if varies else self.before).append(f"{name} = {text}")
        if varies:
            self.used |= {operand.text for operand in operands if not operand.varies}
        return self._named(name, value, varies)


def _values(arguments: Any) -> Iterator[_Value]:
    """Yield the recorded values among arguments, and within lists of them."""
    for argument in arguments:
        if isinstance(argument, _Value):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _values(argument)
