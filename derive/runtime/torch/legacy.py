"""The axis that `torch.autograd` maps itself, as in `torch.autograd.grad(…, is_grads_batched=True)`: not one of `torch.func.vmap`.

It has no rules for functions of one's own, and PyTorch no public way to what it wraps: so this uses what its own `_vmap_internals` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch


class _Elements(NamedTuple):
    """Those of a mapped axis."""

    each: Any


def is_mapped(value: Any) -> bool:
    """Say whether a tensor has such an axis."""
    return isinstance(value, torch.Tensor) and torch._C._functorch.is_legacy_batchedtensor(value)


def each(work: Callable[..., tuple[Any, ...]], groups: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """Return what `work` makes of lists of tensors, for each element of the innermost such axis."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    inner = [[_Elements(torch._remove_batch_dim(value, level, 1, 0)) if is_mapped(value) else value for value in group] for group in groups]
    times = next(len(value.each) for group in inner for value in group if isinstance(value, _Elements))
    found = []
    for k in range(times):
        found.append(work(*[[value.each[k] if isinstance(value, _Elements) else value for value in group] for group in inner]))
    stacked = [None if parts[0] is None else torch.stack(parts) for parts in zip(*found, strict=True)]
    return tuple([None if value is None else torch._add_batch_dim(value, 0, level) for value in stacked])
