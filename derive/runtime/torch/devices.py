"""Layers whose tensors lie on a CUDA device: the kernels for it, on PyTorch's current stream."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .passes import Arrays, Passes

FOLDER = "cuda"


def is_on_device(values: Sequence[Any]) -> bool:
    """Say whether tensors lie on a CUDA device; one that is there alone is refused by the kernels."""
    return any([value is not None and value.is_cuda for value in values])


class DevicePasses(Passes):
    """The passes of a module for CUDA devices: it takes tensors, and gives tensors."""

    packs = False  # what was packed on one stream may not be there yet for another

    def array(self, value: Any) -> Any:
        return (value.detach() if value.requires_grad else value).contiguous()

    def tensor(self, value: Any) -> Tensor:
        found: Tensor = value
        return found

    def pool(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def zeros(self, shape: tuple[int, ...], like: Any) -> Any:
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def _options(self) -> dict[str, Any]:
        return {}

    def _keeping(self) -> dict[str, Any]:
        return {}

    def _taped(self, inputs: Any, params: Any, state: Any, saved: Arrays, steps: int) -> Any:
        return self.module.Tape(inputs, params, state, self.module.Saved(*saved), steps, False)


def on_device(passes: Passes) -> Passes:
    """Return the passes of the same cell for devices, for sequences of one length, from the first step to the last.

    Raises
    ------
    ValueError
        If there are none.
    """
    package, _, name = passes.module.__name__.rpartition(".")
    if importlib.util.find_spec(f"{package}.{FOLDER}") is None:
        raise ValueError(f"{name}: its package has no kernels for CUDA devices: `derive generate` writes one that has")
    module = importlib.import_module(f"{package}.{FOLDER}.{name}")
    same = {name: getattr(passes, name) for name in ("steps", "starts", "single", "keep", "replay")}
    return DevicePasses(module, **same)


def flipped(passes: Passes, values: Sequence[Tensor]) -> list[Tensor]:
    """Return values with the steps of all inputs in the other order."""
    over_time = len(passes.module.LAYER.inputs)
    return [value.flip(0) if k < over_time else value for k, value in enumerate(values)]


@lru_cache(maxsize=256)
def named(key: str, reverse: bool = False, steps: int | None = None, starts: bool = True, single: bool = False) -> Passes:
    """Return the passes of a generated module, for the CPU or for devices, by its name."""
    kind = DevicePasses if key.split(".")[-2:-1] == [FOLDER] else Passes
    return kind(importlib.import_module(key), reverse=reverse, steps=steps, starts=starts, single=single)
