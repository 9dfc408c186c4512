"""From tensors to tensors by a pass: nothing that autograd knows of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch

from . import light
from .legacy import each, is_mapped
from .passes import Maybe, Passes, Work


def computed(passes: Passes, work: Work, *groups: Sequence[Any], alike: Any = None) -> tuple[Any, ...]:
    """Return what a pass makes of lists of tensors; None stays.

    Parameters
    ----------
    passes : Passes
    work : callable
    *groups : lists of tensors
    alike : hashable, optional
        By what calls of the pass are known, if it may be done as a `light` one; then nothing may be mapped or traced.
    """
    if alike is not None and (found := lightly(passes, work, alike, groups)) is not None:
        return found
    array, tensor = passes.array, passes.tensor
    try:
        given = [[None if value is None else array(value) for value in group] for group in groups]
    except RuntimeError:
        if not any(map(is_mapped, chain(*groups))):
            raise
        return each(partial(computed, passes, work), groups)
    return tuple([None if value is None else tensor(value) for value in _run(work, given)])


def lightly(passes: Passes, work: Work, alike: Any, groups: Sequence[Sequence[Any]]) -> tuple[Any, ...] | None:
    """Return what a pass makes of lists of tensors, done as a `light` call, if it is one that is known; else None."""
    return None if is_watched() else light.done(passes, work, alike, groups)


def done_as_known(passes: Passes, name: Any, tensors: Sequence[Any]) -> tuple[Any, ...] | None:
    """Return the same of one list of tensors; what is not known is not noted either."""
    known = None if is_watched() else light.known(passes, name, tensors)
    return None if known is None else known(tensors)


def _run(work: Work, given: Sequence[Any]) -> Sequence[Maybe]:
    """Run a pass; a compiler that is at work on what calls it does not look into it."""
    if not is_watched():
        return work(*given)
    if not _HIDDEN:
        _HIDDEN.append(torch.compiler.disable(lambda work, given: work(*given)))
    return _HIDDEN[0](work, given)


_HIDDEN: list[Work] = []  # what calls a function where the compiler does not look


def is_watched() -> bool:
    """Say whether PyTorch's compiler looks at what is run: where it left a program to Python, it tries to compile what that calls."""
    frames = sys.modules.get("torch._C._dynamo.eval_frame")  # loading the compiler takes seconds, so it is not asked for
    if frames is None or "torch._dynamo" not in sys.modules:
        return False
    if torch.compiler.is_compiling():  # it is at work on this very function
        return True
    try:
        return frames.get_eval_frame_callback() is not None
    except AttributeError:  # other versions do not tell
        return True
