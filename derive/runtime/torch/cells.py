"""`RNNCell`, `LSTMCell` and `GRUCell` in place of those of `torch.nn`: one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .drop_in import PASSES, ungenerated
from .functions import run_known
from .onestep import StepPasses
from .precision import run_wide

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
STEPS = {
    (name, bias, starts): StepPasses(found.module, starts=starts)
    for (name, bias, reverse, starts, single), found in PASSES.items()
    if not (reverse or single)
}
"""By the cell, whether it has biases, and whether states are given."""


class _Cell(nn.RNNCellBase):
    """What all three do."""

    lowered = False
    """Whether PyTorch's own has results of lower precision under `torch.autocast`."""

    def cell(self) -> str:
        """Return the name of the cell."""
        raise NotImplementedError

    def _step(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the states after a step, h first, of `x` `(B, ·)`; where there are none before it, they are zero."""
        how = STEPS.get((self.cell(), self.bias, bool(states)))
        if how is None:
            raise ungenerated(self.cell(), self.bias)
        return run_wide(how, [x], self._weights(), states[::-1], lowered=self.lowered)[::-1]

    def _weights(self) -> list[Any]:
        names, own = WEIGHTS if self.bias else WEIGHTS[:2], self._parameters
        try:
            return [own[name] for name in names]  # to ask the module for them takes a tenth of a step
        except KeyError:  # one that is computed
            return [getattr(self, name) for name in names]

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return the states after a step: h, or h and c."""
        if self.hidden_size == 0:
            return super().forward(input, hx)  # PyTorch's: there is nothing to compute
        states = self._states(hx)
        found = self._known(input, states)
        return self._as_given(self._checked(input, states) if found is None else found)

    def _known(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
        """Return the states after a step if steps like it are known: to look at its arguments takes as long as to make it."""
        how = STEPS.get((self.cell(), self.bias, bool(states)))
        if how is None or torch.is_autocast_enabled("cpu"):
            return None
        found = run_known(how, [x, *self._weights(), *states[::-1]])
        return None if found is None else found[::-1]

    def _states(self, hx: Any) -> tuple[Tensor, ...]:
        return () if hx is None else (hx,)

    def _as_given(self, states: tuple[Tensor, ...]) -> Any:
        """Return states as `torch.nn` does: h alone, or h and c."""
        return states[0]

    def _checked(self, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Check the arguments as `torch.nn` does, and make a step."""
        axes = x.dim()
        if axes not in (1, 2):
            raise ValueError(f"{self._get_name()}: Expected input to be 1D or 2D, got {axes}D instead")
        for k, value in enumerate(states):
            if value.dim() not in (1, 2):
                name = f"hx[{k}]" if len(states) == 2 else "hidden"
                raise ValueError(f"{self._get_name()}: Expected {name} to be 1D or 2D, got {value.dim()}D instead")
        if axes == 2:
            self._check(x, states)
            return self._step(x, states)
        x, states = x.unsqueeze(0), [value.unsqueeze(0) for value in states]
        self._check(x, states)
        return tuple([value.squeeze(0) for value in self._step(x, states)])

    def _check(self, x: Tensor, states: Sequence[Tensor]) -> None:
        batch, size = x.shape
        if size != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {size} expected {self.input_size}")
        for k, value in enumerate(states):
            if value.shape[0] != batch:
                raise RuntimeError(f"Input batch size {batch} doesn't match hidden{k} batch size {value.shape[0]}")
            if value.shape[1] != self.hidden_size:
                raise RuntimeError(f"hidden{k} has inconsistent hidden_size: got {value.shape[1]}, expected {self.hidden_size}")


class RNNCell(_Cell, nn.RNNCell):
    """`torch.nn.RNNCell`."""

    lowered = True

    def cell(self) -> str:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return "rnn" if self.nonlinearity == "tanh" else "rnn_relu"


class GRUCell(_Cell, nn.GRUCell):
    """`torch.nn.GRUCell`."""

    def cell(self) -> str:
        return "gru"


class LSTMCell(_Cell, nn.LSTMCell):
    """`torch.nn.LSTMCell`."""

    def cell(self) -> str:
        return "lstm"

    def _states(self, hx: Any) -> tuple[Tensor, ...]:
        return () if hx is None else tuple(hx)

    def _as_given(self, states: tuple[Tensor, ...]) -> Any:
        return states
