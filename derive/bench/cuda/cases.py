"""What is measured on a device: cells, kinds of number, sizes, and whom they are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ..contender import Size
from ..pytorch import LAYERS

BUILT_IN, LOOPS = ("torch.nn",), ("eager", "compile")
LONG: Size = (16, 1024, 768, 768)
WIDE: tuple[Size, ...] = ((256, 1024, 64, 64), (256, 1024, 128, 128))
SHORT: Size = (16, 256, 768, 768)  # a loop in Python takes long


@dataclass(frozen=True)
class Case:
    """One cell at one size.

    Attributes
    ----------
    cell : str
        A name, or a file of cells.
    kind : str
        Of number; see `derive.runtime.cuda.kind`.
    size : B, T, d, n
    """

    cell: str
    kind: str
    size: Size


DEFAULT = (
    *(Case("lstm", kind, LONG) for kind in ("bfloat16", "float16", "float32", "tf32")),
    Case("gru", "bfloat16", LONG),
    *(Case(cell, kind, size) for cell in ("lstm", "gru") for size in WIDE for kind in ("bfloat16", "float16")),
    *(Case(cell, "bfloat16", SHORT) for cell in ("lstm_peephole", "mut1", "slstm")),
)


def chosen(cells: Sequence[str] | None, kinds: Sequence[str] | None, sizes: Sequence[Size] | None) -> tuple[Case, ...]:
    """Return every cell in every kind and size; where nothing is said at all, the default."""
    if cells is None and kinds is None and sizes is None:
        return DEFAULT
    return tuple(Case(*parts) for parts in product(cells or ("lstm", "gru"), kinds or ("bfloat16",), sizes or (LONG,)))


def peers_of(cell: str) -> tuple[str, ...]:
    """Return the peers of a cell, unless others are asked for: the layer that PyTorch has, else the cell written in PyTorch."""
    return BUILT_IN if cell in LAYERS else LOOPS
