"""The register tile: a small block of a matrix product, held in vector registers and written as LLVM vector IR.

A tile computes ``c[rows, columns] (+)= a[rows, k] @ b[k, columns]`` and keeps one accumulator register for each row and vector of columns
during the whole loop over k. The right operand is packed in *panels*: `width(dtype)` columns (two vectors) side by side, contiguous over k
and aligned to a cache line, ``[panel][k][width]``. Every accumulator starts at zero and takes its products in the order of k, whatever the
shape of the tile: an element of the result has the same bits in every tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .pointers import I64, Pointer
from .target import TARGET

VECTOR_BYTES, REGISTERS = TARGET.vector_bytes, TARGET.registers
VECTORS = 2  # vectors of columns in a panel
# Rows of the full tile: 16 or 12 accumulators leave room for two vectors of b and the broadcast elements of a.
ROWS = 8 if REGISTERS == 32 else 6
PANELS_4 = 2 if REGISTERS == 32 else 1  # panels of the tile of four rows: each vector of b that is loaded serves four multiply-adds only


def lanes(dtype: types.Float) -> int:
    """Return how many elements of a Numba float type one vector register holds."""
    return VECTOR_BYTES * 8 // dtype.bitwidth


def width(dtype: types.Float) -> int:
    """Return the number of columns of a panel."""
    return VECTORS * lanes(dtype)


class Panels(NamedTuple):
    """A right operand: its first panel, and the distance of neighbours."""

    start: Pointer
    between: int


class Vectors:
    """The vector operations of one dtype, on one LLVM builder."""

    def __init__(self, builder: ir.IRBuilder, dtype: types.Float) -> None:
        self.builder, self.size, self.bytes = builder, lanes(dtype), dtype.bitwidth // 8
        self.type = ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), self.size)
        self.suffix = f"v{self.size}f{dtype.bitwidth}"
        self.zero = ir.Constant(self.type, None)

    def _call(self, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
        signature = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), arguments)

    def at(self, base: ir.Value, offset: ir.Value) -> ir.Value:
        """Return the address of the vector that begins `offset` elements after `base`."""
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.type.as_pointer())

    def hidden(self, pointer: ir.Value) -> ir.Value:
        """Return the same pointer, of which LLVM does not see where it comes from: each stays in a register of its own.

        It would step from one row to the next otherwise, by a chain of additions as long as the multiply-adds of a step take.
        """
        same = ir.InlineAsm(ir.FunctionType(pointer.type, [pointer.type]), "", "=r,0")
        return self.builder.call(same, [pointer])

    def in_panel(self, start: ir.Value, between: ir.Value, panel: ir.Value, vector: int) -> ir.Value:
        """Return a pointer to a vector of the first row of a panel, those of which begin so far from one another."""
        return self.builder.gep(start, [self.builder.add(self.builder.mul(panel, between), I64(vector * self.size))])

    def splat(self, value: ir.Value) -> ir.Value:
        """Return the vector with `value` in every lane."""
        undefined = ir.Constant(ir.VectorType(value.type, self.size), ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.size), [0] * self.size))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a * b + c, fused where the processor can (a processor that cannot would call a library function for `llvm.fma`)."""
        return self._call(f"llvm.fmuladd.{self.suffix}", self.type, [a, b, c])

    def mask(self, count: ir.Value) -> ir.Value:
        """Return the mask whose first `count` lanes are set."""
        index = ir.Constant(ir.VectorType(I64, self.size), list(range(self.size)))
        return self.builder.icmp_signed("<", index, self.splat(count))

    def load(self, pointer: ir.Value, mask: ir.Value | None) -> ir.Value:
        if mask is None:
            return self.builder.load(pointer, align=self.bytes)
        alignment = ir.IntType(32)(self.bytes)
        return self._call(f"llvm.masked.load.{self.suffix}.p0", self.type, [pointer, alignment, mask, self.zero])

    def store(self, value: ir.Value, pointer: ir.Value, mask: ir.Value | None) -> None:
        if mask is None:
            self.builder.store(value, pointer, align=self.bytes)
        else:
            self._call(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), [value, pointer, ir.IntType(32)(self.bytes), mask])

    def prefetch(self, pointer: ir.Value, *, write: bool) -> None:
        """Ask for a cache line, to be written at once (into the first-level cache) or read soon: the products hide the way to memory."""
        i32 = ir.IntType(32)
        place = self.builder.bitcast(pointer, ir.IntType(8).as_pointer())
        self._call("llvm.prefetch.p0", ir.VoidType(), [place, i32(int(write)), i32(3 if write else 2), i32(1)])

    def zip(self, low: ir.Value, high: ir.Value, half: int) -> ir.Value:
        """Interleave the lower (`half` 0) or upper (1) halves of two vectors."""
        order = [lane + side * self.size for lane in range(half * self.size // 2, (half + 1) * self.size // 2) for side in (0, 1)]
        return self.builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(ir.IntType(32), self.size), order))


def columns_of(v: Vectors, panels: int, columns: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
    """Return, for each vector of a tile, the panel it reads and its first column. Panels past the last column repeat the last panel."""
    builder, wide = v.builder, VECTORS * v.size
    last = builder.sdiv(builder.sub(columns, I64(1)), I64(wide))
    places = []
    for j in range(panels):
        panel = builder.select(builder.icmp_signed("<", I64(j), last), I64(j), last)
        places += [(panel, builder.add(builder.mul(panel, I64(wide)), I64(vector * v.size))) for vector in range(VECTORS)]
    return places


def _accumulate(
    v: Vectors, lefts: list[ir.Value], step: ir.Value, rights: list[ir.Value], k: ir.Value, soon: tuple[ir.Value, ir.Value] | None
) -> list[list[ir.Value]]:
    """Emit the loop over k (at least one step) and return the accumulators, by row and vector.

    `soon` is where to read ahead in memory, and how many elements to go on at each step.
    """
    builder = v.builder
    entry, loop, done = builder.block, builder.append_basic_block("k"), builder.append_basic_block("k.done")
    builder.branch(loop)
    builder.position_at_end(loop)

    def variable(start: ir.Value) -> ir.PhiInstr:
        phi = builder.phi(start.type)
        phi.add_incoming(start, entry)
        return phi

    count, left_at, right_at = (variable(I64(0)) for _ in range(3))
    sums = [[variable(v.zero) for _ in rights] for _ in lefts]
    right = [builder.load(v.at(pointer, right_at), align=VECTOR_BYTES) for pointer in rights]
    if soon is not None:
        v.prefetch(builder.gep(soon[0], [builder.mul(count, soon[1])]), write=False)
    new = []
    for pointer, row in zip(lefts, sums, strict=True):
        left = v.splat(builder.load(builder.gep(pointer, [left_at])))
        new.append([v.fma(left, b, total) for b, total in zip(right, row, strict=True)])
    following = builder.add(count, I64(1))
    for phi, value in [
        (count, following),
        (left_at, builder.add(left_at, step)),
        (right_at, builder.add(right_at, I64(VECTORS * v.size))),
        *((total, value) for row, values in zip(sums, new, strict=True) for total, value in zip(row, values, strict=True)),
    ]:
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, k), loop, done)
    builder.position_at_end(done)
    return new


Masks = list[ir.Value | None]
"""Of the vectors of a row, the lanes that there are; None for all."""


@dataclass(frozen=True)
class Target:
    """Where a tile's results go: a `RowMajor`, of which a vector begins at each of the columns `firsts`, and the first `columns` exist."""

    v: Vectors
    rows: int
    matrix: ir.Value
    firsts: list[ir.Value]
    columns: ir.Value

    def _pointers(self, i: int) -> list[ir.Value]:
        """Return where the vectors of row i lie."""
        start, row = cgutils.unpack_tuple(self.v.builder, self.matrix)
        first = self.v.builder.gep(start, [self.v.builder.mul(row, I64(i))])
        return [self.v.at(first, column) for column in self.firsts]

    def prefetch(self) -> None:
        """Ask for the cache lines that will be written."""
        for i in range(self.rows):
            for pointer in self._pointers(i)[::VECTORS]:
                self.v.prefetch(pointer, write=True)

    def each_kind(self) -> Iterator[Masks]:
        """Emit what is done with masks of the columns twice, since vectors are whole where all columns exist."""
        v, builder = self.v, self.v.builder
        whole = builder.icmp_signed(">=", self.columns, I64(len(self.firsts) * v.size))
        with builder.if_else(whole, likely=True) as (full, part):
            with full:
                yield [None for _ in self.firsts]
            with part:
                yield [v.mask(builder.sub(self.columns, first)) for first in self.firsts]

    def store(self, sums: list[list[ir.Value]], accumulate: ir.Value, masks: Masks) -> None:
        """Write sums, or add them to what is there."""
        builder, v = self.v.builder, self.v
        places = [[*zip(self._pointers(i), masks, strict=True)] for i in range(self.rows)]
        # What is not accumulated upon is not read: it may lie in memory still.
        with builder.if_else(accumulate) as (add, write):
            with add:
                # All loads stand before the first store: panels that repeat the last one must see the old values.
                old = [[v.load(*place) for place in row] for row in places]
                self._write(places, [[builder.fadd(a, b) for a, b in zip(*rows, strict=True)] for rows in zip(old, sums, strict=True)])
            with write:
                self._write(places, sums)

    def _write(self, places: list[list[tuple[ir.Value, ir.Value | None]]], values: list[list[ir.Value]]) -> None:
        for row, stored in zip(places, values, strict=True):
            for (pointer, mask), value in zip(row, stored, strict=True):
                self.v.store(value, pointer, mask)


def _make_tile(rows: int, panels: int) -> Any:
    """Return the intrinsic for a tile of `rows` rows and `panels` panels of columns."""
    ahead = rows == ROWS  # a tile of fewer rows has no time to read ahead: it waits for its own operands

    @intrinsic
    def tile(typingctx, a, b, k, c, columns, accumulate, soon, share):  # type: ignore[no-untyped-def]
        """Compute ``c[i, j] = (c[i, j] if accumulate else 0) + sum(a[i, s] * b[j // width, s, j % width] for s < k)``.

        A `Matrix` a, `Panels` b, a `RowMajor` c; k > 0; the first `columns` > 0 columns are stored, no other element of c is touched.
        Memory from pointer `soon`, `share` elements for each s, is brought closer: it need not exist.
        """

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            a, b, k, c, columns, accumulate, soon, share = arguments
            v = Vectors(builder, signature.args[0][0].dtype)
            (start, row, step), (first_panel, between) = (cgutils.unpack_tuple(builder, value) for value in (a, b))
            places = columns_of(v, panels, columns)
            lefts = [v.hidden(builder.gep(start, [builder.mul(row, I64(i))])) for i in range(rows)]
            rights = [v.in_panel(first_panel, between, panel, j % VECTORS) for j, (panel, _) in enumerate(places)]
            target = Target(v, rows, c, [first for _, first in places], columns)
            target.prefetch()
            sums = _accumulate(v, lefts, step, rights, k, (soon, share) if ahead else None)
            for masks in target.each_kind():
                target.store(sums, accumulate, masks)
            return context.get_dummy_value()

        return types.void(a, b, k, c, columns, accumulate, soon, share), codegen

    return tile


tile_full = _make_tile(ROWS, 1)
tile_4 = _make_tile(4, PANELS_4)
tile_2 = _make_tile(2, 2)  # fewer rows, more panels: eight independent sums hide the latency of a multiply-add
tile_1 = _make_tile(1, 4)


@intrinsic
def transpose(typingctx, source, stride, target):  # type: ignore[no-untyped-def]
    """Write the transpose of the square ``source[i * stride + j]`` of `lanes` rows to target, whose rows are one panel apart."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source, stride, target = arguments
        v = Vectors(builder, signature.args[0].dtype)
        rows = [v.load(v.at(source, builder.mul(stride, I64(i))), None) for i in range(v.size)]
        half = v.size // 2
        for _ in range(half.bit_length()):  # each perfect shuffle moves one bit of the column number into the row number
            rows = [v.zip(rows[i // 2], rows[i // 2 + half], i % 2) for i in range(v.size)]
        for i, row in enumerate(rows):
            v.store(row, v.at(target, I64(i * VECTORS * v.size)), None)
        return context.get_dummy_value()

    return types.void(source, types.int64, target), codegen


def _mover(count: Callable[[types.Float], int], doc: str) -> Any:
    """Return the intrinsic that writes so many neighbours to other places.

    LLVM, which does not know that nothing overlaps, would move them one by one.
    """

    @intrinsic
    def move(typingctx, source, target):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            v = Vectors(builder, signature.args[0].dtype)
            kind = ir.VectorType(v.type.element, count(signature.args[0].dtype)).as_pointer()
            source, target = (builder.bitcast(pointer, kind) for pointer in arguments)
            builder.store(builder.load(source, align=v.bytes), target, align=v.bytes)
            return context.get_dummy_value()

        return types.void(source, target), codegen

    move.__doc__ = doc
    return move


move_columns = _mover(width, "Write a row of a panel, ``target[j] = source[j]``.")
move_rows = _mover(lambda dtype: ROWS, "Write what a full tile has of a column, ``target[i] = source[i]``.")


@intrinsic
def panel_width(typingctx, pointer):  # type: ignore[no-untyped-def]
    """Return `width` of a pointer's or an array's dtype, a constant of the compiled code."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return I64(width(signature.args[0].dtype))

    return types.int64(pointer), codegen
