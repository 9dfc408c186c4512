"""From tensors to tensors by a pass: nothing that autograd knows of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch

from .legacy import each, is_mapped
from .passes import Maybe, Passes

Work = Callable[..., Sequence[Maybe]]


def computed(passes: Passes, work: Work, *groups: Sequence[Any]) -> tuple[Any, ...]:
    """Return what a pass makes of lists of tensors; None stays."""
    array, tensor = passes.array, passes.tensor
    try:
        given = [[None if value is None else array(value) for value in group] for group in groups]
    except RuntimeError:
        if not any(map(is_mapped, chain(*groups))):
            raise
        return each(partial(computed, passes, work), groups)
    return tuple([None if value is None else tensor(value) for value in _run(work, given)])


def _run(work: Work, given: Sequence[Any]) -> Sequence[Maybe]:
    """Run a pass; a compiler that is at work on what calls it does not look into it."""
    if "torch._dynamo" not in sys.modules:  # loading it takes seconds, so it is not asked for
        return work(*given)
    if not _HIDDEN:
        _HIDDEN.append(torch.compiler.disable(lambda work, given: work(*given)))
    return _HIDDEN[0](work, given)


_HIDDEN: list[Work] = []  # what calls a function where the compiler does not look
