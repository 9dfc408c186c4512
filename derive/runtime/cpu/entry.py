"""Compiled host functions, entered with one block of words in place of their arguments.

From Python, thirty arrays take longer to hand over than a small step takes to compute: each is looked at, and taken apart. A block has them
taken apart already. Arrays that change from call to call are given beside it; an array of the function's begins in one of those, so many
bytes on. The words of a block:

    the function's address; the shapes that the arrays given must have; and the function's arguments in their order:
    of an array, in which of those given it lies (from 1; 0: at an address), the bytes before it, its elements, their bytes, shape, strides
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import compiled
from .spans import Places, span
from .words import I64

Array = np.ndarray
PLAIN = (types.Array, types.Integer, types.Boolean)  # kinds of arguments that a block has words for


class Entry(NamedTuple):
    """A host function whose arguments are known, but for where some arrays lie.

    Attributes
    ----------
    enter : callable
        ``enter(block, *given)`` runs it on the arrays given; False, and nothing is done, if they have other shapes. Raises TypeError or
        ValueError for other kinds of arrays.
    block : array of int64
    stays : list
        Those of its arguments that lie in no array given, and have to stay where they are.
    """

    enter: Callable[..., bool]
    block: Array
    stays: list[Any]

    @classmethod
    def of(cls, host: Any, arguments: tuple[Any, ...], given: Sequence[Array], *, by_address: bool = False) -> Entry | None:
        """Return the entry of a function that has run on such arguments; None if there are others than arrays and whole numbers, or if it
        is not compiled.

        Parameters
        ----------
        host : dispatcher
        arguments : tuple
        given : sequence of arrays
            Those that change from call to call, no two of which overlap: an argument that lies in one of them will lie there again.
        by_address : bool
            Whether it is entered with their addresses, and not with arrays: then who enters it sees to it that they have these shapes.
        """
        kinds = tuple(map(typeof, arguments))
        if getattr(host, "overloads", {}).get(kinds) is None or not all(isinstance(kind, PLAIN) for kind in kinds):
            return None
        made, places = host.overloads[kinds], Places(given)
        bases = [places.of(argument) for argument in arguments]
        shapes = [] if by_address else [n for array in given for n in array.shape]
        words = [made.library.get_pointer_to_function(made.fndesc.llvm_func_name), *shapes]
        for argument, base in zip(arguments, bases, strict=True):
            words += words_of(argument, given, base) if isinstance(argument, Array) else [int(argument)]
        stays = [argument for argument, base in zip(arguments, bases, strict=True) if base is None]
        forms = (types.int64,) * len(given) if by_address else tuple(map(typeof, given))
        return cls(_entering(kinds, forms), np.array(words, np.int64), stays)


def words_of(array: Array, given: Sequence[Array], base: int | None) -> list[int]:
    """Return the words of an array that lies in one of those given, or in none."""
    start = span(array)[0] - (0 if base is None else span(given[base])[0])
    return [0 if base is None else base + 1, start, array.size, array.itemsize, *array.shape, *array.strides]


@lru_cache(maxsize=256)
def _entering(kinds: tuple[types.Type, ...], given: tuple[types.Type, ...]) -> Any:
    """Return the compiled function that enters a function of such arguments, for such arrays and no others, or for addresses."""
    # A name of its own for each, by which Numba knows it again in its cache; and named arguments, which it looks at faster than at others.
    name = f"enter_{hashlib.sha256(str((kinds, given)).encode()).hexdigest()[:16]}"
    names = ", ".join(f"place{k}" for k in range(len(given)))
    scope: dict[str, Any] = {"jump": _jump(kinds), "__name__": __name__}
    exec(compile(f"def {name}(block, {names}): return jump(block, ({names},))", __file__, "exec"), scope)
    made = compiled(scope[name])
    made.compile((types.Array(types.int64, 1, "C"), *given))
    made.disable_compile()
    return made


def _jump(kinds: tuple[types.Type, ...]) -> Any:
    """Return an intrinsic that calls the function of a block, whose arguments have such kinds."""

    @intrinsic
    def jump(typingctx, block, given):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            words = reading(builder, context.make_array(block)(context, builder, values[0]).data)
            function, bases = next(words), [I64(0)]
            same = cgutils.true_bit
            for kind, value in zip(given, cgutils.unpack_tuple(builder, values[1]), strict=True):
                if kind == types.int64:
                    bases.append(value)
                    continue
                array = context.make_array(kind)(context, builder, value)
                for n in cgutils.unpack_tuple(builder, array.shape):
                    same = builder.and_(same, builder.icmp_signed("==", n, next(words)))
                bases.append(builder.ptrtoint(array.data, I64))
            with builder.if_then(same):
                status = called(context, builder, function, kinds, words, _table(builder, bases))
                with builder.if_then(status.is_error, likely=False):
                    context.call_conv.return_status_propagate(builder, status)
            return same

        return types.boolean(block, given), codegen

    return jump


def called(
    context: Any, builder: ir.IRBuilder, function: ir.Value, kinds: tuple[types.Type, ...], words: Iterator[ir.Value], places: ir.Value
) -> Any:
    """Emit a call of the function at an address, of such arguments as its words tell; return its status."""
    arguments = [_argument(context, builder, kind, words, places) for kind in kinds]
    pointer = builder.inttoptr(function, context.call_conv.get_function_type(types.none, kinds).as_pointer())
    return context.call_conv.call_function(builder, pointer, types.none, kinds, arguments)[0]


def reading(builder: ir.IRBuilder, block: ir.Value) -> Iterator[ir.Value]:
    """Yield the words of a block, each read where it is asked for."""
    position = 0
    while True:
        yield builder.load(builder.gep(block, [I64(position)]))
        position += 1


def _table(builder: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    """Return where values lie one after the other."""
    table = cgutils.alloca_once(builder, I64, size=I64(len(values)))
    for k, value in enumerate(values):
        builder.store(value, builder.gep(table, [I64(k)]))
    return table


def _argument(context: Any, builder: ir.IRBuilder, kind: types.Type, words: Iterator[ir.Value], places: ir.Value) -> ir.Value:
    """Emit an argument, as its words tell it; nothing has none."""
    if kind.name == "nothing":  # of whatever package
        return context.get_dummy_value()
    if not isinstance(kind, types.Array):
        return builder.trunc(next(words), context.get_value_type(kind)) if kind != types.int64 else next(words)
    start = builder.add(builder.load(builder.gep(places, [next(words)])), next(words))
    made = context.make_array(kind)(context, builder)
    items, itemsize, *axes = [next(words) for _ in range(2 + 2 * kind.ndim)]
    made.data = builder.inttoptr(start, made.data.type)
    made.nitems, made.itemsize = items, itemsize
    made.shape, made.strides = (cgutils.pack_array(builder, part) for part in (axes[: kind.ndim], axes[kind.ndim :]))
    made.meminfo, made.parent = (cgutils.get_null_value(owner.type) for owner in (made.meminfo, made.parent))
    return made._getvalue()
