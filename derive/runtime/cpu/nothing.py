"""What stands for zeros that nobody stores: arithmetic with it is resolved as types are, so that compiled code has none of it.

A pass of second order is linear in what it is given. Where a caller gives nothing for a field, `NOTHING` goes into the compiled functions,
and so it does for every array that depends on such fields alone. It has a type of its own: a sum with it is the other term, a product with
it is nothing again, an element of it too, and what is written to it is dropped. So one text serves every choice of fields; each is compiled
at its first use.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin, lower_cast, lower_getattr
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import NativeValue, intrinsic, models, register_model, typeof_impl, unbox

from .compiling import inner


class _Nothing:
    """Zeros of any shape."""

    def __getitem__(self, place: Any) -> _Nothing:
        return self

    def reshape(self, *shape: Any) -> _Nothing:
        return self

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = _Nothing()


def some(*values: Any) -> bool:
    """Say whether one of some values is something."""
    return any([value is not NOTHING for value in values])


class NothingType(types.Type):
    """The type of `NOTHING` in compiled code; a function of the runtime that is `optional` is given None for it."""

    def __init__(self) -> None:
        super().__init__(name="nothing")

    def can_convert_to(self, typingctx: Any, other: types.Type) -> Any:
        return Conversion.safe if other == types.none else None


nothing = NothingType()
register_model(NothingType)(models.OpaqueModel)


@typeof_impl.register(_Nothing)
def _typeof(value: Any, context: Any) -> types.Type:
    return nothing


@unbox(NothingType)
def _unbox(kind: Any, value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


@lower_cast(NothingType, types.NoneType)
def _as_none(context, builder, source, target, value):  # type: ignore[no-untyped-def]
    return context.get_dummy_value()


def optional(dispatcher: Any) -> Any:
    """Let a compiled function of arrays be called with nothing for some of them: it is compiled with None for each."""
    compile_given = dispatcher.compile

    def compile_with_none(given: Any) -> Any:
        return compile_given(tuple(types.none if kind == nothing else kind for kind in getattr(given, "args", given)))

    dispatcher.compile = compile_with_none
    return dispatcher


def _instead(dispatcher: Any, other: Callable[[tuple[types.Type, ...]], Any]) -> Any:
    """Let a function be compiled as another one for the types of arguments for which there is one, with as many arguments."""
    compile_given = dispatcher.compile

    def compile_one(given: Any) -> Any:
        kinds = tuple(getattr(given, "args", given))
        if (found := other(kinds)) is None:
            return compile_given(given)
        if kinds not in dispatcher.overloads:
            found.compile(kinds)
            dispatcher.add_overload(found.overloads[kinds])
        return dispatcher.overloads[kinds].entry_point

    dispatcher.compile = compile_one
    return dispatcher


@inner
def _clear(out):  # type: ignore[no-untyped-def]
    out[...] = 0


_ITSELF = inner(lambda value: value)
_DROPPED = {2: inner(lambda a, b: None), 3: inner(lambda a, b, c: None), 4: inner(lambda a, b, c, d: None)}
_CLEARED = {2: inner(lambda a, b: _clear(a)), 3: inner(lambda a, b, c: _clear(a)), 4: inner(lambda a, b, c, d: _clear(a))}


def linear(dispatcher: Any) -> Any:
    """Let a compiled function of one array, which is linear in it, be called with nothing: it returns nothing."""
    return _instead(dispatcher, lambda kinds: _ITSELF if kinds == (nothing,) else None)


def passing(dispatcher: Any) -> Any:
    """Let a compiled function be called with nothing: it does nothing where an argument is."""
    return _instead(dispatcher, lambda kinds: _DROPPED[len(kinds)] if nothing in kinds else None)


def clearing(dispatcher: Any) -> Any:
    """Let a compiled function that writes its first argument be called with nothing: it writes zeros where another argument is, and does
    nothing where the first is.
    """

    def other(kinds: tuple[types.Type, ...]) -> Any:
        if nothing not in kinds:
            return None
        return (_DROPPED if kinds[0] == nothing else _CLEARED)[len(kinds)]

    return _instead(dispatcher, other)


@intrinsic
def real_of(typingctx, *arrays):  # type: ignore[no-untyped-def]
    """Return the dtype of the first of some arrays that is something, as what makes numbers of it; float64 if none is."""
    (given,) = arrays if arrays and isinstance(arrays[0], types.BaseTuple) else (arrays,)
    found = types.NumberClass(next((kind.dtype for kind in given if kind != nothing), types.float64))
    taken = types.BaseTuple.from_types(given)
    return found(taken), lambda context, builder, signature, arguments: context.get_dummy_value()


# Arithmetic: the type of a result, and the code that makes it


def _rule(function: Callable[..., Any], result: Callable[..., types.Type | None]) -> None:
    """Tell of which type a function's result is where one of its arguments is nothing, by the types of all; None if that has no meaning."""

    class Rule(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            found = result(*args) if nothing in args else None
            return None if found is None else signature(found, *args)

    infer_global(function)(Rule)


def _term(a: types.Type, b: types.Type) -> types.Type:
    """Return the type of the term of a sum that is something."""
    return b if a == nothing else a


_rule(operator.add, _term)
_rule(operator.sub, _term)
_rule(operator.mul, lambda a, b: nothing)
_rule(operator.truediv, lambda a, b: nothing if a == nothing else None)
_rule(operator.neg, lambda a: nothing)
_rule(operator.getitem, lambda array, place: nothing if array == nothing else None)
_rule(operator.setitem, lambda array, place, value: types.none)


def _dummy(context, builder, sig, arguments):  # type: ignore[no-untyped-def]
    return context.get_dummy_value()


def _first(context, builder, sig, arguments):  # type: ignore[no-untyped-def]
    return arguments[0]


def _second(context, builder, sig, arguments):  # type: ignore[no-untyped-def]
    return arguments[1]


def _negative(context, builder, sig, arguments):  # type: ignore[no-untyped-def]
    return builder.fneg(arguments[1])


def _store_zero(context, builder, sig, arguments):  # type: ignore[no-untyped-def]
    array, place, _ = sig.args
    as_number = signature(types.none, array, place, array.dtype)
    store = context.get_function(operator.setitem, as_number)
    zero = ir.Constant(context.get_value_type(array.dtype), 0.0)
    return store(builder, (*arguments[:2], zero))


for _function, _of_nothing, _of_left, _of_right in (
    (operator.add, _dummy, _second, _first),
    (operator.sub, _dummy, _negative, _first),
    (operator.mul, _dummy, _dummy, _dummy),
):
    lower_builtin(_function, NothingType, NothingType)(_of_nothing)
    lower_builtin(_function, NothingType, types.Any)(_of_left)
    lower_builtin(_function, types.Any, NothingType)(_of_right)
lower_builtin(operator.truediv, NothingType, types.Any)(_dummy)
lower_builtin(operator.neg, NothingType)(_dummy)
lower_builtin(operator.getitem, NothingType, types.Any)(_dummy)
lower_builtin(operator.setitem, NothingType, types.Any, types.Any)(_dummy)
lower_builtin(operator.setitem, types.Array, types.Any, NothingType)(_store_zero)


@infer_getattr
class _Attributes(AttributeTemplate):
    key = NothingType

    def resolve_T(self, of: types.Type) -> types.Type:
        return nothing

    def resolve_nbytes(self, of: types.Type) -> types.Type:
        return types.intp


@lower_getattr(NothingType, "T")
def _transposed(context, builder, kind, value):  # type: ignore[no-untyped-def]
    return value


@lower_getattr(NothingType, "nbytes")
def _size(context, builder, kind, value):  # type: ignore[no-untyped-def]
    return ir.Constant(ir.IntType(64), 0)
