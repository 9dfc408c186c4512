"""What a plan must know of a time loop: the table that a module has of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....language.sizes import Size
from ....runtime.cuda import plan
from ....runtime.cuda.plan import Steps
from ...layout import INDENT, wrapped


@dataclass(frozen=True)
class Table:
    """What a plan must know of a time loop; sizes as in the module's other tables.

    Attributes
    ----------
    spread : bool
        Whether a row's features may be divided among blocks.
    meetings : int
        How often members meet in a step.
    products : mapping
        From a product's name to its columns, the size that it sums over, and its operand's tile.
    tiles : mapping
        Operands by name: their size, where they begin in the rows of their array, and its size.
    statics : mapping
        Static vectors by name: their sizes.
    own : mapping
        What a block has of each row: size and number of copies.
    near : mapping
        What is given for each step: its size.
    divided : tuple of str
        The sizes that members divide among them.
    """

    spread: bool
    meetings: int
    products: Mapping[str, tuple[Size, Size, str]]
    tiles: Mapping[str, tuple[Size, Size, Size]]
    statics: Mapping[str, Size]
    own: Mapping[str, tuple[Size, int]]
    near: Mapping[str, Size]
    divided: tuple[str, ...]

    def steps(self) -> Steps:
        """Return the table as plans read it."""
        products = {k: plan.Product(str(c), str(w), t) for k, (c, w, t) in self.products.items()}
        tiles = {k: (str(width), str(start), str(whole)) for k, (width, start, whole) in self.tiles.items()}
        own = {k: (str(size), copies) for k, (size, copies) in self.own.items()}
        statics, near = ({k: str(size) for k, size in sizes.items()} for sizes in (self.statics, self.near))
        return Steps(self.spread, self.meetings, products, tiles, statics, own, near, self.divided)

    def text(self, name: str) -> list[str]:
        """Return the statement that makes the table in a module."""
        products = [f'"{k}": Product("{c}", "{w}", "{t}")' for k, (c, w, t) in self.products.items()]
        own = [f'"{k}": ("{s}", {copies})' for k, (s, copies) in self.own.items()]
        tiles = [f'"{k}": ("{width}", "{start}", "{whole}")' for k, (width, start, whole) in self.tiles.items()]
        statics, near = ([f'"{k}": "{size}"' for k, size in sizes.items()] for sizes in (self.statics, self.near))
        divided = ", ".join(f'"{size}"' for size in self.divided)
        entries = [f"spread={self.spread}", f"meetings={self.meetings}", f"divided=({divided}{',' if len(self.divided) == 1 else ''})"]
        lines = [f"{INDENT}{', '.join(entries)},"]
        for key, items in (("products", products), ("tiles", tiles), ("statics", statics), ("own", own), ("near", near)):
            lines += [INDENT + line for line in wrapped(f"{key}={{", items, "},", 12)]
        return [f"{name} = Steps(", *lines, ")"]
