"""How the primitives are run: as a call of machine code by XLA on the CPU, else by a callback to Python.

The callback is for devices, for sequences that have lengths, and for where XLA cannot call our machine code: then a warning says why.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import compress
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.interpreters import mlir

from ..common.sizes import evaluate
from ..common.version import common
from ..cpu.memory import ALIGNMENT
from .calls import Specs, told
from .frame import handler
from .passes import Passes, runtime
from .plan import Index, Plan, planned
from .primitives import GIVES, HERE, LINEAR, PRIMITIVES, Form, full, given, parts_of
from .version import VERSION, unlike

Array = np.ndarray
TARGET = f"derive_{VERSION}"
"""The name of the handler, for `jax.export`, which asks whether it is meant to be there."""
WIDE = 8  # bytes of a number that JAX has only where it is told so
SECOND = {"tangent": "tangent", "hessian": "hvp", "twice": "backward_backward"}  # what a module's function is called
TWICE_AHEAD = "{}: forward mode of forward mode is not offered: take one of both in reverse"


_REGISTERING = threading.Lock()


class CallbackWarning(RuntimeWarning):
    """XLA calls kernels by way of Python."""


# Whether XLA can call machine code


@lru_cache(maxsize=1)
def refused() -> str:
    """Register the handler with XLA, and try it; return why it cannot be called, or an empty text."""
    why = unlike() or _registered()
    if why:
        warnings.warn(f"kernels are called by way of Python, which takes longer: {why}", CallbackWarning, stacklevel=2)
    return why


def _registered() -> str:
    try:
        with _REGISTERING:
            if not hasattr(common, TARGET):  # else another package with this version has done it
                jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(ctypes.c_void_p(handler())), platform="cpu", api_version=1)
                setattr(common, TARGET, True)
        _tried()
    except Exception as error:  # of whatever kind: XLA has its own
        return f"XLA does not take them ({str(error).strip().splitlines()[0]})"
    return ""


def _tried() -> None:
    """Let XLA call the handler with nothing to do; what it raises says why it cannot."""
    with jax.default_device(jax.devices("cpu")[0]):
        nothing = Plan(np.zeros(4, np.int64), (((2 * ALIGNMENT,), np.dtype(np.uint8)),), (), "")
        jax.block_until_ready(jax.jit(lambda: nothing.written(TARGET))())


# What a primitive runs


def _passed(name: str, form: Form, operands: Sequence[Array]) -> list[Any]:
    """Return what a pass makes of arrays."""
    parts = parts_of(name, form, operands)
    if "direction" in LINEAR[name]:
        parts[0] = full(parts[0], form.moves)
    options = {"asks": form.asks} if name == "backward" else {}  # those of second order have one text for all choices
    found: list[Any] = getattr(form.how, name)(*parts, **options)
    return list(compress(found, form.asks)) if "gradients" in GIVES[name] else found


def _check(name: str, how: Passes) -> None:
    """Check that a cell has what a derivative needs.

    Raises
    ------
    NotImplementedError
        It says what is not offered, and how it may be had.
    """
    if name == "bent":
        raise NotImplementedError(TWICE_AHEAD.format(how.layer.name))
    if name in SECOND and not how.layer.links:
        raise NotImplementedError(how.layer.no_second_order(SECOND[name]))


# By machine code


def _call(name: str, *operands: Any, form: Form) -> list[Any]:
    return plan(name, form, tuple((value.shape, np.dtype(value.dtype)) for value in operands))(TARGET, *operands)


@lru_cache(maxsize=512)
def plan(name: str, form: Form, specs: Specs) -> Plan:
    """Return the plan of a pass on operands of such shapes and dtypes."""
    operands = [np.zeros(shape, dtype if dtype.kind == "f" else np.int64) for shape, dtype in specs]
    threads = runtime(form.how.module, "cpu.threads")
    with threads.pool("crew"), runtime(form.how.module, "cpu.sketch").sketched() as sketch:
        results = _passed(name, form, operands)
    threads.ready(anywhere=True)  # workers, which compiled code wakes, on whatever thread of XLA
    shapes = [spec.shape for spec in given(name, *operands, form=form)]
    return planned(sketch, operands, results, shapes, _indices(name, form, operands), told(name, form, specs))


def _indices(name: str, form: Form, operands: Sequence[Array]) -> list[Index]:
    """Return which operands are indices, and their bounds."""
    layer, parts, found = form.how.layer, parts_of(name, form, operands), []
    before = sum(map(len, parts[: len(LINEAR[name])]))
    sizes = form.how.extent(parts[len(LINEAR[name])])[0]
    for k, operand in enumerate(form.how.given):
        if operand in layer.indices:
            below = min(evaluate(size, sizes) for size in layer.indices[operand])
            found.append(Index(before + k, below, f"{layer.name}: {operand} must lie in 0 … {below - 1}"))
    return found


# By a callback


def _call_back(name: str, *operands: Any, form: Form) -> list[Any]:
    """Call a pass in Python. Numbers of 64 bits travel as two words each: JAX would cut them in half on a thread of XLA's that
    ``with jax.enable_x64(True)`` does not reach.
    """
    specs, kinds = given(name, *operands, form=form), [np.dtype(value.dtype) for value in operands]

    def host(*arrays: Any) -> list[Array]:
        found = _passed(name, form, [_numbers(np.asarray(value), kind) for value, kind in zip(arrays, kinds, strict=True)])
        made = zip(found, specs, strict=True)
        return [_words(np.zeros(spec.shape, spec.dtype) if value is None else np.asarray(value)) for value, spec in made]

    shapes = [jax.ShapeDtypeStruct(*_form_of_words(spec.shape, np.dtype(spec.dtype))) for spec in specs]
    cast = jax.lax.bitcast_convert_type
    words = [cast(value, np.uint32) if kind.itemsize == WIDE else value for value, kind in zip(operands, kinds, strict=True)]
    found = zip(jax.pure_callback(host, shapes, *words), specs, strict=True)
    return [value if value.dtype == spec.dtype else cast(value, spec.dtype) for value, spec in found]


def _form_of_words(shape: tuple[int, ...], kind: np.dtype) -> tuple[tuple[int, ...], np.dtype]:
    return ((*shape, 2), np.dtype(np.uint32)) if kind.itemsize == WIDE else (shape, kind)


def _words(value: Array) -> Array:
    shape, kind = _form_of_words(value.shape, value.dtype)
    return np.ascontiguousarray(value).reshape(-1).view(kind).reshape(shape)


def _numbers(words: Array, kind: np.dtype) -> Array:
    return words if words.dtype == kind else np.ascontiguousarray(words).reshape(-1).view(kind).reshape(words.shape[:-1])


# By what XLA compiles for


def _lowered(name: str, on_host: bool, ctx: Any, *operands: Any, form: Form, divided: Any) -> Any:
    _check(name, form.how)
    by_machine_code = on_host and not form.how.ragged and not refused()
    run = jaxpr_as_fun(divided) if by_machine_code else partial(_call_back, name, form=form)
    return mlir.lower_fun(run, multiple_results=True)(ctx, *operands)


for _name, _here in HERE.items():
    mlir.register_lowering(_here, mlir.lower_fun(partial(_call, _name), multiple_results=True))
for _name, _primitive in PRIMITIVES.items():
    mlir.register_lowering(_primitive, partial(_lowered, _name, False))
    mlir.register_lowering(_primitive, partial(_lowered, _name, True), platform="cpu")
