"""In what precision a layer computes: float32 where its tensors have less, and what comes out has their dtype again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .devices import is_on_device
from .functions import run
from .passes import Passes

NARROW = torch.bfloat16


def run_wide(
    passes: Passes, inputs: Sequence[Tensor], weights: Sequence[Tensor], states: Sequence[Tensor], *, lowered: bool = False
) -> tuple[Tensor, ...]:
    """Return output and final states of a layer; those of bfloat16 tensors, and under `torch.autocast`, are computed in
    float32 on the CPU; a device's kernels take what has 16 bits.

    Parameters
    ----------
    lowered : bool
        Whether results under `torch.autocast` have its dtype, and not that of the inputs: so it is with some layers of `torch.nn`.
    """
    values, dtype = [*inputs, *weights, *states], inputs[0].dtype if inputs else weights[0].dtype
    on_cpu, on_device = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
    if (on_cpu or on_device or dtype == NARROW) and is_on_device(values):
        return run(passes, _lowered(values) if on_device else values)
    if on_cpu or dtype == NARROW:
        values = [value.float() if value.dtype == NARROW else value for value in values]
    if on_cpu and lowered and dtype == torch.float32:
        dtype = torch.get_autocast_dtype("cpu")
    found = run(passes, values)
    return tuple([value.to(dtype) for value in found]) if found[0].dtype != dtype else found


def _lowered(values: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors on a device as `torch.autocast` has them there: kernels take what has 16 bits."""
    narrow = torch.get_autocast_dtype("cuda")
    return [value.to(narrow) if value.is_floating_point() else value for value in values]
