"""The imperative form of a recurrence: what a printer turns into code.

Kept apart from the mathematics: here there are arrays, places in them, stages and loops; equations appear only as what a loop computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..calculus.ir import Equation, HeadSum, Recurrence
from ..language.sizes import Shape, Size


@dataclass(frozen=True)
class Array:
    """Memory for one value's rows.

    `space` says which rows there are, and so how a row is found from step t and batch index b:

    | space      | rows                                                                        |
    |------------|-----------------------------------------------------------------------------|
    | `sequence` | one for each step and batch index: ``row[t] + b``                           |
    | `piece`    | the same, of the steps that run before what follows the loop does its part  |
    | `tape`     | the same if a tape is kept, else two steps' worth in turn                   |
    | `carry`    | two steps' worth in turn                                                    |
    | `scratch`  | one for each batch index, of the current step                               |
    | `ahead`    | made before a step is run: for all steps at once, or for each just before it |
    | `once`     | one for each batch index                                                    |
    | `static`   | one only                                                                    |

    `width` is the number of a row's elements, those of a matrix row by row, of heads one after the other.  `extra` is 1 for the states,
    which have a row before the first step too.
    """

    name: str
    space: str
    width: Size
    extra: int = 0
    integer: bool = False
    scalar: bool = False


@dataclass(frozen=True)
class Place:
    """Features `start` … of the rows of `array`, `shift` steps later than the current one; of a value that each head has, those of the
    first, and `stride` features later those of the next.
    """

    array: str
    start: Size = field(default_factory=Size)
    shift: int = 0
    stride: Size | None = None


@dataclass(frozen=True)
class Compute:
    """An equation with the places that its value is stored to; with none it lives in a local variable."""

    equation: Equation
    stores: tuple[Place, ...] = ()


@dataclass(frozen=True)
class VectorLoop:
    """``for j in range(size)``: elementwise equations of one size, fused, and sums over features of what they give.

    A sum is there, and stored, when the loop has ended.
    """

    size: Size
    computes: tuple[Compute, ...]


@dataclass(frozen=True)
class Scalars:
    """Equations that give a scalar a row."""

    computes: tuple[Compute, ...]


@dataclass(frozen=True)
class RowLoop:
    """``for i in range(rows)``: what is done for one row of matrices at a time, part by part.

    A part is a loop over the columns, of equations whose values are matrices and sums of these, or it has the elements i of vectors.  What
    one makes is read by those that follow: a sum of the row, and the elements i.  Sums of columns, and of whole matrices, are there when
    the loop has ended.  A matrix that several parts read is computed in each, unless it is stored.
    """

    rows: Size
    columns: Size
    parts: tuple[VectorLoop | Scalars, ...]

    @property
    def computes(self) -> tuple[Compute, ...]:
        return tuple(compute for part in self.parts for compute in part.computes)


@dataclass(frozen=True)
class HeadLoop:
    """``for head in range(heads)``: what is done for one head of a row at a time, loop by loop.

    A sum over heads is there, and stored, when the loop has ended.
    """

    heads: Size
    loops: tuple[VectorLoop | Scalars | RowLoop, ...]

    @property
    def computes(self) -> tuple[Compute, ...]:
        return tuple(compute for loop in self.loops for compute in loop.computes)


OwnLoop = VectorLoop | Scalars | RowLoop
Loop = OwnLoop | HeadLoop


def own_loops(loops: Iterable[Loop]) -> tuple[OwnLoop, ...]:
    """Return loops, and in place of one over heads what is done for each."""
    return tuple(own for loop in loops for own in (loop.loops if isinstance(loop, HeadLoop) else (loop,)))


@dataclass(frozen=True)
class Product:
    """``out = matrix @ vector`` (or the transpose) for all rows at hand; with `accumulate` it adds to what `out` holds."""

    equation: Equation
    matrix: str
    vector: Place
    out: Place
    transposed: bool
    accumulate: bool


@dataclass(frozen=True)
class Stage:
    """Products, which need complete vectors, and then row by row the loops that use them."""

    products: tuple[Product, ...]
    loops: tuple[Loop, ...]

    @property
    def plain(self) -> tuple[VectorLoop | Scalars, ...]:
        """The loops, in a program without heads, and without matrices at each step."""
        assert not any(isinstance(loop, RowLoop | HeadLoop) for loop in self.loops)
        return tuple(loop for loop in self.loops if not isinstance(loop, RowLoop | HeadLoop))


@dataclass(frozen=True)
class Program:
    """A recurrence as stages: once a sequence, over all rows before the time loop, in it, and after it.

    Attributes
    ----------
    rec : Recurrence
        Where types, labels, static equations and accumulators stand.
    arrays : mapping
        Every array by name: given ones, results and working memory.
    places : mapping
        Where the value of a name is read from; names without one are local to their loop or static.
    """

    rec: Recurrence
    arrays: Mapping[str, Array]
    places: Mapping[str, Place]
    once: tuple[Stage, ...]
    before: tuple[Stage, ...]
    loop: tuple[Stage, ...]
    after: tuple[Stage, ...]

    def shape(self, name: str) -> Shape:
        return self.rec.types[name].shape

    @property
    def ahead(self) -> tuple[Product, ...]:
        """The products that may be formed for all steps at once or just before each."""
        return tuple(p for stage in self.before for p in stage.products if self.arrays[p.out.array].space == "ahead")

    @property
    def by_head(self) -> bool:
        """Whether the heads of a row may run in the loop without each other: nothing is made of several, and no product of all rows."""
        loops = [loop for stage in self.loop for loop in stage.loops]
        sums = any(isinstance(compute.equation.node, HeadSum) for loop in loops for compute in loop.computes)
        products = any(stage.products for stage in self.loop)
        return len(loops) == 1 and isinstance(loops[0], HeadLoop) and not sums and not products

    @property
    def in_pieces(self) -> bool:
        """Whether the loop may run some steps at a time, and what follows it after each such piece: see `passes.pieces`."""
        return any(array.space == "piece" for array in self.arrays.values())

    def over_time(self) -> Program:
        """Return the program with rows of all steps where there are those of a piece: for who runs the whole loop first."""
        arrays = {name: replace(array, space="sequence") if array.space == "piece" else array for name, array in self.arrays.items()}
        return replace(self, arrays=arrays)

    def written_arrays(self) -> set[str]:
        """Return the arrays that a product or a loop stores to."""
        stages = (*self.once, *self.before, *self.loop, *self.after)
        products = {product.out.array for stage in stages for product in stage.products}
        return products | {place.array for stage in stages for loop in stage.loops for c in loop.computes for place in c.stores}
