"""Second derivatives of a cell whose module has first ones alone: PyTorch replays its steps, from the values, and differentiates them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .passes import Arrays, Maybe, Passes, floating, summed

STEPS = "runtime.torch.steps"  # of a package: a module for each such cell
Found = list[Tensor | None]


def second(passes: Passes) -> Passes | Replay:
    """Return what computes second derivatives: the module's own passes, or a replay."""
    return passes if passes.module.LAYER.links else Replay(passes)


def check_replay(module: ModuleType) -> None:
    """Refuse a module whose step cannot be replayed; one of second order need not be.

    Raises
    ------
    ValueError
    """
    if not module.LAYER.links:
        _steps(module.__name__)


@lru_cache(maxsize=256)
def _steps(name: str) -> ModuleType:
    """Return the step, in PyTorch, of a module of this name, for the CPU or for devices."""
    package, _, cell = name.rpartition(".")
    package = package.removesuffix(".cuda")
    try:
        return importlib.import_module(f"{package}.{STEPS}.{cell}")
    except ModuleNotFoundError:
        raise ValueError(
            f"{cell}: replay=True needs its step in PyTorch, and `{package}` has none: `derive generate` writes a package that has,"
            " for cells whose gradients are those of their values, and `layer(…, order=2)` compiles second derivatives in its place"
        ) from None


@dataclass(frozen=True)
class Replay:
    """What `Passes` computes of second order, by PyTorch. All of it comes from Σ ⟨direction, gradients⟩ and its own gradients.

    Attributes
    ----------
    passes : Passes
        The layer; unless it is to be replayed, whoever asks is told how to get an answer.
    """

    passes: Passes

    def twice(self, u: Arrays, cotangents: Arrays, values: Arrays, saved: Arrays, kept: Arrays) -> list[Maybe]:
        """As `Passes.twice`."""
        _, by_cotangents, by_values = self._paired(u, cotangents, values)
        return self._arrays([*by_cotangents, *by_values])

    def tangent(self, tangents: Arrays, values: Arrays, saved: Arrays) -> list[Maybe]:
        """As `Passes.tangent`: ⟨tangents, gradients⟩ is linear in the cotangents, and what it multiplies them by are the derivatives."""
        return self._arrays(self._paired(tangents, [None] * self.passes.results, values)[1])

    def transposed(self, cotangents: Arrays, tangents: Arrays, values: Arrays, saved: Arrays) -> list[Maybe]:
        """As `Passes.transposed`."""
        grads, _, by_values = self._paired(tangents, cotangents, values)
        return self._arrays([*grads, *by_values])

    def along(self, moved: Arrays, tangents: Arrays, cotangents: Arrays, values: Arrays, saved: Arrays) -> list[Maybe]:
        """As `Passes.along`: a Hessian is its own transpose."""
        if all(tangent is None for tangent in tangents):
            return self.passes.backward(moved, values, saved)
        found = self._arrays(self._paired(tangents, cotangents, values)[2])
        rest = [None] * len(found) if all(value is None for value in moved) else self.passes.backward(moved, values, saved)
        return [summed(a, b) for a, b in zip(found, rest, strict=True)]

    # Derivatives

    def _paired(self, direction: Arrays, cotangents: Arrays, values: Arrays) -> tuple[Found, Found, Found]:
        """Return the gradients, and those of Σ ⟨direction, gradients⟩ by cotangents and by values; None by what gets none."""
        step = self._step()
        free = [name not in step.FIXED for name in self._names()]
        at = [self._tensor(value).requires_grad_(moves) for value, moves in zip(values, free, strict=True)]
        along = [self._tensor(value) for value, moves in zip(direction, free, strict=True) if moves]
        leaves = [value for value in at if value.requires_grad]
        with torch.enable_grad(), torch.autocast(at[0].device.type, enabled=False):
            results = self._run(step.step, at)
            given = zip(cotangents, results, strict=True)
            weights = [(torch.zeros_like(of) if value is None else self._tensor(value)).requires_grad_() for value, of in given]
            grads = _grad(results, leaves, weights)
            found = _grad(grads, [*weights, *leaves], along)
        return _placed(grads, free), found[: len(weights)], _placed(found[len(weights) :], free)

    def _step(self) -> ModuleType:
        module = self.passes.module
        if not self.passes.replay:
            raise NotImplementedError(
                f"{module.LAYER.name}: this module was generated without second order: `derive generate --order 2` makes one with it,"
                " `layer(…, order=2)` compiles one where `derive` is installed, and `layer(…, replay=True)` replays the steps in PyTorch"
            )
        return _steps(module.__name__)

    # The layer, in PyTorch

    def _run(self, step: Any, values: Sequence[Tensor]) -> list[Tensor]:
        """Return output and final states, by a loop over time."""
        passes = self.passes
        parts: Any = passes.split(values)
        given, weights, before = parts
        over_time = len(passes.module.LAYER.inputs)
        inputs, contexts = given[:over_time], given[over_time:]
        sizes, steps, batch = passes.extent(values)
        states = list(before) if passes.starts else passes.first(values)
        outputs: dict[int, Tensor] = {}
        for t in reversed(range(steps)) if passes.reverse else range(steps):
            rows = self._rows(t, batch, values)
            now = [value[t][rows] for value in inputs] + [value[rows] for value in (*contexts, *states)]
            y, after = step(*now, *weights)
            whole = len(y) == batch
            outputs[t] = y if whole else y.new_zeros((batch, *y.shape[1:])).index_put((rows,), y)
            states = list(after) if whole else [a.index_put((rows,), b) for a, b in zip(states, after, strict=True)]
        shape, like = passes.module.LAYER.shape(passes.module.LAYER.output, sizes), floating(values)
        found = torch.stack([outputs[t] for t in range(steps)]) if steps else like.new_zeros((0, batch, *shape))
        return [found, *[value[None] if passes.single else value for value in states]]

    def _rows(self, t: int, batch: int, values: Sequence[Tensor]) -> Any:
        """Return which sequences have a step."""
        if self.passes.lengths is None:
            return slice(None)
        return (torch.as_tensor(self.passes.lengths, device=values[0].device) > t).nonzero()[:, 0]

    # Arrays and tensors

    def _names(self) -> list[str]:
        """Return what values are called; a state has no name that something else has."""
        module = self.passes.module
        return [*module.Inputs._fields, *module.Params._fields, *([""] * len(module.State._fields) if self.passes.starts else ())]

    def _tensor(self, value: Any) -> Any:
        return None if value is None else self.passes.tensor(value).detach()

    def _arrays(self, found: Sequence[Tensor | None]) -> list[Maybe]:
        return [None if value is None else self.passes.array(value) for value in found]


def _placed(found: Found, free: Sequence[bool]) -> Found:
    """Return gradients by all values, of those by what has one."""
    each = iter(found)
    return [next(each) if moves else None for moves in free]


def _grad(outputs: Sequence[Any], leaves: Sequence[Tensor], weights: Sequence[Any]) -> Found:
    """Return the gradients of Σ ⟨weights, outputs⟩, to be differentiated again; zero where nothing hangs on a leaf."""
    pairs = [(of, by) for of, by in zip(outputs, weights, strict=True) if of is not None and by is not None and of.requires_grad]
    if not pairs or not leaves:
        return [torch.zeros_like(leaf) for leaf in leaves]
    of, by = zip(*pairs, strict=True)
    found = torch.autograd.grad(of, leaves, by, create_graph=True, materialize_grads=True)
    return list(found)
