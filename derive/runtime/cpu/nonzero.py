"""The elements of rows that are not zero, and products with these alone, as LLVM vector IR.

Where they stand is told by *places*: bytes, so of at most `STEPS` elements, which is what a product sums as one block. A product that
leaves zeros out adds the others in the same order, from zero, in one accumulator an element: if what zeros would have been multiplied by
is finite, the result has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .division import STEPS
from .pointers import I64, Pointer
from .tile import VECTORS, Masks, Target, Vectors, columns_of
from .words import WORD

assert STEPS <= 256, "a place is a byte"
BYTE = ir.IntType(8)
PLACES = types.CPointer(types.uint8)
PANELS = 4  # of columns that one row of a result takes at once: eight sums hide the latency of a multiply-add


class Rows(NamedTuple):
    """A right operand: column j of row s lies at ``start[j // width * between + s * row + j % width]``, packed in panels or not."""

    start: Pointer
    between: int
    row: int


def _differing(v: Vectors, row: ir.Value, start: ir.Value, mask: ir.Value | None) -> ir.Value:
    """Return a bit for each lane of the vector that begins at `start`: whether it is there and not zero."""
    different = v.builder.fcmp_unordered("!=", v.load(v.at(row, start), mask), v.zero)
    return v.builder.zext(v.builder.bitcast(different, ir.IntType(v.size)), I64)


@contextmanager
def _each_vector(v: Vectors, row: ir.Value, count: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Emit a loop over the vectors of a row: what it does with the start of one and the bits of what is not zero is emitted inside."""
    builder = v.builder
    whole, at = builder.and_(count, I64(-v.size)), cgutils.alloca_once_value(builder, I64(0))
    bits = cgutils.alloca_once(builder, I64)
    test, more, rest, last, body, done = (builder.append_basic_block(f"vector.{k}") for k in range(6))
    builder.branch(test)
    builder.position_at_end(test)
    start = builder.load(at)
    builder.cbranch(builder.icmp_signed("<", start, whole), more, rest)
    builder.position_at_end(more)
    builder.store(_differing(v, row, start, None), bits)
    builder.branch(body)
    builder.position_at_end(rest)  # the last lanes, if there are some
    builder.cbranch(builder.icmp_signed("<", start, count), last, done)
    builder.position_at_end(last)
    builder.store(_differing(v, row, start, v.mask(builder.sub(count, start))), bits)
    builder.branch(body)
    builder.position_at_end(body)
    yield start, builder.load(bits)
    builder.store(builder.add(start, I64(v.size)), at)
    builder.branch(test)
    builder.position_at_end(done)


@contextmanager
def _each_nonzero(v: Vectors, row: ir.Value, count: ir.Value) -> Iterator[ir.Value]:
    """Emit a loop over the elements of a row that are not zero; what it does with the number of one is emitted inside."""
    builder = v.builder
    with _each_vector(v, row, count) as (start, found):
        left = cgutils.alloca_once(builder, I64)
        builder.store(found, left)
        test, body, done = (builder.append_basic_block(f"bit.{k}") for k in range(3))
        builder.branch(test)
        builder.position_at_end(test)
        bits = builder.load(left)
        builder.cbranch(builder.icmp_unsigned("!=", bits, I64(0)), body, done)
        builder.position_at_end(body)
        yield builder.add(start, builder.cttz(bits, ir.IntType(1)(1)))
        builder.store(builder.and_(bits, builder.sub(bits, I64(1))), left)
        builder.branch(test)
        builder.position_at_end(done)


@intrinsic
def count_nonzero(typingctx, row, count):  # type: ignore[no-untyped-def]
    """Return how many of the first `count` elements of a row are not zero."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, count = arguments
        v, found = Vectors(builder, signature.args[0].dtype), cgutils.alloca_once_value(builder, I64(0))
        with _each_vector(v, row, count) as (_, bits):
            builder.store(builder.add(builder.load(found), builder.ctpop(bits)), found)
        return builder.load(found)

    return types.int64(row, types.int64), codegen


@intrinsic
def list_nonzero(typingctx, row, count, places):  # type: ignore[no-untyped-def]
    """Write to `places` which of the first `count` elements of a row are not zero, in order; return how many there are."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, count, places = arguments
        v, found = Vectors(builder, signature.args[0].dtype), cgutils.alloca_once_value(builder, I64(0))
        with _each_nonzero(v, row, count) as number:
            at = builder.load(found)
            builder.store(builder.trunc(number, BYTE), builder.gep(places, [at]))
            builder.store(builder.add(at, I64(1)), found)
        return builder.load(found)

    return types.int64(row, types.int64, PLACES), codegen


@intrinsic
def list_columns(typingctx, row, count, number, places, found):  # type: ignore[no-untyped-def]
    """Write the number of a row to the list of each of its first `count` elements that is not zero.

    Element j has its list from ``places[j * STEPS]`` on, and ``found[j]`` says how many are in it.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, count, number, places, found = arguments
        number = builder.trunc(number, BYTE)
        with _each_nonzero(Vectors(builder, signature.args[0].dtype), row, count) as column:
            length = builder.gep(found, [column])
            at = builder.load(length)
            builder.store(number, builder.gep(places, [builder.add(builder.mul(column, I64(STEPS)), at)]))
            builder.store(builder.add(at, I64(1)), length)
        return context.get_dummy_value()

    return types.void(row, types.int64, types.int64, PLACES, WORD), codegen


class _Factors(NamedTuple):
    """What rows are multiplied with: ``start[s * step]`` for each s in ``places[:count]``."""

    start: ir.Value
    step: ir.Value
    places: ir.Value
    count: ir.Value


def _sums(v: Vectors, factors: _Factors, rights: list[ir.Value], row: ir.Value, masks: Masks) -> list[ir.Value]:
    """Emit the loop over places, and return the sums, by vector."""
    builder, totals = v.builder, [cgutils.alloca_once(v.builder, v.type) for _ in rights]
    for total in totals:
        builder.store(v.zero, total)
    with cgutils.for_range(builder, factors.count) as loop:
        at = builder.zext(builder.load(builder.gep(factors.places, [loop.index])), I64)
        factor = v.splat(builder.load(builder.gep(factors.start, [builder.mul(at, factors.step)])))
        for pointer, mask, total in zip(rights, masks, totals, strict=True):
            right = v.load(v.at(pointer, builder.mul(at, row)), mask)
            builder.store(v.fma(factor, right, builder.load(total)), total)
    return [builder.load(total) for total in totals]


@intrinsic
def tile_of_places(typingctx, a, step, b, places, count, c, columns, accumulate):  # type: ignore[no-untyped-def]
    """Compute ``c[j] = (c[j] if accumulate else 0) + sum(a[s * step] * b[s, j] for s in places[:count])``.

    A pointer a, `Rows` b, a `RowMajor` c; of at most `PANELS` panels, the first `columns` > 0 columns are read and stored, and no other
    element is touched.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, step, b, places, count, c, columns, accumulate = arguments
        v, (start, between, row) = Vectors(builder, signature.args[0].dtype), cgutils.unpack_tuple(builder, b)
        lying = columns_of(v, PANELS, columns)
        rights = [v.in_panel(start, between, panel, j % VECTORS) for j, (panel, _) in enumerate(lying)]
        target = Target(v, 1, c, [first for _, first in lying], columns)
        for masks in target.each_kind():
            target.store([_sums(v, _Factors(a, step, places, count), rights, row, masks)], accumulate, masks)
        return context.get_dummy_value()

    return types.void(a, types.int64, b, PLACES, types.int64, c, types.int64, accumulate), codegen


@intrinsic
def places_on_stack(typingctx):  # type: ignore[no-untyped-def]
    """Return room for `STEPS` places on the stack of the function that asks."""
    return PLACES(), lambda context, builder, signature, arguments: cgutils.alloca_once(builder, BYTE, size=I64(STEPS))


def _caster(kind: types.CPointer, target: ir.Type) -> Any:
    @intrinsic
    def cast(typingctx, pointer):  # type: ignore[no-untyped-def]
        """Return a pointer to numbers as one to what else lies in such memory."""
        return kind(pointer), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], target.as_pointer())

    return cast


as_places, as_words = _caster(PLACES, BYTE), _caster(WORD, I64)
