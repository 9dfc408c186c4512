"""What autograd knows of a layer: functions of tensors, each with its derivative, its tangent, and its rule for a mapped axis.

    Forward      values                                    → results, saved
    Backward     cotangents, values, saved                 → gradients, kept        what Forward's backward is
    Twice        u, cotangents, values, saved, kept        → gradients of ⟨u, gradients⟩        what Backward's backward is
    Tangent      tangents, values, saved                   → tangents of results        what Forward's forward mode is
    Transposed   cotangents, tangents, values, saved       → gradients of ⟨cotangents, tangents of results⟩        Tangent's backward
    Along        tangents of cotangents and values, …      → tangents of gradients        what Backward's forward mode is

A list of tensors has None where there is none. Saved and kept arrays are constants to autograd: derivatives by values cover what hangs on
them. A third derivative is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.autograd import Function, forward_ad

from ..common.asked import of_values
from . import held, light, operators
from .computed import computed, done_as_known, is_watched, lightly
from .devices import flipped, is_on_device, on_device
from .onestep import StepPasses
from .passes import Passes
from .replay import second
from .spans import run_spans

Tensors = Sequence[Any]
COMPILED = "in compiled code a recurrent layer has neither forward mode nor the transformations of torch.func: compile what is inside"
UNEQUAL = "on a CUDA device, sequences of unequal length are not taken in compiled code: their lengths say how often kernels are launched"
WORTH = 1 << 16  # numbers of the cotangents; where there are fewer, gradients cost less than the 20 µs in which PyTorch tells of a leaf
INFER, FORWARD, BACKWARD = "infer", "forward", "backward"
THIRD = "a third derivative of a recurrent layer is not offered: its kernels go to the second order"


def run(passes: Passes, values: Tensors) -> tuple[Any, ...]:
    """Return output and final states of a layer, to be differentiated if any value is."""
    compiling, whole, there = torch.compiler.is_compiling(), passes.lengths is None, is_on_device(values)
    if isinstance(passes, StepPasses) and (compiling or there):  # what PyTorch compiles, and what a device has, are steps over time
        return run(passes.over_time, passes.timed(values))[1:]
    if not there:
        return _either_way(passes, values, reverse=passes.reverse) if whole and not compiling else _run_on(passes, values)
    if whole:
        return _run_there(passes, values)
    if compiling:
        raise NotImplementedError(UNEQUAL)
    return run_spans(_run_there, passes, values)


def run_known(passes: Passes, values: Tensors) -> tuple[Any, ...] | None:
    """Return what `run` returns, if it is a light call that is known; else None. Who asks need not have checked shapes."""
    if torch.compiler.is_compiling() or transformed() or is_watched():
        return None
    if not _is_differentiated(values):
        return done_as_known(passes, INFER, values)
    known = light.known(passes, FORWARD, values)
    return None if known is None else _straight(passes, known, *map(torch._C._functorch.unwrap_if_dead, values))


def _run_there(passes: Passes, values: Tensors) -> tuple[Any, ...]:
    """Return the results of a device's kernels, which run all steps of all sequences."""
    return _either_way(on_device(passes), values, reverse=passes.reverse)


def _either_way(passes: Passes, values: Tensors, *, reverse: bool) -> tuple[Any, ...]:
    """Return the results of passes that run from the first step to the last, in `reverse` on steps in the other order."""
    if not reverse:
        return _run_on(passes, values)
    y, *final = _run_on(passes.onward, flipped(passes, values))
    return y.flip(0), *final


def _run_on(passes: Passes, values: Tensors) -> tuple[Any, ...]:
    if torch.compiler.is_compiling():
        if transformed():
            raise NotImplementedError(COMPILED)
        return operators.run(passes, values)
    if not transformed():
        if not _is_differentiated(values):
            return _promised(passes, values) if held.PROMISES else computed(passes, passes.infer, values, alike=INFER)
        found: tuple[Any, ...] = Straight.apply(passes, None, *values)
        return found
    return Forward.apply(_plain(passes), *values)[: passes.results]


def _is_differentiated(values: Tensors) -> bool:
    return torch.is_grad_enabled() and any([value.requires_grad for value in values])


def _promised(passes: Passes, values: Tensors) -> tuple[Any, ...]:
    """Return the results without a graph, by weights that are packed already where that was promised; a light call packs them sooner."""
    given, weights, state = _parted(values, passes.given, passes.weights)
    packed = held.promised(passes, weights) if passes.packs else None
    if packed is None:
        return computed(passes, passes.infer, values, alike=INFER)
    found = lightly(passes, passes.infer, INFER, (values,))
    return computed(passes, partial(passes.infer_packed, packed), given, state) if found is None else found


def transformed() -> bool:
    """Say whether more than `backward` may ask for derivatives: a transformation of `torch.func`, or forward mode."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _plain(passes: Passes) -> Passes:
    """Return the same, but so that what the backward pass keeps is no result of a function: it would be mapped and stacked."""
    return replace(passes, keep=False)


def _parted(values: Tensors, *counts: int) -> list[Tensors]:
    """Return so many of the values, so many of the next, and so on; and the rest."""
    found, start = list[Tensors](), 0
    for count in counts:
        found.append(values[start : start + count])
        start += count
    return [*found, values[start:]]


def _remember(ctx: Any, passes: Passes, *groups: Tensors) -> None:
    """Keep tensors for a function's derivatives: PyTorch sees to it that nobody alters them, and lets go of them in time."""
    values = [value for group in groups for value in group]
    ctx.passes = passes
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*values)
    if transformed():  # forward mode
        ctx.save_for_forward(*values)


def _where(given: Tensors, found: Tensors) -> list[Any]:
    """Return gradients by what was given, and no others."""
    return [None if value is None else grad for value, grad in zip(given, found, strict=False)]


def _nothing(values: Tensors) -> list[Any]:
    """Return what stands for gradients by values that are `Fixed`: nobody reads it, one who would is refused."""
    return [None if value is None else value.detach() for value in values]


# Functions


class _Mapped(Function):
    """A function that is called for each element of a mapped axis."""

    @classmethod
    def vmap(cls, info: Any, axes: Sequence[int | None], *given: Any) -> Any:
        def picked(k: int) -> list[Any]:
            return [value if axis is None else value.select(axis, k) for value, axis in zip(given, axes, strict=True)]

        found = [cls.apply(*picked(k)) for k in range(info.batch_size)]
        stacked = tuple([None if parts[0] is None else torch.stack(parts) for parts in zip(*found, strict=True)])
        return stacked, tuple([None if value is None else 0 for value in stacked])


class Fixed(_Mapped):
    """Values by which a second derivative is not differentiated again."""

    @staticmethod
    def forward(*values: Any) -> tuple[Any, ...]:
        return tuple([None if value is None else value.view_as(value) for value in values])

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise NotImplementedError(THIRD)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(THIRD)

    @classmethod
    def vmap(cls, info: Any, axes: Sequence[int | None], *given: Any) -> Any:
        return cls.apply(*given), tuple(axes)


class _Linear(_Mapped):
    """A second derivative: it is linear in a direction, its first tensors, by which alone it is differentiated again."""

    @classmethod
    def counts(cls, passes: Passes) -> tuple[int, int]:
        """Return of how many tensors the direction is, and of how many what it is taken at: the rest is what was kept."""
        raise NotImplementedError

    @classmethod
    def transpose(cls) -> type[_Linear]:
        """Return the function that is its transpose, at the same place."""
        raise NotImplementedError

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        _remember(ctx, inputs[0], inputs[1:])

    @classmethod
    def backward(cls, ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        passes = ctx.passes
        direction, at, kept = _parted(ctx.saved_tensors, *cls.counts(passes))
        found = cls.transpose().apply(passes, *cotangents, *Fixed.apply(*at))
        return None, *_where(direction, found), *_nothing(at), *[None] * len(kept)

    @classmethod
    def jvp(cls, ctx: Any, _: Any, *tangents: Any) -> Any:
        count, _at = cls.counts(ctx.passes)
        return cls.apply(ctx.passes, *tangents[:count], *ctx.saved_tensors[count : len(tangents)])


class Twice(_Linear):
    @classmethod
    def counts(cls, passes: Passes) -> tuple[int, int]:
        return passes.values, passes.results + passes.values + passes.saved

    @classmethod
    def transpose(cls) -> type[_Linear]:
        return Along

    @staticmethod
    def forward(passes: Passes, *given: Any) -> tuple[Any, ...]:
        return computed(passes, second(passes).twice, *_parted(given, passes.values, passes.results, passes.values, passes.saved))


class Along(_Linear):
    @classmethod
    def counts(cls, passes: Passes) -> tuple[int, int]:
        return passes.results + passes.values, passes.results + passes.values + passes.saved

    @classmethod
    def transpose(cls) -> type[_Linear]:
        return Twice  # what the backward pass keeps is made again

    @staticmethod
    def forward(passes: Passes, *given: Any) -> tuple[Any, ...]:
        return computed(passes, second(passes).along, *_parted(given, passes.results, passes.values, passes.results, passes.values))


class Transposed(_Mapped):
    @staticmethod
    def forward(passes: Passes, *given: Any) -> tuple[Any, ...]:
        return computed(passes, second(passes).transposed, *_parted(given, passes.results, passes.values, passes.values))

    setup_context, backward, jvp = Fixed.setup_context, Fixed.backward, Fixed.jvp


class Backward(_Mapped):
    @staticmethod
    def forward(passes: Passes, asked: Sequence[str] | None, *given: Any) -> tuple[Any, ...]:
        return computed(passes, partial(passes.backward_kept, asked=asked), *_parted(given, passes.results, passes.values))

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        passes, _, *given = inputs
        kept = output[passes.values :]
        ctx.mark_non_differentiable(*kept)
        _remember(ctx, passes, given, kept)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        passes, given = ctx.passes, ctx.saved_tensors
        passes = passes if transformed() or ctx.needs_input_grad[2] else replace(passes, by_dy=False)
        found = Twice.apply(passes, *cotangents[: passes.values], *Fixed.apply(*given))
        return None, None, *_where(given, found), *[None] * passes.saved

    @staticmethod
    def jvp(ctx: Any, _passes: Any, _asked: Any, *tangents: Any) -> tuple[Any, ...]:
        passes, given = ctx.passes, ctx.saved_tensors[: len(tangents)]
        found = Along.apply(passes, *tangents[: passes.results + passes.values], *Fixed.apply(*given))
        return *found, *[None] * passes.kept


class Tangent(_Mapped):
    @staticmethod
    def forward(passes: Passes, *given: Any) -> tuple[Any, ...]:
        return computed(passes, second(passes).tangent, *_parted(given, passes.values, passes.values))

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        _remember(ctx, inputs[0], inputs[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        passes, given = ctx.passes, ctx.saved_tensors
        return None, *_where(given, Transposed.apply(passes, *cotangents, *given)), *[None] * passes.saved

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError("forward mode of forward mode is not offered for a recurrent layer: take one of both in reverse")


def _backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
    """Return the gradients of a layer by its values: by a function that can be differentiated again, or by none."""
    passes, given = ctx.passes, (*cotangents[: ctx.passes.results], *ctx.saved_tensors)
    if transformed():
        return Backward.apply(passes, None, *given)[: passes.values]
    needed, again = _needed(ctx, cotangents), torch.is_grad_enabled()
    found = None if again else done_as_known(passes, (BACKWARD, *needed), given)
    if found is not None:
        return found
    asked = of_values(passes.module.LAYER, needed)
    if again:
        return Backward.apply(passes, asked, *given)[: passes.values]
    groups = _parted(given, passes.results, passes.values)
    return computed(passes, partial(passes.backward, asked=asked), *groups, alike=(BACKWARD, *needed))


def _needed(ctx: Any, cotangents: Tensors) -> Sequence[bool]:
    """Return by which values the pass at work wants gradients; by all weights, if by any, since one product makes those of several."""
    if sum(cotangent.numel() for cotangent in cotangents if cotangent is not None) < WORTH:
        needs: Sequence[bool] = ctx.needs_input_grad[-ctx.passes.values :]
        return needs
    given, weights, states = _parted([node for node, _ in ctx.next_functions], ctx.passes.given, ctx.passes.weights)
    params, others = any(map(_is_reached, weights)), [node for node in (*given, *states) if node is not None]
    certain = not params and len(others) == 1  # the pass goes on to something, or it would not run
    return [*(_is_reached(node, certain) for node in given), *[params] * len(weights), *(_is_reached(node, certain) for node in states)]


def _is_reached(node: Any, certain: bool = False) -> bool:
    """Say whether the pass at work goes on to a node, the one by which a value came to be; a value that is a constant has none."""
    try:
        return node is not None and (certain or torch._C._will_engine_execute_node(node))
    except RuntimeError:  # the node of a leaf that `autograd.grad` was asked for is not run, and PyTorch would rather not say
        return True


class Straight(Function):
    """A layer where nothing but `backward` asks for derivatives: what is saved is no result."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, known: light.Known | None, *values: Any) -> tuple[Any, ...]:
        passes = passes.sized(values)
        found = None if known is None else known(values)
        if found is None:
            found = computed(passes, passes.forward, values, alike=FORWARD)
        _remember(ctx, passes, values, found[passes.results :])
        return found[: passes.results]

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        return None, None, *_backward(ctx, *cotangents)


_straight = super(Function, Straight).apply  # without what PyTorch's looks at for compilers and transformations: a tenth of a small step


class Forward(_Mapped):
    @staticmethod
    def forward(passes: Passes, *values: Any) -> tuple[Any, ...]:
        return computed(passes, passes.forward, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensors) -> None:
        passes, *values = inputs
        saved = output[passes.results :]
        ctx.mark_non_differentiable(*saved)
        _remember(ctx, passes, values, saved)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        return None, *_backward(ctx, *cotangents)

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Any) -> tuple[Any, ...]:
        return *Tangent.apply(ctx.passes, *tangents, *ctx.saved_tensors), *[None] * ctx.passes.saved

    @classmethod
    def vmap(cls, info: Any, axes: Sequence[int | None], *given: Any) -> tuple[tuple[Any, ...], tuple[int | None, ...]]:
        """Where weights are not mapped, all elements are one larger batch."""
        (passes, *values), (_, *mapped), times = given, axes, info.batch_size
        own = passes.axes_of_values
        if not passes.foldable or any(axis is not None for axis, of in zip(mapped, own, strict=True) if of is None):
            return super().vmap(info, axes, *given)
        folded = [value if of is None else _fold(value, axis, of, times) for value, axis, of in zip(values, mapped, own, strict=True)]
        found = cls.apply(passes.repeated(times), *folded)
        of_found = (*passes.axes_of_results, *[1] * passes.saved)
        return tuple([value.unflatten(axis, (times, -1)) for value, axis in zip(found, of_found, strict=True)]), of_found


def _fold(value: Any, mapped: int | None, axis: int, times: int) -> Any:
    """Return a value with its mapped axis, or so many copies of it, as part of its `axis`."""
    value = value.unsqueeze(axis).expand(*value.shape[:axis], times, *value.shape[axis:]) if mapped is None else value.movedim(mapped, axis)
    return value.flatten(axis, axis + 1)
