"""What kernels that stay for all steps need to know of a time loop: whether there can be one, and the table that it is planned from."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...calculus.ir import FeatureSum, LogSumExp, Pick
from ...language.sizes import Size
from ...program.imperative import Product, Program, Scalars, Stage, VectorLoop
from ...runtime.cuda import plan
from ...runtime.cuda.plan import Steps
from ..layout import INDENT, wrapped


@dataclass
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
    divided : set of str
        The sizes that members divide among them.
    """

    spread: bool = True
    meetings: int = 0
    products: dict[str, tuple[Size, Size, str]] = field(default_factory=dict)
    tiles: dict[str, tuple[Size, Size, Size]] = field(default_factory=dict)
    statics: dict[str, Size] = field(default_factory=dict)
    own: dict[str, tuple[Size, int]] = field(default_factory=dict)
    near: dict[str, Size] = field(default_factory=dict)
    divided: set[str] = field(default_factory=set)

    def steps(self) -> Steps:
        """Return the table as plans read it."""
        products = {k: plan.Product(str(c), str(w), t) for k, (c, w, t) in self.products.items()}
        tiles = {k: (str(width), str(start), str(whole)) for k, (width, start, whole) in self.tiles.items()}
        own = {k: (str(size), copies) for k, (size, copies) in self.own.items()}
        statics, near = ({k: str(size) for k, size in sizes.items()} for sizes in (self.statics, self.near))
        return Steps(self.spread, self.meetings, products, tiles, statics, own, near, tuple(sorted(self.divided)))

    def text(self, name: str) -> list[str]:
        """Return the statement that makes the table in a module."""
        products = [f'"{k}": Product("{c}", "{w}", "{t}")' for k, (c, w, t) in self.products.items()]
        own = [f'"{k}": ("{s}", {copies})' for k, (s, copies) in self.own.items()]
        tiles = [f'"{k}": ("{width}", "{start}", "{whole}")' for k, (width, start, whole) in self.tiles.items()]
        statics, near = ([f'"{k}": "{size}"' for k, size in sizes.items()] for sizes in (self.statics, self.near))
        divided = ", ".join(f'"{size}"' for size in sorted(self.divided))
        entries = [f"spread={self.spread}", f"meetings={self.meetings}", f"divided=({divided}{',' if len(self.divided) == 1 else ''})"]
        lines = [f"{INDENT}{', '.join(entries)},"]
        for key, items in (("products", products), ("tiles", tiles), ("statics", statics), ("own", own), ("near", near)):
            lines += [INDENT + line for line in wrapped(f"{key}={{", items, "},", 12)]
        return [f"{name} = Steps(", *lines, ")"]


def parted(stage: Stage) -> list[Stage]:
    """Return a stage as several where a product of it reads what another makes."""
    waves: list[list[Product]] = [[]]
    made: set[str] = set()
    for product in stage.products:
        if product.vector.array in made:
            waves.append([])
            made = set()
        waves[-1].append(product)
        made.add(product.out.array)
    return [*(Stage(tuple(wave), ()) for wave in waves[:-1]), Stage(tuple(waves[-1]), stage.loops)]


def summed(program: Program, loop: VectorLoop | Scalars) -> list[Size]:
    """Return the sizes of the vectors that a loop reduces to a number."""
    nodes = [c.equation.node for c in loop.computes]
    return [program.shape(node.value)[0] for node in nodes if isinstance(node, FeatureSum | LogSumExp)]


def spread(program: Program) -> bool:
    """Say whether a step's features may be divided among blocks: every loop and product has its own, and none picks one of them."""
    sizes = [program.shape(p.equation.name)[0] for stage in program.loop for p in stage.products]
    for loop in (loop for stage in program.loop for loop in stage.loops):
        if any(isinstance(c.equation.node, Pick) for c in loop.computes):
            return False
        sizes += [*summed(program, loop), *([loop.size] if isinstance(loop, VectorLoop) else [])]
    return all(len(size.terms) == 1 and not size.constant for size in sizes)


def residable(program: Program) -> bool:
    """Say whether one kernel can run the loop: no product reads a state after the step has written the next one in its place."""
    written: set[str] = set()
    for stage in program.loop:
        for product in stage.products:
            place = product.vector
            states = {program.places[c.previous].array: program.places[c.previous].shift for c in program.rec.carries}
            if place.array in written and states.get(place.array) == place.shift:
                return False
        written |= {place.array for loop in stage.loops for c in loop.computes for place in c.stores}
    return bool(program.loop)
