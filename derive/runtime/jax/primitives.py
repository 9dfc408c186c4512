"""What JAX knows of a cell: primitives, whose operands are parts that follow each other.

    infer      values                                       → results
    forward    values                                       → results, saved
    backward   cotangents; values, saved                    → gradients        what forward's reverse is
    tangent    direction; values, saved                     → tangents of results        what forward's derivative is
    hessian    direction, cotangents; values, saved         → tangents of gradients        what backward's derivative is
    twice      direction, cotangents; values, saved         → gradients of ⟨direction, gradients⟩        hessian's transpose
    bent       direction, another; values, saved            → second derivatives of results        what tangent's derivative is

Each is linear in every part before the semicolon. `bent` is never run: it has no kernel, but a transpose, which is reached where forward
mode is differentiated in reverse. Of a direction, and of gradients, only those are there that a mask has; a list has None for the others.

Here is what they take and give, and their rule for a mapped axis; `derivatives` and `lowering` have the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import compress
from typing import Any

import jax
from jax import numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching

from .devices import divided, typed, varying
from .passes import Passes

Mask = tuple[bool, ...]
Arrays = Sequence[Any]
Axes = Sequence[int | None]

LINEAR = {
    "infer": (),
    "forward": (),
    "backward": ("results",),
    "tangent": ("direction",),
    "hessian": ("direction", "results"),
    "twice": ("direction", "results"),
    "bent": ("direction", "gradients"),
}
GIVES = {
    "infer": ("results",),
    "forward": ("results", "saved"),
    "backward": ("gradients",),
    "tangent": ("results",),
    "hessian": ("gradients",),
    "twice": ("gradients",),
    "bent": ("results",),
}
PRIMITIVES = {name: Primitive(f"derive_{name}") for name in LINEAR}
HERE = {name: Primitive(f"derive_{name}_here") for name in LINEAR}
"""What each device runs of them, with its sequences."""


@dataclass(frozen=True)
class Form:
    """What a primitive is of.

    Attributes
    ----------
    how : Passes
    moves : tuple of bool
        Which of the values its direction has.
    asks : tuple of bool
        Which of the values its gradients have, or its other direction.
    """

    how: Passes
    moves: Mask = ()
    asks: Mask = ()


def bind(name: str, form: Form, *parts: Arrays) -> list[Any]:
    """Bind a primitive."""
    return _bound(name, form, varying([value for part in parts for value in part]))


def _bound(name: str, form: Form, operands: Arrays) -> list[Any]:
    program = _divided(name, form, tuple(map(jax.typeof, operands)))
    found: list[Any] = PRIMITIVES[name].bind(*operands, form=form, divided=program)
    return found


@lru_cache(maxsize=512)
def _divided(name: str, form: Form, operands: Arrays) -> Any:
    """Return what runs a primitive's kernels, and is divided among devices, as a program of operands of such types.

    It goes with the primitive from the beginning, since JAX tells only programs in which it sees such a part which devices they are for.
    """
    run = divided(partial(HERE[name].bind, form=form), flat_axes(name, form), axes_of_results(name, form), GIVES[name] == ("gradients",))
    return jax.make_jaxpr(run)(*operands)


def parts_of(name: str, form: Form, operands: Arrays) -> list[Arrays]:
    """Return the operands of a primitive by parts."""
    found, start = list[Arrays](), 0
    for axes in axes_of_operands(name, form):
        found.append(list(operands[start : start + len(axes)]))
        start += len(axes)
    return found


def full(values: Arrays, mask: Mask) -> list[Any]:
    """Return values at their places, with None at the others."""
    each = iter(values)
    return [next(each) if there else None for there in mask]


# Axes of sequences


def _axes(part: str, form: Form) -> Axes:
    if part in ("direction", "gradients"):
        return list(compress(form.how.axes_of_values, form.moves if part == "direction" else form.asks))
    axes: Axes = getattr(form.how, f"axes_of_{part}")
    return axes


def axes_of_operands(name: str, form: Form) -> list[Axes]:
    after = ("values", "saved") if LINEAR[name] else ("values",)
    return [_axes(part, form) for part in (*LINEAR[name], *after)]


def flat_axes(name: str, form: Form) -> list[int | None]:
    return [axis for part in axes_of_operands(name, form) for axis in part]


def axes_of_results(name: str, form: Form) -> list[int | None]:
    return [axis for part in GIVES[name] for axis in _axes(part, form)]


# What is given


def _abstract(name: str, *operands: Any, form: Form, **_: Any) -> list[Any]:
    """Return what a primitive gives, in a program that JAX traces."""
    values = parts_of(name, form, operands)[len(LINEAR[name])]
    by = list(compress(values, form.asks)) if GIVES[name] == ("gradients",) else []
    return typed(given(name, *operands, form=form), axes_of_results(name, form), by, operands, flat_axes(name, form))


def given(name: str, *operands: Any, form: Form) -> list[Any]:
    """Return what a primitive gives, of operands that are anything with a shape and a dtype: its shapes and dtypes."""
    values = parts_of(name, form, operands)[len(LINEAR[name])]
    dtype = next(value.dtype for value, whole in zip(values, form.how.whole, strict=True) if not whole)
    found: list[tuple[int, ...]] = []
    for part in GIVES[name]:
        if part == "gradients":
            found += [value.shape for value in compress(values, form.asks)]
        else:
            found += getattr(form.how, f"shapes_of_{part}")(values)
    return [jax.core.ShapedArray(shape, dtype) for shape in found]


@lru_cache(maxsize=512)
def _compiled(name: str, form: Form) -> Callable[..., list[Any]]:
    compiled: Callable[..., list[Any]] = jax.jit(lambda *operands: _bound(name, form, operands))
    return compiled


def _run(name: str, *operands: Any, form: Form, **_: Any) -> list[Any]:
    """Run a primitive outside of all programs: as a program of its own."""
    return _compiled(name, form)(*operands)


# A mapped axis


def _mapped(name: str, operands: Arrays, mapped: Axes, *, form: Form, **_: Any) -> tuple[list[Any], list[int | None]]:
    """Let a mapped axis be more sequences, if all that is mapped has sequences, and all that is given; else call each element alone."""
    axes, results = flat_axes(name, form), axes_of_results(name, form)
    times = next(value.shape[axis] for value, axis in zip(operands, mapped, strict=True) if axis is not None)
    if times == 0:
        return _nothing(name, operands, mapped, form)
    alone = any(axis is None and of is not None for axis, of in zip(axes, mapped, strict=True))
    if alone or (LINEAR[name] and None in results):
        return _one_by_one(partial(_bound, name, form), operands, mapped)
    folded = [value if of is None else _fold(value, axis, of, times) for value, axis, of in zip(operands, mapped, axes, strict=True)]
    found = _bound(name, form, folded)
    return [value if axis is None else _unfold(value, axis, times) for value, axis in zip(found, results, strict=True)], results


def _nothing(name: str, operands: Arrays, mapped: Axes, form: Form) -> tuple[list[Any], list[int | None]]:
    """Return what there is of a mapped axis of no elements: arrays that have none, from whose shapes no number of sequences follows."""
    one = [_element(value, axis) for value, axis in zip(operands, mapped, strict=True)]
    found = given(name, *one, form=form)
    return [jnp.zeros((0, *spec.shape), spec.dtype) for spec in found], [0] * len(found)


def _element(value: Any, axis: int | None) -> Any:
    """Return the shape and the dtype of an element of a mapped axis."""
    shape = value.shape if axis is None else (*value.shape[:axis], *value.shape[axis + 1 :])
    return jax.ShapeDtypeStruct(shape, value.dtype)


def _one_by_one(run: Callable[..., list[Any]], operands: Arrays, mapped: Axes) -> tuple[list[Any], list[int | None]]:
    """Call each element of a mapped axis alone."""
    moved = [jnp.moveaxis(value, axis, 0) for value, axis in zip(operands, mapped, strict=True) if axis is not None]

    def one(elements: Arrays) -> list[Any]:
        each = iter(elements)
        return run([value if axis is None else next(each) for value, axis in zip(operands, mapped, strict=True)])

    found = jax.lax.map(one, moved)
    return found, [0] * len(found)


def _fold(value: Any, mapped: int | None, axis: int, times: int) -> Any:
    """Return a value with its mapped axis, or so many copies of it, as part of its `axis`."""
    if mapped is None:
        value = jnp.broadcast_to(jnp.expand_dims(value, axis), (*value.shape[:axis], times, *value.shape[axis:]))
    else:
        value = jnp.moveaxis(value, mapped, axis)
    return value.reshape(*value.shape[:axis], times * value.shape[axis + 1], *value.shape[axis + 2 :])


def _unfold(value: Any, axis: int, times: int) -> Any:
    return value.reshape(*value.shape[:axis], times, value.shape[axis] // times, *value.shape[axis + 1 :])


for _name, _primitive in PRIMITIVES.items():
    for _each in (_primitive, HERE[_name]):
        _each.multiple_results = True
        _each.def_abstract_eval(partial(_abstract, _name))
    _primitive.def_impl(partial(_run, _name))
    batching.primitive_batchers[_primitive] = partial(_mapped, _name)
