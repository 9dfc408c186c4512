"""What is measured of a cell."""

from __future__ import annotations

PHASES = INFERENCE, TRAINING, MODEL = ("inference", "training", "model")
ALONE = (INFERENCE, TRAINING)  # the cell itself, without a network around it
BACKWARD = 2  # of each product of the forward pass, the backward pass makes two: by the vector and by the matrix
