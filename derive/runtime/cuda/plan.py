"""The shape of a kernel that runs a whole time loop, and the tables of cells that it is made from; `planner` chooses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .kind import Kind

WARP = 32
DEPTH = {"bf16": 16, "f16": 16, "tf32": 8}  # what one instruction of the tensor cores sums over
LANES = "lanes"  # the size of what every thread of a row keeps
LINE = 32  # words of memory between the counters of two groups: a line of the cache each


@dataclass(frozen=True)
class Product:
    """A product of the loop: how many columns it makes, what it sums over, and the tile of its operand."""

    columns: str
    width: str
    tile: str


@dataclass(frozen=True)
class Steps:
    """What a plan must know of a time loop.

    Attributes
    ----------
    spread : bool
        Whether a row's features may be divided among blocks.
    meetings : int
        How often members meet in a step.
    products : mapping
    tiles : mapping
        Of each operand: its size, where it starts in the rows of its array, and their size.
    statics : mapping
        Size of each static vector.
    own : mapping
        Of what a block keeps of each row: size and number of copies.
    near : mapping
        Size of what is given for each step: threads bring it for the next one while this one is computed.
    divided : tuple of str
        The sizes that members divide among them.
    """

    spread: bool
    meetings: int
    products: Mapping[str, Product] = field(hash=False)
    tiles: Mapping[str, tuple[str, str, str]] = field(hash=False)
    statics: Mapping[str, str] = field(hash=False)
    own: Mapping[str, tuple[str, int]] = field(hash=False)
    near: Mapping[str, str] = field(hash=False)
    divided: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A block's part of a product.

    Column c of a member is column ``c // unit * stride + member * unit + c % unit`` of the matrix.

    Attributes
    ----------
    columns, unit, stride, width : int
    across, each, slices, span : int
        Columns (of FMA) or tiles of columns side by side among threads or warps; how many each of them has; into how many slices the sum
        is divided; how far each slice goes, in steps of the instruction.
    tile, pitch, partial, partial_pitch, weights : int
        Where operand, results and weights lie in shared memory, in numbers of the dtype that is computed with, and the length of a row.
    """

    columns: int
    unit: int
    stride: int
    width: int
    across: int
    each: int
    slices: int
    span: int
    turned: bool = False
    tile: int = 0
    pitch: int = 0
    partial: int = 0
    partial_pitch: int = 0
    weights: int = 0

    def words(self, kind: Kind) -> int:
        """Return the registers of a thread that hold weights; 1 at least, since there is no empty array."""
        return 1 if kind.product == "fma" else self.each * self.span * self.registers

    @property
    def registers(self) -> int:
        """Registers of a fragment of the weights."""
        return 2 if self.turned else 4

    @property
    def tile_columns(self) -> int:
        return 8 if self.turned else 16

    @property
    def tile_rows(self) -> int:
        return 16 if self.turned else 8


@dataclass(frozen=True)
class Plan:
    """The shape of a kernel that runs all steps.

    Attributes
    ----------
    kind : str
    rows, lanes : int
        Sequences of a group, and threads for each.
    members, groups : int
    sizes_, here_, at_, parts_, tiles_, ahead_ : tuples of pairs
        Sizes, a member's share of them, offsets in shared memory, parts of products; of tiles offset, pitch, width, start, and the
        width of the array's rows; by size, how many of its numbers a thread brings ahead of the step, 0 where it brings them when needed.
    shared, registers : int
        Bytes of shared memory, and registers a thread that hold weights, sums, and what is brought ahead.
    cost : float
        Estimated microseconds a step.
    """

    kind: str
    rows: int
    lanes: int
    members: int
    sizes_: tuple[tuple[str, int], ...]
    here_: tuple[tuple[str, int], ...]
    at_: tuple[tuple[str, int], ...]
    parts_: tuple[tuple[str, Part], ...]
    tiles_: tuple[tuple[str, tuple[int, int, int, int, int]], ...]
    ahead_: tuple[tuple[str, int], ...]
    shared: int
    registers: int
    groups: int = field(compare=False)
    cost: float = field(compare=False)

    @property
    def sizes(self) -> dict[str, int]:
        return dict(self.sizes_)

    @property
    def here(self) -> dict[str, int]:
        return dict(self.here_)

    @property
    def at(self) -> dict[str, int]:
        return dict(self.at_)

    @property
    def parts(self) -> dict[str, Part]:
        return dict(self.parts_)

    @property
    def tiles(self) -> dict[str, tuple[int, int, int, int, int]]:
        return dict(self.tiles_)

    @property
    def ahead(self) -> dict[str, int]:
        return dict(self.ahead_)

    @property
    def threads(self) -> int:
        return self.rows * self.lanes

    @property
    def blocks(self) -> int:
        return self.groups * self.members
