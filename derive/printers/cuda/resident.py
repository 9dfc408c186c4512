"""The kernel that stays on the device for all steps: weights and states on the chip, a row's features divided among blocks.

A group of blocks has some sequences; each block of it, a member, has some features of every one.  It computes those columns of each
product, from the whole operand, which all members exchange through the device's memory: between writing and reading it, they meet.
A block alone in its group keeps the operand to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...ir import FeatureSum, LogSumExp, MatVec, MatVecT, Pick
from ...program import Array, Place, Product, Program, Scalars, Stage, VectorLoop
from ...runtime.cuda import plan
from ...runtime.cuda.plan import Steps
from ...sizes import Size
from ..kernel import Kernel
from ..layout import INDENT, wrapped
from .equations import bare, bound, constants, merged
from .rows import RowCode, crossing

if TYPE_CHECKING:
    from .host import Code


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
    divided : set of str
        The sizes that members divide among them.
    """

    spread: bool = True
    meetings: int = 0
    products: dict[str, tuple[Size, Size, str]] = field(default_factory=dict)
    tiles: dict[str, tuple[Size, Size, Size]] = field(default_factory=dict)
    statics: dict[str, Size] = field(default_factory=dict)
    own: dict[str, tuple[Size, int]] = field(default_factory=dict)
    divided: set[str] = field(default_factory=set)

    def steps(self) -> Steps:
        """Return the table as plans read it."""
        products = {k: plan.Product(str(c), str(w), t) for k, (c, w, t) in self.products.items()}
        tiles = {k: (str(width), str(start), str(whole)) for k, (width, start, whole) in self.tiles.items()}
        own = {k: (str(size), copies) for k, (size, copies) in self.own.items()}
        return Steps(
            self.spread, self.meetings, products, tiles, {k: str(s) for k, s in self.statics.items()}, own, tuple(sorted(self.divided))
        )

    def text(self, name: str) -> list[str]:
        """Return the statement that makes the table in a module."""
        products = [f'"{k}": Product("{c}", "{w}", "{t}")' for k, (c, w, t) in self.products.items()]
        own = [f'"{k}": ("{s}", {copies})' for k, (s, copies) in self.own.items()]
        tiles = [f'"{k}": ("{width}", "{start}", "{whole}")' for k, (width, start, whole) in self.tiles.items()]
        statics = [f'"{k}": "{s}"' for k, s in self.statics.items()]
        divided = ", ".join(f'"{size}"' for size in sorted(self.divided))
        entries = [f"spread={self.spread}", f"meetings={self.meetings}", f"divided=({divided}{',' if len(self.divided) == 1 else ''})"]
        lines = [f"{INDENT}{', '.join(entries)},"]
        for key, items in (("products", products), ("tiles", tiles), ("statics", statics), ("own", own)):
            lines += [INDENT + line for line in wrapped(f"{key}={{", items, "},", 12)]
        return [f"{name} = Steps(", *lines, ")"]


class ResidentKernel(RowCode):
    """The kernel of a whole time loop."""

    def __init__(self, code: Code) -> None:
        super().__init__(code)
        self.table = Table(spread=spread(self.program))
        self.arguments: dict[str, tuple[str, str]] = {}
        self.sizes: set[str] = set()
        self.offsets: dict[str, str] = {}
        self.crossed = False  # whether threads read what others of their block have stored
        self.staged: dict[tuple[str, Size], str] = {}
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

    # The kernel

    def kernel(self, name: str) -> Kernel:
        steps = self.steps()
        first, last = self.start(), self.finish()
        counter = "step" if self.rec.reverse else "t"
        body = [*first, f"for {counter} in range(steps):", *(INDENT + line for line in steps), *last]
        given = [("steps", "call.steps"), ("batch", "call.batch"), ("keep", "call.keep")]
        meeting = [("arrivals", "call.arrivals(plan)")] if self.table.meetings else []
        arguments = [*given, *self.arguments.values(), *meeting]
        inner = [*bound(self.head(), body), *body]
        lines = [
            f"def make_{name}(on):",
            *(INDENT + line for line in bound(self.closure(), inner)),
            "",
            f"{INDENT}@on.kernel",
            *(INDENT + line for line in wrapped(f"def {name}(", [a for a, _ in arguments], "):")),
            *(2 * INDENT + line for line in inner),
            "",
            f"{INDENT}return {name}",
        ]
        return Kernel(name, lines, arguments)

    def closure(self) -> list[tuple[str, str]]:
        """Return what the kernel takes from the machine: names and where from."""
        pairs = [(name, f"on.{name}") for name in ("cuda", "real", "widen", "narrow", "plan", "index", "word", "clear", "arrive", "wait")]
        pairs += [(name, f"on.functions.{name}") for name in sorted(self.functions)]
        pairs += [(name, f"on.{name}") for name in sorted(self.team)]
        pairs += [tuple(line.split(" = ", 1)) for line in constants(self.constants)]  # type: ignore[misc]
        pairs += [(name, f"make_{name}(on)") for name in self.called]
        pairs += [(name.upper(), f"plan.{name}") for name in ("rows", "lanes", "members")]
        for size in sorted(self.sizes):
            pairs += [(self.number(size), f'plan.sizes["{size}"]'), (f"{self.number(size)}_here", f'plan.here["{size}"]')]
        pairs += [(local, f'plan.at["{key}"]') for key, local in self.offsets.items()]
        for name in self.table.products:
            pairs.append((name, f'on.product("{name}")'))
            pairs += [(f"{name}_words", f"{name}.words"), *((f"{part}_{name}", f"{name}.{part}") for part in ("load", "multiply", "total"))]
        for name in self.table.tiles:
            pairs += [(name, f'on.tile("{name}")'), *((f"{part}_{name}", f"{name}.{part}") for part in ("fetch", "put"))]
        return pairs

    def head(self) -> list[tuple[str, str]]:
        """Return which rows and features a thread has."""
        pairs = [
            ("thread", "index(cuda.threadIdx.x)"),
            ("block", "index(cuda.blockIdx.x)"),
            ("lane", "index(thread % LANES)"),
            ("b", "index(thread // LANES)"),
            ("group", "index(block // MEMBERS)"),
            ("member", "index(block % MEMBERS)"),
            ("first", "group * ROWS  # of the group's sequences"),
            ("running", "1 if first + b < batch else 0  # else a row is there to fill the block"),
            ("lead", "running == 1 and lane == 0 and member == 0"),
            ("seq", "index(min(first + b, batch - 1))"),
            ("own", "cuda.shared.array(0, real, 16)"),
        ]
        return pairs + [(f"{self.number(size)}_first", f"index(member * {self.number(size)}_here)") for size in sorted(self.sizes)]

    def start(self) -> list[str]:
        """Return what is done before the first step: weights, static values, states before it."""
        lines = ["clear()"]
        for name in self.table.products:
            lines.append(f"{name}_weights = cuda.local.array({name}_words, word)")
            lines.append(f"load_{name}({self.matrices[name]}, {name}_weights, member)")
        lines += [line for group in self.loaded.values() for line in group]
        for size, group in self.vectors.items():
            lines += [
                f"for k in range(thread, {self.here(size)}, ROWS * LANES):",
                f"{INDENT}u = index(k)",
                *(INDENT + line for line in group),
            ]
        for carry in self.rec.carries:
            place = self.program.places[carry.previous]
            array = self.program.arrays[place.array]
            row = self.row_at(array, "steps" if self.rec.reverse else "0")
            source = self.widened(array.name in self.code.stored, f"{self.array(array.name)}[{_plus(row, 'seq')}, {{}}]")
            if array.scalar:
                lines.append(f"{self.slot(array, '0', 'lane')} = {source.format('0')}")
                continue
            head = self.features(array.width)
            lines += [head[0], *(INDENT + line for line in (*head[1:], f"{self.slot(array, '0', 'u')} = {source.format('j')}"))]
        for (name, _, _), tile in self.tiles.items():
            array = self.program.arrays[name]
            if name in self.states:
                row = self.row_at(array, "steps" if self.rec.reverse else "0")
                line = f"fetch_{tile}({self.words(name)}, {row} + first, batch - first)".replace("0 + ", "")
                lines += self.if_members("MEMBERS == 1", [line])
        lines += ["meetings = 0"] if self.table.meetings else []
        read_at_once = not self.stages[0].products and (self.vectors or not self.table.spread)
        return [*lines, "cuda.syncthreads()"] if read_at_once else lines

    def finish(self) -> list[str]:
        """Return what is done after the last step: the states are handed out."""
        lines = []
        for carry in self.rec.carries:
            array = self.program.arrays[self.program.places[carry.previous].array]
            row = self.row_at(array, "0" if self.rec.reverse else "steps")
            target = f"{self.array(array.name)}[{_plus(row, 'seq')}, {{}}]"
            if array.scalar:
                lines += ["if lead:", f"{INDENT}{target.format('0')} = {self.narrowed(array, self.slot(array, 'steps % 2', 'lane'))}"]
                continue
            value = self.total(array, self.slot(array, "steps % 2", "u"), "u")
            head = self.features(array.width)
            lines += [head[0], *(INDENT + line for line in (*head[1:], f"{target.format('j')} = {self.narrowed(array, value)}"))]
        return lines

    def row_at(self, array: Array, step: str) -> str:
        """Return the first row of a state's array before a step."""
        if array.space == "tape":
            return "0" if step == "0" else f"({step} if keep else {step} % 2) * batch"
        return "0" if step == "0" else f"{step} % 2 * batch"

    # A step

    def steps(self) -> list[str]:
        lines: list[str] = []
        dirty = {p.vector.array for stage in self.stages for p in stage.products} & set(self.states)
        for stage in self.stages:
            lines += self.products_of(stage, dirty)
            lines += self.published(stage, dirty)
            lines += self.stage(stage)
            dirty |= {place.array for loop in stage.loops for c in loop.computes for place in c.stores} & self.operands
            if self.table.spread and self.meets_after(stage, dirty):
                lines += ["arrive(arrivals, group)", "meetings += 1"]
                self.table.meetings += 1
        if self.crossed and not self.table.products:
            lines.append("cuda.syncthreads()")  # before the next step writes what others may still read
        inner = [*self.staging(), *lines]
        rows = [
            *([("t", "steps - 1 - step"), ("before", "step % 2")] if self.rec.reverse else [("before", "t % 2")]),
            ("after", "1 - before"),
            ("row", "index(t * batch + seq)"),
            ("row_next", "index(row + batch)"),
            ("kept", "index((t if keep else t % 2) * batch + seq)"),
            ("kept_next", "index((t + 1 if keep else (t + 1) % 2) * batch + seq)"),
        ]
        return [*bound(rows, inner), *merged(inner)]

    @property
    def operands(self) -> set[str]:
        return {p.vector.array for stage in self.stages for p in stage.products} & (self.looped | set(self.outs))

    def meets_after(self, stage: Stage, dirty: set[str]) -> bool:
        """Say whether the next product, of this step or the next, reads what was written since members met."""
        stages = self.stages
        later = stages[stages.index(stage) + 1 :]
        following = next((s for s in later if s.products), None)
        if following is None:
            if stage is not stages[-1]:
                return False
            following = next((s for s in stages if s.products), None)
        elif later.index(following) > 0:
            return False
        return following is not None and bool(dirty & {p.vector.array for p in following.products})

    def products_of(self, stage: Stage, dirty: set[str]) -> list[str]:
        """Return the products of a stage."""
        if not stage.products:
            return []
        lines: list[str] = []
        if self.table.spread and dirty & {p.vector.array for p in stage.products}:
            lines.append("wait(arrivals, group, meetings)")
            dirty.clear()
        for product in {self.tile(p): p for p in stage.products}.values():
            lines += self.fetched(product)
        lines.append("cuda.syncthreads()")
        for product in stage.products:
            name = self.product(product)
            lines += [*self.code.note(product.equation), f"multiply_{name}({name}_weights)"]
        return [*lines, "cuda.syncthreads()"]

    def fetched(self, product: Product) -> list[str]:
        """Return what brings a product's operand into the block's memory."""
        array, tile = self.program.arrays[product.vector.array], self.tile(product)
        t = f"(t + {product.vector.shift})" if product.vector.shift else "t"
        if array.space == "tape":
            row = f"({bare(t)} if keep else {t} % 2) * batch"
        elif array.space == "carry":
            row = f"{t} % 2 * batch"
        else:
            row = {"once": "0", "scratch": "before * batch"}.get(array.space, f"{t} * batch")
        line = f"fetch_{tile}({self.words(array.name)}, {row} + first, batch - first)".replace("0 + ", "")
        return self.if_members("MEMBERS > 1", [line]) if array.name in self.operands else [line]

    def published(self, stage: Stage, dirty: set[str]) -> list[str]:
        """Return what stores results of products that are states, or kept, or that other products read; others are added up where read."""
        lines: list[str] = []
        for product in {p.out.array: p for p in stage.products}.values():
            array = self.program.arrays[product.out.array]
            later = [s for s in self.stages if any(p.out.array == array.name for p in s.products)]
            state = array.name in self.states
            if later[-1] is not stage or not (state or array.name in self.code.stored | self.handed):
                continue
            slot = self.slot(array, "after" if state else None, "u")
            value = self.total(array, slot, "u")
            body = [f"{slot} = {bare(self.sums(array, [slot] if array.name in self.looped else [], 'u'))}"] if state else []
            if array.name in self.code.stored | self.handed:
                body += self.stored_globally(array, product.out.shift, "j", value)
                body += self.put(array, Size(), array.width, "u", value)
            head = self.features(array.width)
            lines += [head[0], *(INDENT + line for line in (*head[1:], *body))]
            dirty |= {array.name} & self.operands
        return lines

    @property
    def handed(self) -> set[str]:
        """Arrays over all steps that what follows the loop reads."""
        return {a.name for a in self.program.arrays.values() if a.space in ("sequence", "tape")}

    def staging(self) -> list[str]:
        """Return the loops that bring what was given for a step near, while others may not have finished the one before."""
        lines: list[str] = []
        groups: dict[Size, list[str]] = {}
        for (_, size), line in self.staged.items():
            groups.setdefault(size, []).append(line)
        for size, group in groups.items():
            head = self.features(size)
            lines += [head[0], *(INDENT + line for line in (*head[1:], *group))]
        return lines

    # How numbers are found

    def number(self, size: str) -> str:
        self.sizes.add(size)
        key = f"size:{size}"
        if key not in self.local:
            self.local[key] = self.names.fresh(size)
        return self.local[key]

    def here(self, size: Size) -> str:
        """Return the source of how many features of a size a block has."""
        return _text(size, lambda name: f"{self.number(name)}_here")

    def everywhere(self, size: Size) -> str:
        return _text(size, self.number)

    def features(self, size: Size) -> list[str]:
        self.table.divided |= set(size.names) if self.table.spread else set()
        here = self.here(size)
        bound = f"running * {here}" if len(size.terms) + bool(size.constant) == 1 and " " not in here else f"running * ({here})"
        return [f"for k in range(lane, {bound}, LANES):", "u = index(k)", f"j = index({self.feature(size)})"]

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
            copy = None
            if array.name in self.states:
                copy = "before" if place.shift == self.states[array.name] else "after"
            slot = self.slot(array, copy, "lane" if scalar else index, place.start)
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
        self.table.own[key] = (size, 1)
        source = f"own[{self.at(key)} + b * {self._bracketed(self.here(size))} + u]"
        column = self.column(array, place, "u", (size,))
        given = self.widened(array.name in self.code.stored, f"{self.array(array.name)}[{self.index(array, place.shift)}, {column}]")
        self.staged[(key, size)] = f"{source} = {given}"
        return source

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
        found = f"{base}_next" if shift else base
        return found

    # What is stored

    def write(self, name: str, place: Place, value: str) -> list[str]:
        array = self.program.arrays[place.array]
        scalar = not self.rec.types[name].shape
        lines = []
        if array.name in self.kept_near:
            copy = None
            if array.name in self.states:
                copy = "before" if place.shift == self.states[array.name] else "after"
            lines.append(f"{self.slot(array, copy, 'lane' if scalar else 'u', place.start)} = {value}")
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

    @staticmethod
    def widened(stored: bool, source: str) -> str:
        return f"widen({source})" if stored else source

    def meet(self, stage: Stage, position: int) -> list[str]:
        vectors = {name for name, kind in self.rec.types.items() if kind.batched and kind.shape}
        crossed = crossing(stage, position, dict(self.program.places), vectors)
        self.crossed = self.crossed or crossed
        return ["cuda.syncthreads()"] if crossed else []

    # Arguments

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

    def array(self, name: str) -> str:
        key = f"array:{name}"
        if key not in self.arguments:
            known = name.endswith(("_rows", "_state", "_states", "_kept", "_out"))
            self.arguments[key] = (self.names.fresh(name if known else f"{name}_rows"), self.code.host[name])
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


def _plus(row: str, more: str) -> str:
    """Return the index of a row, counted from the first of a step."""
    return more if row == "0" else f"index({row} + {more})"


def _positive(size: Size) -> bool:
    return size.constant >= 0 and all(k >= 0 for _, k in size.terms)


def _text(size: Size, name_of: object) -> str:
    assert callable(name_of)
    terms = [f"{'' if k == 1 else f'{k} * '}{name_of(name)}" for name, k in size.terms]
    if size.constant or not terms:
        terms.append(str(size.constant))
    return " + ".join(terms).replace("+ -", "- ")


def spread(program: Program) -> bool:
    """Say whether a step's features may be divided among blocks: every loop and product has its own, and none sums over them."""
    sizes = [program.shape(p.equation.name)[0] for stage in program.loop for p in stage.products]
    for stage in program.loop:
        for loop in stage.loops:
            if any(isinstance(c.equation.node, FeatureSum | LogSumExp | Pick) for c in loop.computes):
                return False
            sizes += [loop.size] if isinstance(loop, VectorLoop) else []
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
