"""How kernels are compiled: cached, divided among threads, and with the promise that no two arrays of a call overlap.

Every array that a kernel writes is memory of its own, so the promise holds.  Without it, LLVM guards each loop by comparing all pairs
of arrays, and gives up on vectorising where there are many.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import types
from numba.extending import intrinsic

from .compiling import compiled
from .crew import make_task, part_type
from .openmp import together
from .words import I64


def kernel(function: Callable[..., None]) -> Any:
    """Compile ``function(*arguments, first, last)`` as a part of what calls it, for each dtype.

    Returns
    -------
    dispatcher
        For `share`, in compiled code. From Python, its `divided` is called by `threads.run`.
    """
    inner = part(function)
    name, code = f"{function.__name__}_divided", function.__code__
    # A function of its own for each kernel, in the kernel's file: that is where Numba caches it.
    divided = _divided.__code__.replace(co_name=name, co_qualname=name, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno)
    outer = FunctionType(divided, {"inner": inner, "share": share}, name)
    outer.__module__ = function.__module__
    inner.divided = compiled(outer)
    return inner


def host(function: Callable[..., Any]) -> Any:
    """Compile a host function, which is given all its arrays, ``function(parts, how, *arguments)``, at its first call for each dtype."""
    return compiled(function)


def part(function: Callable[..., None]) -> Any:
    """Compile ``function(*arguments, first, last)`` for `crew.task`, and only as a part of what calls it."""
    dispatcher = compiled(function, cache=False)
    dispatcher._compiler._customize_flags = _part_flags  # Numba has no public option for the first
    return dispatcher


def _part_flags(flags: Any) -> Any:
    flags.noalias = flags.no_cpython_wrapper = True
    return flags


@intrinsic
def share(typingctx, count, parts, how, kernel, *arguments):  # type: ignore[no-untyped-def]
    """Call ``kernel(*arguments, first, last)`` for at most so many parts of 0 … count, on the threads of `openmp.together`.

    In compiled code, which raises RuntimeError if a part has raised an exception.
    """
    given = types.BaseTuple.from_types(arguments)
    wanted = part_type(typingctx, kernel, given)

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        made = kernel.dispatcher.overloads[tuple(wanted.args)]
        task = make_task(context, builder, made, wanted, values[4])
        failed = together.made[None].call(builder, [*task, *values[:3]])
        with builder.if_then(builder.icmp_signed("!=", failed, I64(0)), likely=False):
            context.call_conv.return_user_exc(builder, RuntimeError, ("a part of a kernel raised an exception",))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, kernel, given), codegen


share.load_apart = together.load_apart


def _divided(count, parts, how, *arguments):  # type: ignore[no-untyped-def]
    share(count, parts, how, inner, *arguments)  # type: ignore[name-defined]  # noqa: F821
