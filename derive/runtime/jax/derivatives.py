"""The derivatives of the primitives, and their transposes: see `primitives`.

Saved arrays are constants: derivatives by values cover what hangs on them. `tangent` and `backward` are each other's transposes. With H the
second derivative of ⟨cotangents, results⟩ by values, `hessian` is H times a direction, and `twice` its transpose times one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any

import jax
from jax.interpreters import ad

from .passes import Passes
from .primitives import GIVES, LINEAR, PRIMITIVES, Arrays, Form, Mask, bind, full, parts_of

THIRD = "a third derivative of a recurrent cell is not offered: its kernels go to the second order"
Results = list[Any]


def _is_zero(value: Any) -> bool:
    return type(value) is ad.Zero


def _direction(how: Passes, tangents: Arrays) -> tuple[Mask, Results]:
    """Return which values a direction has, and its tangents: of parameters all or none, and so of states, since a kernel is compiled for
    each choice.
    """
    mask = [False] * how.values
    for group in how.groups:
        if not all(map(_is_zero, tangents[group])):
            mask[group] = [not whole for whole in how.whole[group]]
    return tuple(mask), [ad.instantiate_zeros(tangent) for tangent in compress(tangents, mask)]


def _zeros(values: Arrays) -> Results:
    """Return the tangents of constants."""
    return [ad.Zero(jax.typeof(value).to_tangent_aval()) for value in values]


# Derivatives


def _of_values(values: Arrays, tangents: Arrays, form: Form) -> tuple[Results, Results]:
    """Differentiate `infer` and `forward`."""
    how, found = form.how, bind("forward", form, values)
    results, saved = found[: how.results], found[how.results :]
    moves, direction = _direction(how, tangents)
    moved = bind("tangent", Form(how, moves), direction, values, saved) if any(moves) else _zeros(results)
    return found, [*moved, *_zeros(saved)]


def _infer_jvp(values: Arrays, tangents: Arrays, *, form: Form, **_: Any) -> tuple[Results, Results]:
    found, moved = _of_values(values, tangents, form)
    return found[: form.how.results], moved[: form.how.results]


def _forward_jvp(values: Arrays, tangents: Arrays, *, form: Form, **_: Any) -> tuple[Results, Results]:
    return _of_values(values, tangents, form)


def _linear_jvp(name: str, primals: Arrays, tangents: Arrays, *, form: Form, **_: Any) -> tuple[Results, Results]:
    """Differentiate what is linear in its first parts: by each of them it is itself, with that part's tangents."""
    parts, moved = parts_of(name, form, primals), parts_of(name, form, tangents)
    found, terms = bind(name, form, *parts), []
    for k in range(len(LINEAR[name])):
        if not all(map(_is_zero, moved[k])):
            terms.append(bind(name, form, *parts[:k], [*map(ad.instantiate_zeros, moved[k])], *parts[k + 1 :]))
    along, direction = _direction(form.how, moved[-2])
    if any(along):
        terms.append(_by_values(name, form, parts, along, direction))
    if not terms:
        return found, _zeros(found)
    return found, [sum(of_one[1:], of_one[0]) for of_one in zip(*terms, strict=True)]


def _by_values(name: str, form: Form, parts: Sequence[Arrays], along: Mask, direction: Arrays) -> Results:
    """Differentiate `backward` and `tangent` by values; the others are refused."""
    if name == "backward":
        return bind("hessian", Form(form.how, along, form.asks), direction, *parts)
    if name == "tangent":
        return bind("bent", Form(form.how, form.moves, along), parts[0], direction, *parts[1:])
    raise NotImplementedError(THIRD)


# Transposes


def _transpose(name: str, cotangents: Arrays, *operands: Any, form: Form, **_: Any) -> Results:
    """Return the cotangents of the one part that is not known; None of others, and of zeros in it that stand for tangents."""
    parts = parts_of(name, form, operands)
    unknown = [k for k, part in enumerate(parts) if any(map(ad.is_undefined_primal, part))]
    if len(unknown) != 1 or unknown[0] >= len(LINEAR[name]):
        raise NotImplementedError(f"{name} is transposed by one of its parts {', '.join(LINEAR[name])}, and by no other")
    at, none = unknown[0], all(map(_is_zero, cotangents))
    found = [None] * len(parts[at]) if none else _transposed(name, LINEAR[name][at], cotangents, parts, form)
    asked = map(ad.is_undefined_primal, parts[at])
    made = [(ad.Zero(of.aval) if none else value) if ask else None for ask, value, of in zip(asked, found, parts[at], strict=True)]
    return [value for k, part in enumerate(parts) for value in (made if k == at else [None] * len(part))]


def _transposed(name: str, by: str, cotangents: Arrays, parts: Sequence[Arrays], form: Form) -> Results:
    """Return the cotangents of a part, with `cotangents` of what the primitive gives."""
    how, moves, asks, *before, values, saved = form.how, form.moves, form.asks, *parts
    if GIVES[name] == ("results",):
        filled = [ad.instantiate_zeros(value) for value in cotangents]
        if name == "tangent":
            return bind("backward", Form(how, asks=moves), filled, values, saved)
        if by == "gradients":
            return bind("twice", form, before[0], filled, values, saved)
        return bind("hessian", Form(how, asks, moves), before[1], filled, values, saved)
    asked = zip(full(cotangents, asks), _zeros(values), strict=True)
    along, direction = _direction(how, [zero if value is None else value for value, zero in asked])
    if name == "backward":
        return bind("tangent", Form(how, along), direction, values, saved)
    if by == "direction":
        return bind(OTHER[name], Form(how, along, moves), direction, before[1], values, saved)
    return bind("bent", Form(how, along, moves), direction, before[0], values, saved)


OTHER = {"hessian": "twice", "twice": "hessian"}  # each one's transpose by its direction

ad.primitive_jvps[PRIMITIVES["infer"]] = _infer_jvp
ad.primitive_jvps[PRIMITIVES["forward"]] = _forward_jvp
for _name in [name for name, parts in LINEAR.items() if parts]:
    ad.primitive_jvps[PRIMITIVES[_name]] = partial(_linear_jvp, _name)
    ad.primitive_transposes[PRIMITIVES[_name]] = partial(_transpose, _name)
