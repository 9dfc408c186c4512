"""`RNN`, `LSTM` and `GRU` in place of those of `torch.nn`.

They are subclasses, so arguments, weights and their names, initialisation and `state_dict` are PyTorch's own; what runs is ours.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..common.chosen import PACKAGE
from ..cpu.addresses import Running
from .devices import named
from .passes import Passes
from .precision import run_wide
from .stack import REVERSE, is_single, run_layers

CELLS = ("rnn", "rnn_relu", "lstm", "lstmp", "gru")


def _known() -> dict[tuple[str, bool, bool, bool, bool], Passes]:
    """Return the passes of all cells with the weights of PyTorch's layers that this package has: by name, biases, direction, whether states
    are given, and whether final states have an axis for layers.

    All at once, when they are imported: a compiler that looks through a layer finds them made.
    """
    modules = {(name, bias): f"{PACKAGE}.{name}_torch{'' if bias else '_nobias'}" for name in CELLS for bias in (True, False)}
    found = {key: module for key, module in modules.items() if importlib.util.find_spec(module)}
    ways = list(product((False, True), (False, True), (False, True)))
    return {(*key, *way): named(module, way[0], None, *way[1:]) for key, module in found.items() for way in ways}


PASSES = _known()


def passes(name: str, bias: bool, reverse: bool, starts: bool, single: bool = False) -> Passes:
    """Return the passes of a cell that computes what a layer of `torch.nn` does, from states that are given or from zero."""
    found = PASSES.get((name, bias, reverse, starts, single))
    if found is None:
        raise ungenerated(name, bias)
    return found


def ungenerated(name: str, bias: bool) -> ValueError:
    """Return the error that a cell is not in this package."""
    return ValueError(f"{PACKAGE} was generated without the cell `{name}_torch{'' if bias else '_nobias'}`")


class _Layer(nn.RNNBase):
    """What all three do."""

    lowered = True
    """Whether PyTorch's own has results of lower precision under `torch.autocast`."""

    def cell(self) -> str:
        """Return the name of the cell."""
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run the layer, as `torch.nn` describes it."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if input.dim() not in (2, 3):
            kind = " tensor" if isinstance(self, nn.RNN) else ""
            raise ValueError(f"{self._get_name()}: Expected input to be 2D or 3D, got {input.dim()}D{kind} instead")
        return self._padded(input, hx)

    def _padded(self, input: Tensor, hx: Any) -> tuple[Tensor, Any]:
        alone = input.dim() == 2
        states = self._states(hx)
        self._check_axes(states, "unbatched" if alone else "batched", input.dim())
        x = input.unsqueeze(1) if alone else input.transpose(0, 1) if self.batch_first else input
        states = None if states is None else tuple(value.unsqueeze(1) if alone else value for value in states)
        y, final = self._checked(x, states, None)
        if alone:
            return y.squeeze(1), self._as_given([value.squeeze(1) for value in final])
        return (y.transpose(0, 1) if self.batch_first else y), self._as_given(final)

    def _check_axes(self, states: tuple[Tensor, ...] | None, kind: str, axes: int) -> None:
        """Refuse states with a batch for an input without one, and the other way, in PyTorch's words."""
        if states is None or all(value.dim() == axes for value in states):
            return
        names = " and ".join(("hx", "cx")[: len(states)])
        got = f"{states[0].dim()}-D tensor" if len(states) == 1 else f"({', '.join(f'{value.dim()}-D' for value in states)}) tensors"
        raise RuntimeError(f"For {kind} {axes}-D input, {names} should also be {axes}-D but got {got}")

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """Run sequences of unequal length, the longest first, as they lie in a `PackedSequence`."""
        data, batch_sizes, order, back = packed
        states = self._states(hx)
        if states is not None and order is not None:
            states = tuple(value.index_select(1, order) for value in states)
        y, final = self._checked(data, states, batch_sizes)
        final = final if back is None else [value.index_select(1, back) for value in final]
        return PackedSequence(y, batch_sizes, order, back), self._as_given(final)

    def _states(self, hx: Any) -> tuple[Tensor, ...] | None:
        return None if hx is None else hx if isinstance(hx, tuple) else (hx,)

    def _as_given(self, final: Any) -> Any:
        """Return final states as `torch.nn` does: h alone, or h and c."""
        return final[0]

    def _checked(self, x: Tensor, states: Any, batch_sizes: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Run `x`, `(T, B, ·)` or as packed rows, from states `(layers, B, ·)`; return the output, and the final states, likewise."""
        as_given = x.transpose(0, 1) if self.batch_first and batch_sizes is None else x
        if states is None:
            self.check_input(as_given, batch_sizes)
        else:
            self.check_forward_args(as_given, self._as_given(states), batch_sizes)
        return self._layers(x, states, None if batch_sizes is None else Running(batch_sizes.numpy()))

    def _layers(self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Running | None) -> tuple[Tensor, list[Tensor]]:
        name, names, single = self.cell(), _weights(self), is_single(self.num_layers, self.bidirectional)

        def call(place: str, row: int, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
            how = passes(name, self.bias, place.endswith(REVERSE), states is not None, single)
            how = how if lengths is None else replace(how, lengths=lengths)
            before = [value[row] for value in states[::-1]] if states else []  # c, then h
            y, *final = run_wide(how, given, [getattr(self, f"{weight}{place}") for weight in names], before, lowered=self.lowered)
            return y, *final[::-1]

        options = {"bidirectional": self.bidirectional, "dropout": self.dropout, "training": self.training}
        return run_layers(call, [x], self.num_layers, **options)


def _weights(layer: nn.RNNBase) -> list[str]:
    return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else []), *(["weight_hr"] if layer.proj_size else [])]


class RNN(_Layer, nn.RNN):
    """`torch.nn.RNN`."""

    def cell(self) -> str:
        return "rnn" if self.nonlinearity == "tanh" else "rnn_relu"


class GRU(_Layer, nn.GRU):
    """`torch.nn.GRU`."""

    lowered = False

    def cell(self) -> str:
        return "gru"


class LSTM(_Layer, nn.LSTM):
    """`torch.nn.LSTM`."""

    def cell(self) -> str:
        return "lstmp" if self.proj_size else "lstm"

    def _states(self, hx: Any) -> tuple[Tensor, ...] | None:
        return None if hx is None else tuple(hx)

    def _as_given(self, final: Any) -> Any:
        return tuple(final)
