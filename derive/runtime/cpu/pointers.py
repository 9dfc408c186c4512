"""Matrices as compiled code has them where it is compiled apart from its callers: a pointer, and the distances of neighbours in elements.
They are tuples, which cost nothing: LLVM takes them apart again. And parts of arrays, with less to compile than a slice.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple, Protocol

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

I64 = ir.IntType(64)


class Pointer(Protocol):
    """A pointer to numbers."""

    def __getitem__(self, place: int) -> Any: ...
    def __setitem__(self, place: int, value: Any) -> None: ...


class Matrix(NamedTuple):
    """Element (i, j) lies at ``start[i * row + j * column]``."""

    start: Pointer
    row: int
    column: int


class RowMajor(NamedTuple):
    """Neighbours in a row are contiguous: element (i, j) lies at ``start[i * row + j]``."""

    start: Pointer
    row: int


@intrinsic
def address(typingctx, array, offset):  # type: ignore[no-untyped-def]
    """Return a pointer to the element that lies `offset` elements after an array's first."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.gep(arrayobj.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.int64), codegen


@intrinsic
def shift(typingctx, place, count):  # type: ignore[no-untyped-def]
    """Return a pointer, or a matrix, whose first part is one, moved on by `count` elements."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place, count = arguments
        if isinstance(place.type, ir.PointerType):
            return builder.gep(place, [count])
        return builder.insert_value(place, builder.gep(builder.extract_value(place, 0), [count]), 0)

    return place(place, types.int64), codegen


@intrinsic
def cut(typingctx, array, first, last):  # type: ignore[no-untyped-def]
    """Return ``array[first:last]``, which must lie in the array: what a slice makes of other bounds takes long to compile.

    A part of nothing is nothing (see `nothing`).
    """
    if array.name == "nothing":
        return array(array, first, last), lambda context, builder, signature, arguments: context.get_dummy_value()

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole, first, last = arguments
        of, part = (arrayobj.make_array(signature.args[0])(context, builder, value) for value in (whole, whole))
        stride, *_ = cgutils.unpack_tuple(builder, of.strides)
        # Moved, not made of a number: so LLVM knows still of which array it is, and that no two overlap.
        start = builder.gep(builder.bitcast(of.data, ir.IntType(8).as_pointer()), [builder.mul(first, stride)])
        part.data = builder.bitcast(start, of.data.type)
        count, axes = builder.sub(last, first), cgutils.unpack_tuple(builder, of.shape)
        part.shape = builder.insert_value(of.shape, count, 0)
        part.nitems = reduce(builder.mul, axes[1:], count)
        return part._getvalue()

    return array(array, types.int64, types.int64), codegen


def _make_view(kind: Any) -> Any:
    @intrinsic
    def view(typingctx, array):  # type: ignore[no-untyped-def]
        """Return an array of two axes as a matrix."""

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            made = arrayobj.make_array(signature.args[0])(context, builder, arguments[0])
            strides, size = cgutils.unpack_tuple(builder, made.strides), I64(array.dtype.bitwidth // 8)
            distances = [builder.sdiv(stride, size) for stride in strides[: len(kind._fields) - 1]]
            return context.make_tuple(builder, signature.return_type, [made.data, *distances])

        parts = types.CPointer(array.dtype), *[types.int64] * (len(kind._fields) - 1)
        return types.BaseTuple.from_types(parts, kind)(array), codegen

    return view


matrix, row_major = _make_view(Matrix), _make_view(RowMajor)
