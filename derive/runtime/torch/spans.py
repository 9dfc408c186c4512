"""Sequences of unequal length on a CUDA device, whose kernels have one length for all: a layer is run span by span.

A span has the steps between one length that occurs and the next. The sequences that are longer run it, from the states that the span
before has left; in reverse, where the last span is the first, those that end with it join, with the states that they begin with. All of
it is PyTorch's own operations around whole runs of the layer, from which derivatives of every kind follow.

It costs a launch for each length that occurs, and another for each derivative, and a sum of the weights' gradients by spans; of inputs
`(T, B, ·)` a copy without what is past the ends, and one of the output with zeros there, neither of which a `PackedSequence` needs. Between
spans, states have the dtype of the tensors, and not that in which a kernel computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..cpu.addresses import Rows, Running
from .memory import Array
from .passes import Passes

Run = Callable[[Passes, Sequence[Tensor]], tuple[Tensor, ...]]
"""Of passes without lengths, and values: output and final states."""


def run_spans(run: Run, passes: Passes, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return output and final states of sequences that have lengths, or that are the rows of a `PackedSequence`.

    Parameters
    ----------
    run : function of passes and values
        It runs sequences of one length.

    Raises
    ------
    ValueError
        As on the CPU: it names the argument, what came and what is needed.
    """
    steps, batch = _extent(passes, values)
    every = [*values] if passes.starts else [*values, *passes.first(values)]
    how = replace(passes, lengths=None, starts=True)
    if isinstance(passes.lengths, Running):
        return _run_rows(run, how, every, passes.lengths.active)
    rows = Rows.of(steps, batch, False, False, passes.module.LAYER._lengths(passes.lengths, steps, batch))
    if rows.count == steps * batch or rows.order is None:
        return run(how, every)
    origin, order, back = (torch.from_numpy(index).to(values[0].device) for index in (rows.origin, rows.order, np.argsort(rows.order)))

    def laid(value: Tensor, axis: int | None) -> Tensor:
        return value if axis is None else value.flatten(0, 1).index_select(0, origin) if axis else value.index_select(0, order)

    y, *final = _run_rows(run, how, [*map(laid, every, how.axes_of_values)], rows.active)
    y = y.new_zeros((steps * batch, *y.shape[1:])).index_copy(0, origin, y).unflatten(0, (steps, batch))
    return y, *[value.index_select(int(passes.single), back) for value in final]


class _Span(NamedTuple):
    """Steps that the same sequences run."""

    row: int
    """The first of its rows, in arrays that have one for each step of each sequence."""
    steps: int
    active: int
    """How many sequences run it: the longest."""

    def of(self, value: Tensor, axis: int | None) -> Tensor:
        """Return what a value has for it, one of rows where it has an `axis` of 1 for sequences elsewhere."""
        if axis:
            return value[self.row : self.row + self.steps * self.active].unflatten(0, (self.steps, self.active))
        return value if axis is None else value[: self.active]


def _spans(active: Array) -> list[_Span]:
    """Return the spans of so many sequences at each step: one of none if no sequence has a step, since autograd is to see a layer."""
    found, row = [], 0
    for count, group in groupby(active[active > 0].tolist()):
        found.append(_Span(row, len([*group]), count))
        row += found[-1].steps * count
    return found or [_Span(0, 0, 0)]


def _run_rows(run: Run, passes: Passes, values: Sequence[Tensor], active: Array) -> tuple[Tensor, ...]:
    """Return the output, as rows, and final states of sequences whose inputs are rows, the longest sequence first."""
    begin, axes, spans = passes.given + passes.weights, passes.axes_of_values, _spans(active)
    fixed, states, outputs = values[:begin], values[begin:], []
    for span in spans[::-1] if passes.reverse else spans:
        how = replace(passes, single=False, steps=None if passes.steps is None else span.steps)
        y, *after = run(how, [*map(span.of, [*fixed, *states], axes)])
        outputs.append(y.flatten(0, 1))
        states = [torch.cat([new, old[span.active :]]) for new, old in zip(after, states, strict=True)]
    y = torch.cat(outputs[::-1] if passes.reverse else outputs)
    return y, *[value.unsqueeze(0) if passes.single else value for value in states]


def _extent(passes: Passes, values: Sequence[Tensor]) -> tuple[int, int]:
    """Return how many steps and sequences there are, once shapes are as the cell needs them: what is sorted here is not seen by it."""
    module, layer, running = passes.module, passes.module.LAYER, passes.lengths
    shapes = [np.broadcast_to(0.0, value.shape) for value in values]
    inputs = dict(zip(module.Inputs._fields, shapes, strict=False))
    if isinstance(running, Running):
        for name, shape in layer.inputs.items():
            layer.needs(name, inputs[name].shape, (running.count, *inputs[name].shape[1:]), ("rows", *shape))
            inputs[name] = running.padded(inputs[name])
    params = module.Params(*shapes[passes.given : passes.given + passes.weights])
    state = module.State(*shapes[passes.given + passes.weights :]) if passes.starts else None
    steps, batch = layer.extent(inputs, state, passes.steps)
    layer.check(inputs, params, state, layer.find_sizes(inputs, params, state), steps, batch)
    return steps, batch
