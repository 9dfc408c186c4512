"""Where values lie, and how an element of one is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...calculus.ir import Along, Equation, Merge, Node, Part, Recurrence, Repeat, Slice, Transpose
from ...language.sizes import Shape, Size, elements
from ..sizes import size_source
from ..source import PRODUCT, SUM, Source, code, name

HEAD = name("head")
ZERO, ONE = Size(), Size((), 1)


@dataclass(frozen=True)
class Memory:
    """An array: what it is called, and its axes.  A number without axes is a variable."""

    source: Source
    axes: Shape

    @property
    def first(self) -> Source:
        """The address of its first element."""
        return code("{}" + "[0]" * (len(self.axes) - 1), self.source) if self.axes else code("&{}", self.source)


@dataclass(frozen=True)
class Lying:
    """Where a value lies: in which memory, after how many elements, and how many elements later what the next head has.

    Attributes
    ----------
    memory : Memory
    shape : Shape
        Of the value, or of one head's.
    start : Size
    stride : Size, optional
        None for what has no heads.
    crossed : bool
        Whether it is the transpose of a matrix that lies there, whose shape this is.
    """

    memory: Memory
    shape: Shape
    start: Size = ZERO
    stride: Size | None = None
    crossed: bool = False

    def whole(self, heads: Size) -> bool:
        """Say whether the value is all of its memory, with its axes."""
        own = self.shape if self.stride is None else (heads, *self.shape)
        return self.start == ZERO and self.stride in (None, elements(self.shape)) and own == self.memory.axes


@dataclass(frozen=True)
class Places:
    """Places of values in emitted code.

    Attributes
    ----------
    rec : Recurrence
    name_of : callable
        The variable of a named size.
    """

    rec: Recurrence
    name_of: Callable[[str], Source]

    @property
    def heads(self) -> Size:
        return Size.of(self.rec.heads)

    def size(self, size: Size) -> Source:
        return size_source(size, self.name_of)

    def own(self, value: str, memory: Memory) -> Lying:
        """Return where a value lies that has a memory to itself."""
        kind = self.rec.types[value]
        return Lying(memory, kind.shape, ZERO, elements(kind.shape) if kind.headed else None)

    def element(self, lying: Lying, indices: Sequence[Source]) -> Source:
        """Return an element, by its indices in one head's value."""
        indices = indices[::-1] if lying.crossed else indices
        if lying.whole(self.heads):
            own = [*([HEAD] if lying.stride is not None else []), *indices]
            return code("{}" + "[{}]" * len(own), lying.memory.source, *own)
        if not lying.memory.axes:
            return lying.memory.source
        offset = self.offset(lying, indices) or Source("0")
        return code("{}[{}]" if len(lying.memory.axes) == 1 else "(&{}[0])[{}]", lying.memory.first, offset)  # beyond the first row

    def pointer(self, lying: Lying) -> Source:
        """Return the address of the value, or of that of the head at hand."""
        assert not lying.crossed
        if lying.whole(self.heads) and lying.stride is not None and lying.shape:
            return code("{}[head]" + "[0]" * (len(lying.shape) - 1), lying.memory.source, uses=("head",))
        offset = self.offset(lying, ())
        return code("{} + {}", lying.memory.first, offset, binding=SUM) if offset else lying.memory.first

    def offset(self, lying: Lying, indices: Sequence[Source]) -> Source | None:
        """Return how many elements lie before one; None for none."""
        terms = [self.size(lying.start)] if lying.start != ZERO else []
        terms += [self._times(HEAD, lying.stride)] if lying.stride is not None else []
        strides = (*lying.shape[1:], ONE)[: len(indices)]
        terms += [self._times(index, stride) for index, stride in zip(indices, strides, strict=True)]
        return code(" + ".join(["{}"] * len(terms)), *terms, binding=SUM) if terms else None

    def _times(self, index: Source, stride: Size) -> Source:
        if stride == ONE:
            return index
        return code("{} * {}", index.within(PRODUCT), self.size(stride).within(PRODUCT), binding=PRODUCT)


def viewed(places: Places, equations: Sequence[Equation], lies: Mapping[str, Lying]) -> dict[str, Lying]:
    """Return where values lie, those too that show others, by `equations`."""
    found = dict(lies)
    for eq in equations:
        if (lying := _view(places, eq, found)) is not None:
            found[eq.name] = lying
    return found


def _view(places: Places, eq: Equation, lies: Mapping[str, Lying]) -> Lying | None:
    node, kind = eq.node, places.rec.types[eq.name]
    if not isinstance(node, Slice | Merge | Part | Transpose) or (of := shown(node)) not in lies:
        return None
    lying = lies[of]
    match node:
        case Slice(start=start):
            return replace(lying, shape=kind.shape, start=lying.start + start * elements(kind.shape[1:]))
        case Merge():
            return replace(lying, shape=kind.shape, stride=None) if lying.stride == elements(lying.shape) else None
        case Part():
            return replace(lying, shape=kind.shape, stride=elements(kind.shape))
        case Transpose():
            return replace(lying, crossed=not lying.crossed)
    return None


def shown(node: Node) -> str:
    """Return the value that another one shows."""
    assert isinstance(node, Slice | Merge | Part | Transpose | Along | Repeat)
    return node.matrix if isinstance(node, Transpose) else node.value
