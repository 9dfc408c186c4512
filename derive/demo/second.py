"""Second order through three modules, of which each knows its own part only: a cell, a linear readout, sigmoid cross-entropy.

A penalty on the gradient by the inputs is differentiated by double backward, module by module, in the order of the forward pass.  The
Hessian of all parameters is multiplied by a vector: what bends the cell's loss is the readout's own product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from generated import linear
from generated.training import tree_map

from .data import Batch
from .train import Module, Params

Reals = NDArray[np.floating[Any]]


class Forward(NamedTuple):
    """A forward pass, and what the loss, mean nats a step, hands back to it."""

    loss: float
    slope: Reals
    """(T, B, 88): the derivative of the loss by the logits, p less target for every step that counts."""
    bend: Reals
    """(T, B, 88): that of `slope` by the logits, p (1 - p); no logit has a part in another's."""
    cell_tape: Any
    readout_tape: Any


class Penalised(NamedTuple):
    loss: float
    """Mean nats a step, without the penalty."""
    penalty: float
    """Half the squared norm of the gradient of a piece's nats by the keys of a step, the mean over all steps."""
    grads: Params
    """Of `loss` + strength · `penalty`."""


def forward(cell: Module, params: Params, batch: Batch) -> Forward:
    """Run the three modules, the last of them written out: softplus(a) - y a, and its two derivatives."""
    h, _, cell_tape = cell.forward(batch.x, params.cell)
    logits, _, readout_tape = linear.forward(h, params.readout)
    p = (1 + np.tanh(logits / 2)) / 2
    weight = batch.mask[..., None] / logits.dtype.type(batch.steps)
    loss = np.sum(weight * (np.logaddexp(0, logits) - batch.target * logits), dtype=np.float64)
    return Forward(float(loss), weight * (p - batch.target), weight * p * (1 - p), cell_tape, readout_tape)


def backward(cell: Module, run: Forward) -> tuple[Any, Any]:
    """The first order: what the cell's `backward` and what the readout's returned."""
    of_readout = linear.backward(run.slope, run.readout_tape)
    return cell.backward(of_readout.x, run.cell_tape), of_readout


def penalised(cell: Module, params: Params, batch: Batch, strength: float) -> Penalised:
    """Loss, gradient penalty, and the gradient of both together.

    The penalty is ½ Σ_t ‖∂L/∂x_t‖² / N, where L is the sum of the nats of a piece and N counts the steps of the batch.  (Drucker and LeCun
    1992, IEEE Transactions on Neural Networks 3(6):991-997.)

    Parameters
    ----------
    cell : generated module
        With second order.
    params : Params
    batch : Batch
        Of the parameters' dtype.
    strength : float
        What the penalty is multiplied by.
    """
    run = forward(cell, params, batch)
    readout, readout_twice = linear.backward(run.slope, run.readout_tape, second=True)
    first, cell_twice = cell.backward(readout.x, run.cell_tape, second=True)

    # The penalty goes back through the backward pass, whose order was loss, readout, cell: now it is cell, readout, loss.
    u = first.x * first.x.dtype.type(strength * batch.steps)
    by_cell = cell.backward_backward(cell.Grads(x=u, params=None, state=None), cell_twice)
    by_readout = linear.backward_backward(linear.Grads(x=by_cell.dy, params=None, state=None), readout_twice)

    # What it leaves at the values of the forward pass joins the loss's own cotangents there: one more backward pass serves both.
    readout = linear.backward(run.slope + run.bend * by_readout.dy, run.readout_tape)
    second = cell.backward(readout.x + by_readout.x, run.cell_tape)
    grads = Params(
        tree_map(np.add, second.params, by_cell.params),
        tree_map(np.add, readout.params, by_readout.params),
    )
    return Penalised(run.loss, float(np.sum(np.square(first.x, dtype=np.float64)) / 2 * batch.steps), grads)


def hessian_product(cell: Module, run: Forward, v: Params) -> tuple[Params, Params]:
    """The gradient of the loss by all parameters, and its derivative along `v`: the Hessian times v.

    Parameters
    ----------
    cell : generated module
        With second order.
    run : Forward
        From `forward`.
    v : Params
        A direction.
    """
    by_readout: Any = None

    def curvature(moved: Reals) -> Reals:
        """Of what the readout handed back: h moves, and so do the readout's parameters."""
        nonlocal by_readout
        along = linear.Grads(x=moved, params=v.readout, state=None)
        by_readout = linear.hvp(along, run.readout_tape, run.slope, curvature=lambda logits: run.bend * logits)
        return by_readout[1].x

    handed_back = linear.backward(run.slope, run.readout_tape).x
    along = cell.Grads(x=None, params=v.cell, state=None)
    by_cell = cell.hvp(along, run.cell_tape, handed_back, curvature=curvature)
    gradient, product = (Params(of_cell.params, of_readout.params) for of_cell, of_readout in zip(by_cell, by_readout, strict=True))
    return gradient, product
