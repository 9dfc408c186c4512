"""Operators one after the other, and the axes of what they make.

A value may have an axis of one element where others have more: operators on elements repeat it, and `Emitter.expanded` does for those that
do not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...calculus.naming import Names
from .graph import INTEGER, REAL, Constant, Dim, Dims, Node


@dataclass(frozen=True)
class Value:
    """What an operator makes: its name, axes, and kind of elements."""

    name: str
    dims: Dims
    kind: str = REAL


def broadcast(*shapes: Dims) -> Dims:
    """Return the axes of an operation on elements of values with these; they are compared from the last on."""
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(dims)) + dims for dims in shapes), strict=True)
    return tuple(_common(column) for column in columns)


def _common(column: Iterable[Dim]) -> Dim:
    found = {dim for dim in column if dim != 1}
    assert len(found) <= 1, f"axes of {found} elements meet"
    return found.pop() if found else 1


class Emitter:
    """The operators of a graph, as far as they are known.

    Attributes
    ----------
    names : Names
        Shared with the graphs around, whose values this one may read.
    root : Emitter
        The outermost graph, which has all constants.
    nodes : list of Node
    constants : dict
        By kind and values.
    extents : dict
        The number of elements of each axis that is not known beforehand, as a vector of one.
    about, doc : str
        What operators belong to: the beginning of their names, and their text.
    """

    def __init__(self, names: Names, root: Emitter | None = None) -> None:
        self.names = names
        self.root = root or self
        self.nodes: list[Node] = []
        self.constants: dict[tuple[str, Any], Constant] = {}
        self.extents: dict[str, Value] = {}
        self.about, self.doc = "", ""

    @contextlib.contextmanager
    def belonging_to(self, about: str, doc: str = "") -> Iterator[None]:
        """Let operators belong to something for a while."""
        before = self.about, self.doc
        self.about, self.doc = about, doc
        yield
        self.about, self.doc = before

    # Operators

    def emit(self, operator: str, operands: Iterable[Value | None], results: Iterable[Value], **attributes: Any) -> None:
        """Add an operator with named results."""
        inputs = tuple(operand.name if operand else "" for operand in operands)
        title = f"{self.about or operator}/{operator}"
        count = sum(node.name == title or node.name.startswith(f"{title}_") for node in self.nodes)
        name = f"{title}_{count + 1}" if count else title
        outputs = tuple(result.name for result in results)
        self.nodes.append(Node(operator, inputs, outputs, tuple(sorted(attributes.items())), name, self.doc))

    def made(self, operator: str, *operands: Value | None, dims: Dims, kind: str = REAL, **attributes: Any) -> Value:
        """Add an operator; return what it makes."""
        result = Value(self.names.fresh(f"{self.about or 'v'}_{operator.lower()}"), dims, kind)
        self.emit(operator, operands, [result], **attributes)
        return result

    def on_elements(self, operator: str, *operands: Value, kind: str = REAL, **attributes: Any) -> Value:
        """Add an operator on elements."""
        return self.made(operator, *operands, dims=broadcast(*(operand.dims for operand in operands)), kind=kind, **attributes)

    def renamed(self, value: Value, wish: str) -> Value:
        """Return a value under a name of its own: that of what makes it is changed if it is made here, else it is handed on."""
        return self.called(value, self.names.fresh(wish))

    def called(self, value: Value, name: str) -> Value:
        """Return a value under a name, which is not taken."""
        result = replace(value, name=name)
        if not any(value.name in node.outputs for node in self.nodes):
            self.emit("Identity", [value], [result])
            return result

        def swapped(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name if own == value.name else own for own in names)

        self.nodes = [replace(node, inputs=swapped(node.inputs), outputs=swapped(node.outputs)) for node in self.nodes]
        return result

    # Constants

    def number(self, value: float) -> Value:
        """Return a number."""
        return self._constant(float(value), (), REAL, "k_" + repr(float(value)).removesuffix(".0"))

    def reals(self, values: tuple[Any, ...], dims: Dims, wish: str) -> Value:
        """Return an array of numbers, given as nested tuples."""
        return self._constant(values, dims, REAL, wish)

    def integers(self, *values: int) -> Value:
        """Return a vector of integers."""
        return self._constant(values, (len(values),), INTEGER, "i_" + "_".join(map(str, values)))

    def integer(self, value: int) -> Value:
        """Return an integer."""
        return self._constant(value, (), INTEGER, f"i_{value}")

    def _constant(self, values: Any, dims: Dims, kind: str, wish: str) -> Value:
        known = self.root.constants
        key = kind, repr(values)
        if key not in known:
            known[key] = Constant(self.names.fresh(wish.replace("-", "m").replace(".", "p")), values, kind)
        return Value(known[key].name, dims, kind)

    # Axes

    def unsqueezed(self, value: Value, *axes: int) -> Value:
        """Return a value with axes of one element, which are at the places `axes` of the result, counted from its end."""
        dims, rank = list(value.dims), len(value.dims) + len(axes)
        for axis in sorted(axes):
            dims.insert(rank + axis, 1)
        return self.made("Unsqueeze", value, self.integers(*axes), dims=tuple(dims), kind=value.kind)

    def squeezed(self, value: Value, axis: int) -> Value:
        """Return a value without an axis of one element, counted from its end."""
        dims = list(value.dims)
        del dims[axis]
        return self.made("Squeeze", value, self.integers(axis), dims=tuple(dims), kind=value.kind)

    def transposed(self, value: Value, *order: int) -> Value:
        """Return a value with its axes in another order."""
        return self.made("Transpose", value, dims=tuple(value.dims[axis] for axis in order), kind=value.kind, perm=order)

    def reshaped(self, value: Value, lead: int, *dims: int) -> Value:
        """Return a value with other axes after the first `lead`."""
        return self.made("Reshape", value, self.integers(*(0,) * lead, *dims), dims=(*value.dims[:lead], *dims), kind=value.kind)

    def expanded(self, value: Value, dims: Dims) -> Value:
        """Return a value repeated along axes, and with more of them in front, so that it has `dims`."""
        if value.dims == dims:
            return value
        own = (1,) * (len(dims) - len(value.dims)) + value.dims
        missing = tuple(dim if dim != there else 1 for dim, there in zip(dims, own, strict=True))
        return self.made("Expand", value, self.shape(missing), dims=dims, kind=value.kind)

    def shape(self, dims: Dims) -> Value:
        """Return the sizes of axes as a vector of integers."""
        if all(isinstance(dim, int) for dim in dims):
            return self.integers(*(dim for dim in dims if isinstance(dim, int)))
        parts = [self.extent(dim) if isinstance(dim, str) else self.integers(dim) for dim in dims]
        return self.made("Concat", *parts, dims=(len(parts),), kind=INTEGER, axis=0) if len(parts) > 1 else parts[0]

    def extent(self, axis: str) -> Value:
        """Return the number of elements of an axis that is not known beforehand, as a vector of one."""
        return self.root.extents[axis]
