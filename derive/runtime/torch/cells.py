"""`RNNCell`, `LSTMCell` and `GRUCell` in place of those of `torch.nn`: one step at a time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .drop_in import passes
from .precision import run_wide


class _Cell(nn.RNNCellBase):
    """What all three do."""

    lowered = False
    """Whether PyTorch's own has results of lower precision under `torch.autocast`."""

    def cell(self) -> str:
        """Return the name of the cell."""
        raise NotImplementedError

    def _step(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the states after a step, h first, of `x` `(B, ·)`."""
        weights = [self.weight_ih, self.weight_hh, *([self.bias_ih, self.bias_hh] if self.bias else [])]
        _, *final = run_wide(passes(self.cell(), self.bias, False, True), [x.unsqueeze(0)], weights, states[::-1], lowered=self.lowered)
        return tuple(final[::-1])

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return the states after a step: h, or h and c."""
        if self.hidden_size == 0:
            return super().forward(input, hx)  # PyTorch's: there is nothing to compute
        return self._as_given(self._checked(input, self._states(hx)))

    def _states(self, hx: Any) -> tuple[Tensor | None, ...]:
        return (hx,)

    def _as_given(self, states: tuple[Tensor, ...]) -> Any:
        """Return states as `torch.nn` does: h alone, or h and c."""
        return states[0]

    def _checked(self, x: Tensor, states: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        """Check the arguments as `torch.nn` does, and make a step."""
        kind = self._get_name()
        if x.dim() not in (1, 2):
            raise ValueError(f"{kind}: Expected input to be 1D or 2D, got {x.dim()}D instead")
        for k, value in enumerate(states):
            if value is not None and value.dim() not in (1, 2):
                name = f"hx[{k}]" if len(states) == 2 else "hidden"
                raise ValueError(f"{kind}: Expected {name} to be 1D or 2D, got {value.dim()}D instead")
        alone = x.dim() == 1
        rows = x.unsqueeze(0) if alone else x
        given = [rows.new_zeros(len(rows), self.hidden_size) if v is None else v.unsqueeze(0) if alone else v for v in states]
        self._check(rows, given)
        after = self._step(rows, tuple(given))
        return tuple([value.squeeze(0) for value in after]) if alone else after

    def _check(self, x: Tensor, states: list[Tensor]) -> None:
        if x.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        for k, value in enumerate(states):
            if value.shape[0] != len(x):
                raise RuntimeError(f"Input batch size {len(x)} doesn't match hidden{k} batch size {value.shape[0]}")
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

    def _states(self, hx: Any) -> tuple[Tensor | None, ...]:
        return (None, None) if hx is None else tuple(hx)

    def _as_given(self, states: tuple[Tensor, ...]) -> Any:
        return states
