"""What a cell's text says, and what follows from it: states, parameters, shapes, and what has a row for each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from . import functions, wellformed
from .constants import ConstantArray, array, is_number, number
from .functions import Functions
from .names import is_previous, previous
from .parse import parse
from .shapes import Declarations, Inference, infer
from .sizes import Shape, Size, parse_shape
from .tree import Assignment, Call, Expr, Heads, Statement
from .unroll import Unrolled, unrolled
from .walks import children, is_batched, is_headed, rebuild


@dataclass(frozen=True, eq=False)
class Reading:
    """A text and what is declared of its names: the fields of a `Definition`, which is one that has been checked."""

    text: str
    name: str
    output: str
    title: str
    reference: str
    description: str
    inputs: tuple[str, ...]
    context: tuple[str, ...]
    fixed: tuple[str, ...]
    declared_shapes: Mapping[str, str]
    constants: Mapping[str, Any]
    init: Mapping[str, float | str]
    latex: Mapping[str, str]
    functions: Mapping[str, Any]
    heads: str
    shared: tuple[str, ...]

    @cached_property
    def arguments(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the arguments of each function of the cell's own."""
        return functions.arguments(self.functions)

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The lines and blocks of the text as they are written; constants are still names."""
        return parse(self.text, self.scalar_constants, self.arguments)

    @cached_property
    def own(self) -> Functions:
        """The functions of the cell's own."""
        return functions.read(self.functions, self.scalar_constants)

    @cached_property
    def unrolled(self) -> Unrolled:
        """The lines of the text, blocks and functions written out, and how they are numbered."""
        taken = (*self.inputs, *self.context, *self.constants)
        return unrolled(functions.put_in_lines(self.statements, self.own.macros, self.text), self.text, taken)

    @cached_property
    def equations(self) -> tuple[Assignment, ...]:
        """The lines of the text, blocks and functions written out."""
        if not self.heads:
            return self.unrolled.equations
        return tuple(replace(line, value=_with_heads(line.value, self.heads)) for line in self.unrolled.equations)

    @cached_property
    def surrogates(self) -> Mapping[str, Any]:
        """Of `functions`, those with a derivative of their own: what plain lines call still."""
        return {key: self.functions[key] for key, name in zip(self.functions, self.arguments, strict=True) if name in self.own.surrogates}

    @cached_property
    def states(self) -> tuple[str, ...]:
        """The assigned names whose previous value is read, in the order of assignment."""
        previous = wellformed.previous_names(self.equations)
        return tuple(target for target in wellformed.targets_of(self.equations) if f"{target}_prev" in previous)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The parameters in order of first appearance, those that are `fixed` included."""
        known = {*self.inputs, *self.context, *self.constants, *wellformed.targets_of(self.equations)}
        names = dict.fromkeys(node.id for _, node in wellformed.names_in(self.equations))
        return tuple(name for name in names if name not in known and not is_previous(name))

    @cached_property
    def scalar_constants(self) -> Mapping[str, Fraction | float]:
        """The constants that are numbers, exact where they were given exactly."""
        return {name: number(name, value) for name, value in self.constants.items() if is_number(value)}

    @cached_property
    def constant_arrays(self) -> Mapping[str, ConstantArray]:
        """The constants that are vectors or matrices."""
        return {name: array(name, value) for name, value in self.constants.items() if not is_number(value)}

    # What follows from it

    @cached_property
    def _inference(self) -> Inference:
        declared = {name: parse_shape(shape) for name, shape in self.declared_shapes.items()}
        known = Declarations(
            text=self.text,
            inputs=self.inputs,
            context=self.context,
            states=self.states,
            parameters=self.parameters,
            scalars=frozenset(self.scalar_constants),
            arrays={name: array.shape for name, array in self.constant_arrays.items()},
            declared=declared,
            heads=self.heads,
        )
        return infer(self.equations, known)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of one row of every name: inputs, context, states, `s_prev`, parameters, constants, assigned names."""
        return self._inference.shapes

    @cached_property
    def integers(self) -> frozenset[str]:
        """The inputs that are indices."""
        return self._inference.integers

    @cached_property
    def without_gradient(self) -> frozenset[str]:
        """The names that are given and get no gradient: indices, and what is `fixed`."""
        return self.integers | {*self.fixed}

    @cached_property
    def equal_sizes(self) -> tuple[tuple[str, str], ...]:
        """Pairs of named sizes that the equations make equal; in `shapes` the second name stands for both."""
        return self._inference.equal_sizes

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The named sizes in `shapes`: d, n, then the others by name."""
        found = {name for shape in self.shapes.values() for size in shape for name in size.names} | {*filter(None, (self.heads,))}
        return tuple(sorted(found, key=lambda name: ({"d": 0, "n": 1}.get(name, 2), name)))

    @cached_property
    def headed(self) -> frozenset[str]:
        """The names that have a value for each head: parameters that are not shared, and what is made of them but by `merge`."""
        found = frozenset(name for name in self.parameters if self.heads and name not in self.shared)
        while True:
            more = {target for line in self.equations if is_headed(line.value, found) for target in line.targets}
            more |= {previous(name) for name in more if name in self.states}
            if more <= found:
                return found
            found |= more

    @cached_property
    def axes(self) -> Mapping[str, Shape]:
        """Shape of one row of every name with the axis of heads in front, where it has one."""
        return {name: (Size.of(self.heads), *shape) if name in self.headed else shape for name, shape in self.shapes.items()}

    @cached_property
    def batched(self) -> frozenset[str]:
        """The names that have a row for each sequence: what depends on an input, a context or a state; states and the output always."""
        found = frozenset({*self.inputs, *self.context, *self.states, self.output, *map(previous, self.states)})
        for line in self.equations:
            if is_batched(line.value, found):
                found |= {*line.targets}
        return found


def _with_heads(expr: Expr, heads: str) -> Expr:
    """Return an expression in which `merge` and `part` are told how many heads there are."""
    expr = rebuild(expr, tuple(_with_heads(part, heads) for part in children(expr)))
    if isinstance(expr, Call) and expr.function in ("merge", "part"):
        return replace(expr, args=(*expr.args, Heads(heads)))
    return expr
