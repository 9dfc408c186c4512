"""How a kernel that stays for all steps finds its numbers and where it leaves them: what it keeps near, and what others read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...calculus.ir import MatVec, MatVecT
from ...language.sizes import Size
from ...program.imperative import Array, Place, Product, Scalars, VectorLoop
from ..layout import INDENT
from ..sizes import size_source
from ..source import Source
from .equations import bare
from .features import RowCode
from .loop import Table, parted, spread

if TYPE_CHECKING:
    from .host import Code


AHEAD = "_ahead"  # at the end of the names of the next step's rows


@dataclass(frozen=True)
class Given:
    """What is given for each step: the sources of where it is kept near, of where it is, and of where it is for the next step."""

    slot: str
    now: str
    soon: str


@dataclass(frozen=True)
class Bundle:
    """What is given of one size and in one dtype, that of storage or the one that is computed with; the registers that it is brought in."""

    size: Size
    stored: bool
    name: str


class ResidentRows(RowCode):
    """Prints the loops of a kernel for all steps."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.table = Table(spread=spread(self.program))
        self.sizes: set[str] = set()
        self.offsets: dict[str, str] = {}
        self.joins = 0  # numbers of a row that members put together
        self.crossed = False  # whether threads read what others of their block have stored
        self.staged: dict[Bundle, list[Given]] = {}
        self.own_names: dict[str, str] = {}
        self.loaded: dict[str, list[str]] = {}  # static scalars
        self.vectors: dict[Size, list[str]] = {}  # static vectors
        self.products: dict[int, str] = {}
        self.tiles: dict[tuple[str, Size, Size], str] = {}
        self.outs: dict[str, list[Product]] = {}
        self.stages = [part for stage in self.program.loop for part in parted(stage)]
        for stage in self.stages:
            for product in stage.products:
                self.outs.setdefault(product.out.array, []).append(product)
        self.states = {self.program.places[c.previous].array: self.program.places[c.previous].shift for c in self.rec.carries}
        self.looped = {place.array for loop in self.loops() for c in loop.computes for place in c.stores}
        self.kept_near = self.states.keys() | self.outs.keys() | self.read_again()
        self.matrices: dict[str, str] = {}
        for stage in self.stages:
            for product in stage.products:
                self.product(product)

    def read_again(self) -> set[str]:
        """Return the arrays of vectors that a loop stores to and another of the same step reads."""
        found: set[str] = set()
        for loop in self.loops():
            made = {c.equation.name for c in loop.computes}
            read = {o for c in loop.computes for o in c.equation.node.operands()} - made
            found |= {self.program.places[name].array for name in read if name in self.program.places and self.rec.types[name].shape}
        return found & self.looped

    def loops(self) -> Iterator[VectorLoop | Scalars]:
        return (loop for stage in self.stages for loop in stage.loops)

    @property
    def operands(self) -> set[str]:
        return {p.vector.array for stage in self.stages for p in stage.products} & (self.looped | set(self.outs))

    @property
    def handed(self) -> set[str]:
        """Arrays over all steps that what follows the loop reads."""
        return {a.name for a in self.program.arrays.values() if a.space in ("sequence", "tape")}

    def number(self, size: str) -> str:
        self.sizes.add(size)
        key = f"size:{size}"
        if key not in self.local:
            self.local[key] = self.names.fresh(size)
        return self.local[key]

    def here(self, size: Size) -> str:
        """Return the source of how many features of a size a block has."""
        return size_source(size, lambda name: Source(f"{self.number(name)}_here")).text

    def everywhere(self, size: Size) -> str:
        return size_source(size, lambda name: Source(self.number(name))).text

    def features(self, size: Size) -> list[str]:
        return [f"for k in range(lane, {self.running(size)}, LANES):", *self.indices(size)]

    def running(self, size: Size) -> str:
        """Return the source of how many features of a size a block has of a row; none of one that is there to fill it."""
        self.table.divided |= set(size.names) if self.table.spread else set()
        here = self.here(size)
        return f"running * {here}" if len(size.terms) + bool(size.constant) == 1 and " " not in here else f"running * ({here})"

    def indices(self, size: Size) -> list[str]:
        """Return the statements that say which feature of the block, and of all, number k is."""
        return ["u = index(k)", f"j = index({self.feature(size)})"]

    def feature(self, size: Size) -> str:
        """Return which of all features number u of a block is."""
        if not self.table.spread or size.constant or len(size.terms) != 1:
            return "u"
        (_, count), local = size.terms[0], self.number(size.terms[0][0])
        if count == 1:
            return f"{local}_first + u"
        return f"u // {local}_here * {local} + {local}_first + u % {local}_here"

    def at(self, key: str) -> str:
        if key not in self.offsets:
            self.offsets[key] = self.names.fresh(f"{key}_at")
        return self.offsets[key]

    def slot(self, array: Array, copy: str | None, index: str, start: Size | None = None) -> str:
        """Return the source of a number that a block keeps of its row."""
        copies = 2 if array.name in self.states else 1
        width = Size.of("lanes") if array.scalar else array.width
        self.table.own[array.name] = (width, copies)
        b = f"({copy} * ROWS + b)" if copies == 2 and copy not in (None, "0") else "b"
        span = "LANES" if array.scalar else self.here(width)
        column = index if start is None or start == Size() else f"{self.here(start)} + {index}"
        return f"own[{self.at(array.name)} + {b} * {span if ' ' not in span else f'({span})'} + {column}]"

    def copy(self, array: Array, place: Place) -> str | None:
        """Return which of its two copies of a state a place is: that before the step, or after it."""
        if array.name not in self.states:
            return None
        return "before" if place.shift == self.states[array.name] else "after"

    def read(self, name: str) -> str:
        kind = self.rec.types[name]
        if not kind.batched:
            return self.static(name)
        if name in self.scalars_known:
            return self.local[name]
        return self.element(name, "u" if kind.shape else "0")

    def picked(self, name: str, index: str) -> str:
        size = self.everywhere(self.rec.types[name].shape[0])
        return f"{self.element(name, index)} if 0 <= {index} < {size} else nan"

    def element(self, name: str, index: str) -> str:
        if not self.rec.types[name].batched:
            self.static(name)
            return f"own[{self.at(name)} + {index}]"
        place = self.program.places[name]
        array = self.program.arrays[place.array]
        scalar = not self.rec.types[name].shape
        if array.name in self.kept_near:
            slot = self.slot(array, self.copy(array, place), "lane" if scalar else index, place.start)
            return self.total(array, slot, index, place.start)
        if array.name in self.looped or scalar or array.integer or array.space == "once" or index != "u":
            column = self.column(array, place, index, self.rec.types[name].shape)
            source = f"{self.array(array.name)}[{self.index(array, place.shift)}, {column}]"
            return self.widened(array.name in self.code.stored, source)
        return self.stage_value(name, array, place)

    def total(self, array: Array, slot: str, index: str, start: Size | None = None) -> str:
        """Return the source of a value; if products make it, of its sum."""
        if array.name not in self.outs or array.name in self.states:
            return slot
        if array.name not in self.looped:
            self.table.own.pop(array.name, None)
            self.offsets.pop(array.name, None)
        return self.sums(array, [slot] if array.name in self.looped else [], index, start)

    def sums(self, array: Array, terms: list[str], index: str, start: Size | None = None) -> str:
        """Return the source of the sum of terms and of what products make."""
        terms = list(terms)
        for product in self.outs[array.name]:
            shift = (start or Size()) - product.out.start
            column = index if shift == Size() else f"{self.here(shift)} + {index}"
            terms.append(f"total_{self.product(product)}(b, {column})")
        return terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"

    def stage_value(self, name: str, array: Array, place: Place) -> str:
        """Return the source of a given value, and have it brought near before the step."""
        size = self.rec.types[name].shape[0]
        key = f"{name}_near"
        self.table.near[key] = size
        source = f"own[{self.at(key)} + b * {self._bracketed(self.here(size))} + u]"
        column = self.column(array, place, "u", (size,))
        row, stored = self.index(array, place.shift), array.name in self.code.stored
        now, soon = (f"{self.array(array.name)}[{row + suffix}, {column}]" for suffix in ("", AHEAD))
        group, given = self.staged.setdefault(self.bundle(size, stored), []), Given(source, now, soon)
        group += [given] if given not in group else []
        return source

    def bundle(self, size: Size, stored: bool) -> Bundle:
        return Bundle(size, stored, self.fresh(f"{_identifier(size)}_{'stored' if stored else 'real'}"))

    def ahead(self, size: Size) -> str:
        """Return the name of how many features of a size a thread brings ahead of a step."""
        return self.fresh(f"{_identifier(size)}_ahead")

    def fresh(self, name: str) -> str:
        """Return the kernel's own form of a name, the same each time."""
        if name not in self.own_names:
            self.own_names[name] = self.names.fresh(name)
        return self.own_names[name]

    @staticmethod
    def _bracketed(text: str) -> str:
        return f"({text})" if " " in text else text

    def column(self, array: Array, place: Place, index: str, shape: tuple[Size, ...]) -> str:
        """Return the source of a column among all features."""
        at = index if index != "u" or not shape else "j"
        if place.start == Size():
            return at
        return self.everywhere(place.start) if at == "0" else f"{self.everywhere(place.start)} + {at}"

    def index(self, array: Array, shift: int) -> str:
        if array.space == "once":
            return "seq"
        if array.space == "scratch":
            return "index(before * batch + seq)"
        base = {"tape": "kept"}.get(array.space, "row")
        return f"{base}_next" if shift else base

    def write(self, name: str, place: Place, value: str) -> list[str]:
        array = self.program.arrays[place.array]
        scalar = not self.rec.types[name].shape
        lines = []
        if array.name in self.kept_near:
            lines.append(f"{self.slot(array, self.copy(array, place), 'lane' if scalar else 'u', place.start)} = {value}")
        if array.name not in self.outs:
            shape = self.rec.types[name].shape
            column = self.column(array, place, "u" if shape else "0", shape)
            lines += self.stored_globally(array, place.shift, column, value)
            lines += self.put(array, place.start, shape[0] if shape else Size((), 1), "u", value)
        return lines

    def stored_globally(self, array: Array, shift: int, column: str, value: str) -> list[str]:
        """Return the statements that store a value in the device's memory, if it is read there."""
        operand = array.name in self.operands
        if array.space in ("scratch", "carry") and not operand:
            return []
        line = f"{self.array(array.name)}[{self.index_for_store(array, shift)}, {column}] = {self.narrowed(array, value)}"
        condition = "lead" if array.scalar else ""
        if array.space == "tape":
            needed = "keep or MEMBERS > 1" if operand and self.table.spread else "keep"
            condition = f"{condition} and ({needed})" if condition else needed
        elif array.space in ("scratch", "carry"):
            return self.if_members("MEMBERS > 1", [line])
        return [f"if {condition}:", INDENT + line] if condition else [line]

    def if_members(self, condition: str, lines: list[str]) -> list[str]:
        """Return statements under a condition on the number of members, which is 1 where nothing can be divided."""
        if not self.table.spread:
            return lines if condition == "MEMBERS == 1" else []
        return [f"if {condition}:", *(INDENT + line for line in lines)]

    def index_for_store(self, array: Array, shift: int) -> str:
        if array.space == "carry":
            return f"index((t + {shift}) % 2 * batch + seq)" if shift else "index(t % 2 * batch + seq)"
        return self.index(array, shift)

    def put(self, array: Array, start: Size, size: Size, index: str, value: str) -> list[str]:
        """Return the statements that put a value where a block alone in its group reads its operands."""
        lines: list[str] = []
        for (_, first, width), tile in self.tiles_of(array.name):
            shift = start - first
            if _positive(shift - width) or _positive(-shift - size):
                continue  # no part of the operand
            column = index if shift == Size() else f"{self.here(shift)} + {index}"
            put = [f"put_{tile}(b, {column}, {self.narrowed_as(True, value)})"]
            if not (_positive(shift) and _positive(width - shift - size)):
                put = [f"if 0 <= {column} < {self.here(width)}:", INDENT + put[0]]
            lines += self.if_members("MEMBERS == 1", put)
        return lines

    def tiles_of(self, array: str) -> list[tuple[tuple[str, Size, Size], str]]:
        return [(key, tile) for key, tile in self.tiles.items() if key[0] == array and array in self.operands]

    def narrowed(self, array: Array, value: str) -> str:
        return self.narrowed_as(array.name in self.code.stored, value)

    @staticmethod
    def narrowed_as(stored: bool, value: str) -> str:
        return f"narrow({bare(value)})" if stored else bare(value)

    def product(self, product: Product) -> str:
        """Return the name of a product, which the table of the loop then has."""
        key = id(product)
        if key not in self.products:
            node = product.equation.node
            assert isinstance(node, MatVec | MatVecT)
            name = self.names.fresh(f"{product.matrix}{'_t' if product.transposed else ''}")
            self.products[key] = name
            columns, width = self.program.shape(product.equation.name)[0], self.program.shape(node.vector)[0]
            self.table.products[name] = (columns, width, self.tile(product))
            self.table.divided |= set(columns.names) if self.table.spread else set()
            host = self.code.host[product.matrix] + ("" if not product.transposed else ".T")
            self.arguments[f"matrix:{name}"] = (self.names.fresh(f"{name}_packed"), f'call.packed(plan, "{name}", {host})')
            self.matrices[name] = self.arguments[f"matrix:{name}"][0]
        return self.products[key]

    def tile(self, product: Product) -> str:
        node = product.equation.node
        assert isinstance(node, MatVec | MatVecT)
        width = self.program.shape(node.vector)[0]
        key = (product.vector.array, product.vector.start, width)
        if key not in self.tiles:
            self.tiles[key] = self.names.fresh(f"{product.vector.array}_tile")
            self.table.tiles[self.tiles[key]] = (width, product.vector.start, self.program.arrays[product.vector.array].width)
        return self.tiles[key]

    def words(self, name: str) -> str:
        """Return the kernel's variable of an array as words of 32 bits."""
        key = f"words:{name}"
        if key not in self.arguments:
            self.arguments[key] = (self.names.fresh(f"{name}_words"), f"call.words({self.code.host[name]})")
        return self.arguments[key][0]

    def static(self, name: str) -> str:
        """Return the source of a static value: of a vector, a copy that the block keeps."""
        kind, key = self.rec.types[name], f"static:{name}"
        if key not in self.arguments:
            host = self.code.host[name]
            self.arguments[key] = (self.names.fresh(f"{name}_given"), host if kind.shape else f"{host}.reshape(1)")
            given = self.arguments[key][0]
            if not kind.shape:
                self.local[key] = self.names.fresh(name)
                self.loaded[name] = [f"{self.local[key]} = {self.widened(self.code.static_stored(name), f'{given}[0]')}"]
            else:
                size = kind.shape[0]
                self.table.statics[name] = size
                value = self.widened(self.code.static_stored(name), f"{given}[{self.feature(size)}]")
                self.vectors.setdefault(size, []).append(f"own[{self.at(name)} + u] = {value}")
        return f"own[{self.at(name)} + u]" if kind.shape else self.local[key]


def _identifier(size: Size) -> str:
    """Return a size as part of a name: 2*n + 1 is n2_1."""
    terms = [name if count == 1 else f"{name}{count}" for name, count in size.terms]
    return "_".join([*terms, *([str(size.constant)] if size.constant else [])]).replace("-", "m")


def _positive(size: Size) -> bool:
    return size.constant >= 0 and all(k >= 0 for _, k in size.terms)
