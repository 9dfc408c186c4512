"""Products in a kernel that stays: weights on the chip, and tiles, the operands as a block reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ....calculus.ir import MatVec, MatVecT
from ....calculus.naming import Names
from ....language.sizes import Size
from ....program.imperative import Product
from ...source import Source, Tree, assign, block, code, do, name
from ..factory import Binding, bind, taken
from ..kernel import Arguments, Host
from .division import Division
from .loop import Loop
from .memory import Memory


class Operand(NamedTuple):
    """What a product reads: `width` features of an array, from `start`."""

    array: str
    start: Size
    width: Size


@dataclass(frozen=True)
class Tile:
    """A kernel's names of an operand, and of what fills it: from the device's memory, or number by number."""

    name: str
    fetch: str
    put: str


@dataclass(frozen=True)
class Made:
    """A kernel's names of a product: of its weights, as they are given and as they are kept, and of what is done with it."""

    name: str
    packed: Source
    words: str
    weights: str
    load: str
    multiply: str
    total: str


class Operands:
    """The products of a loop and their operands: what is `made` of them, and the `tiles`."""

    def __init__(self, host: Host, loop: Loop, names: Names, arguments: Arguments, division: Division, memory: Memory) -> None:
        self.host, self.loop, self.names, self.arguments = host, loop, names, arguments
        self.division, self.memory = division, memory
        self.made: dict[Product, Made] = {}
        self.tiles: dict[Operand, Tile] = {}
        self._words: dict[str, Source] = {}
        for product in (product for stage in loop.stages for product in stage.products):
            self._add(product)

    def _add(self, product: Product) -> None:
        called = self.names.fresh(f"{product.matrix}{'_t' if product.transposed else ''}")
        self.tile(product)
        self.division.divide(self.columns(product))
        host = code("{}{}", self.host.source(product.matrix), ".T" if product.transposed else "")
        packed = self.arguments.add(f"{called}_packed", code('call.packed(plan, "{}", {})', called, host, uses=("plan",)))
        own = (self.names.fresh(wish.format(called)) for wish in ("{}_words", "{}_weights", "load_{}", "multiply_{}", "total_{}"))
        self.made[product] = Made(called, packed, *own)

    def columns(self, product: Product) -> Size:
        """Return how many columns a product makes."""
        return self.loop.program.shape(product.equation.name)[0]

    def tables(self) -> tuple[dict[str, tuple[Size, Size, str]], dict[str, tuple[Size, Size, Size]]]:
        """Return what a plan must know of products and tiles."""
        arrays = self.loop.program.arrays
        products = {m.name: (self.columns(p), operand(self.loop, p).width, self.tile(p).name) for p, m in self.made.items()}
        return products, {tile.name: (key.width, key.start, arrays[key.array].width) for key, tile in self.tiles.items()}

    def taken(self) -> list[Binding]:
        """Return what binds products and tiles, as the machine has them."""
        found: list[Binding] = []
        for made in self.made.values():
            parts = {"words": made.words, "load": made.load, "multiply": made.multiply, "total": made.total}
            found.append(bind(made.name, code('on.product("{}")', made.name, uses=("on",))))
            found += [taken(local, name(made.name), part) for part, local in parts.items()]
        for tile in self.tiles.values():
            found.append(bind(tile.name, code('on.tile("{}")', tile.name, uses=("on",))))
            found += [taken(tile.fetch, name(tile.name), "fetch"), taken(tile.put, name(tile.name), "put")]
        return found

    def tile(self, product: Product) -> Tile:
        key = operand(self.loop, product)
        if key not in self.tiles:
            called = self.names.fresh(f"{key.array}_tile")
            self.tiles[key] = Tile(called, self.names.fresh(f"fetch_{called}"), self.names.fresh(f"put_{called}"))
        return self.tiles[key]

    def words(self, array: str) -> Source:
        """Return the kernel's variable of an array as words of 32 bits."""
        if array not in self._words:
            self._words[array] = self.arguments.add(f"{array}_words", code("call.words({})", self.host.source(array)))
        return self._words[array]

    # Statements

    def loads(self) -> list[Tree]:
        """Return what brings the weights."""
        lines: list[Tree] = []
        for made in self.made.values():
            room = code("cuda.local.array({}, word)", name(made.words), uses=("cuda", "word"))
            load = code("{}({}, {}, member)", name(made.load), made.packed, name(made.weights), uses=("member",))
            lines += [assign(made.weights, room), do(load)]
        return lines

    def multiplied(self, product: Product) -> Tree:
        made = self.made[product]
        return do(code("{}({})", name(made.multiply), name(made.weights)))

    def total(self, product: Product, column: Source) -> Source:
        """Return what a product makes of the thread's row, in a column of the block's."""
        return code("{}(b, {})", name(self.made[product].total), column, uses=("b",))

    def fetched(self, tile: Tile, array: str, row: Source) -> Tree:
        """Return what fills a tile with rows of an array, the first of the group's sequences in `row`."""
        return do(code("{}({}, {}, batch - first)", name(tile.fetch), self.words(array), row, uses=("batch", "first")))

    def put(self, array: str, start: Size, size: Size, index: Source, value: Source) -> list[list[Tree]]:
        """Return what puts a value, a feature of `size` of them from `start`, into each tile that has it."""
        found: list[list[Tree]] = []
        for key, tile in self.tiles.items():
            shift = start - key.start
            if key.array != array or array not in self.loop.operands or _positive(shift - key.width) or _positive(-shift - size):
                continue  # no part of the operand
            column = self.memory.column(shift, index)
            line: Tree = do(code("{}(b, {}, narrow({}))", name(tile.put), column, value, uses=("b", "narrow")))
            if not (_positive(shift) and _positive(key.width - shift - size)):
                line = block(code("if 0 <= {} < {}:", column, self.division.here(key.width)), [line])
            found.append([line])
        return found


def operand(loop: Loop, product: Product) -> Operand:
    """Return what a product reads."""
    node = product.equation.node
    assert isinstance(node, MatVec | MatVecT)
    return Operand(product.vector.array, product.vector.start, loop.program.shape(node.vector)[0])


def _positive(size: Size) -> bool:
    return size.constant >= 0 and all(k >= 0 for _, k in size.terms)
