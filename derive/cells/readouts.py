"""Readouts: cells without a state that turn a hidden state into a prediction, at every step alike."""

from __future__ import annotations

from ..cell import Cell

linear = Cell(
    "y = W @ x + b",
    name="linear",
    output="y",
    title="Linear readout",
    reference="Goodfellow et al. 2016, Deep Learning, eq. 10.10",
    description=(
        "A prediction that is linear in the hidden state: real values for regression, or the logits of a loss that applies its own "
        "softmax or sigmoid. Its gradients are the pattern of all others: the cotangent goes back through Wᵀ, and ∇W sums outer "
        "products of it with the input."
    ),
)

tanh_readout = linear.replace(
    name="tanh_readout",
    title="Readout with tanh",
    reference="Goodfellow et al. 2016, Deep Learning, eqs. 10.9-10.10 for its parts",
    description="A prediction between -1 and 1: the linear readout with tanh, which multiplies the cotangent by 1 - y².",
    y="tanh(W @ x + b)",
)

softmax_readout = Cell(
    "p = softmax(W @ x + b)",
    name="softmax_readout",
    output="p",
    title="Softmax readout",
    reference="Goodfellow et al. 2016, Deep Learning, eqs. 10.10-10.11",
    description=(
        "Probabilities of n classes, positive and of sum 1. All logits share the normalization, so that the Jacobian is Diag(p) - p "
        "pᵀ. For training, a linear readout with `softmax_cross_entropy` is better: the logarithm of a probability that has "
        "underflowed is infinite."
    ),
)

CELLS = (linear, tanh_readout, softmax_readout)
