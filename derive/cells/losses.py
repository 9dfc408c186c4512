"""Losses: cells without a state or parameters, of which each gives one number a row.

All take the prediction `a` before its output nonlinearity (the logits); the gradient with respect to it is prediction less target.
It is derived like any other cell's.
"""

from __future__ import annotations

from ..cell import Cell

TEXTBOOK = "Bishop 2006, Pattern Recognition and Machine Learning, section 5.2"

squared_error = Cell(
    "l = sum((a - y) ** 2) / 2",
    name="squared_error",
    output="l",
    inputs=("a", "y"),
    shapes={"a": "d", "y": "d"},
    title="Squared error",
    reference=f"{TEXTBOOK}, eqs. 5.11 and 5.18",
    description=(
        "Half the squared distance of the prediction a from the target y. The 2 of the square's derivative cancels the half, which "
        "leaves a - y: prediction less target, the form that the other losses share once p is put for a."
    ),
    latex={"l": r"\ell"},
)

softmax_cross_entropy = Cell(
    "l = logsumexp(a) - pick(a, k)",
    name="softmax_cross_entropy",
    output="l",
    inputs=("a", "k"),
    shapes={"a": "d"},
    title="Softmax cross-entropy, integer classes",
    reference=f"Bridle 1990, in Neurocomputing (NATO ASI F68), 227-236; {TEXTBOOK}, eqs. 5.18 and 5.24",
    description=(
        "The negative logarithm of the probability that p = softmax(a) gives to the true class k: -log p_k = logsumexp(a) - a_k, "
        "which stays finite where p_k underflows. The derivative of logsumexp is the softmax, p; that of the picked logit is 1 at k "
        "and 0 elsewhere, the one-hot vector y. Their difference is p - y."
    ),
    latex={"l": r"\ell"},
)

soft_cross_entropy = Cell(
    "l = logsumexp(a) * sum(y) - sum(y * a)",
    name="soft_cross_entropy",
    output="l",
    inputs=("a", "y"),
    shapes={"a": "d", "y": "d"},
    title="Softmax cross-entropy, soft targets",
    reference=f"Bridle 1990, in Neurocomputing (NATO ASI F68), 227-236; {TEXTBOOK}, eqs. 5.18 and 5.24",
    description=(
        "The cross-entropy -Σ_j y_j log p_j of a target distribution y and p = softmax(a), with log p_j = a_j - logsumexp(a) put in. "
        "The derivative of logsumexp is p, so the gradient with respect to the logits is p Σy - y; with targets of sum 1 this is p - y."
    ),
    latex={"l": r"\ell"},
)

sigmoid_cross_entropy = Cell(
    "l = sum(softplus(a) - y * a)",
    name="sigmoid_cross_entropy",
    output="l",
    inputs=("a", "y"),
    shapes={"a": "d", "y": "d"},
    title="Sigmoid cross-entropy, several outputs at once",
    reference=f"{TEXTBOOK}, eqs. 5.18 and 5.23",
    description=(
        "Independent yes-or-no targets, such as the notes of a chord: the sum over the outputs of -y log p - (1 - y) log(1 - p) with "
        "p = σ(a). Since -log σ(a) = softplus(a) - a and -log(1 - σ(a)) = softplus(a), it is softplus(a) - y a, finite for every a. "
        "The derivative of softplus is σ, so the gradient with respect to the logits is p - y."
    ),
    latex={"l": r"\ell"},
)

CELLS = (squared_error, softmax_cross_entropy, soft_cross_entropy, sigmoid_cross_entropy)
