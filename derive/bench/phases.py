"""What is measured of a cell."""

from __future__ import annotations

from collections.abc import Mapping

PHASES = INFERENCE, TRAINING, MODEL = ("inference", "training", "model")
ALONE = (INFERENCE, TRAINING)  # the cell itself, without a network around it
SECOND = PENALTY, TANGENT, HVP, KEPT, MEMORY = ("penalty", "tangent", "hvp", "second", "memory")  # of second order
TIMED = (PENALTY, TANGENT, HVP, KEPT)  # those of second order that are a time
TORCH = STEP, PACKED, NO_GRAD, GRAD, BOTH, DOUBLE, CELL = ("step", "packed", "no-grad", "grad", "both", "double", "cell")
"""Of layers, ours and those of `torch.nn`, both called from PyTorch: a step of training of a model; two layers in both directions over
sequences of unequal length, there and back; a call without a gradient, with one to come, and there and back; a penalty on the gradient
by the input; and of a cell that `torch.nn` does not have, there and back."""

BACKWARD = 2  # of each product of the forward pass, the backward pass makes two: by the vector and by the matrix
PRODUCTS: Mapping[str, int] = {
    INFERENCE: 1,
    TRAINING: 1 + BACKWARD,
    PENALTY: 1 + 1 + 2 + BACKWARD,  # no sums for matrices yet; the adjoint by the operands with a cotangent, and the pass through
    DOUBLE: 1 + BACKWARD + 2 + BACKWARD,  # the same: but autograd does not tell a layer which gradients are asked for, and it makes all
    TANGENT: 1 + 2,  # one with the tangent of each operand
    HVP: 1 + BACKWARD + 2 + 2 * BACKWARD,  # tangents of the forward pass, and those of the backward pass, operand by operand
    KEPT: BACKWARD,
}
"""How many products a call makes of each product of the forward pass."""
