"""A network of which a cell is one layer: Linear(d → d), the cell, Linear(n → n), and a squared loss.

What comes before and after a cell is what it meets in a program: the threads of others, and numbers that somebody else has just written.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from ..language.definition import Definition
from ..verify.problem import Problem
from .contender import Array

RATE = 0.1  # of the descent; the loss is a mean over all numbers, so its gradients are small


@dataclass(frozen=True)
class Network:
    """The numbers that all contenders begin with.

    Attributes
    ----------
    p : Problem
        The cell between, with its input, which is that of the first layer, and its initial states; they are data.
    dense : mapping
        Parameters of the two layers, as `torch.nn.Linear` has them: ``first.weight``, ``first.bias``, ``last.weight``, ``last.bias``.
        The cell's own go by its names.
    target : array
        What the output should be, `(T, B, n)`.
    """

    p: Problem
    dense: Mapping[str, Array]
    target: Array

    @property
    def input(self) -> str:
        """The name of the cell's one input."""
        return self.p.cell.inputs[0]

    @property
    def operations(self) -> int:
        """Operations of the products of the two layers in a step: the first needs no gradient by its input."""
        rows = 2 * self.p.steps * self.p.batch
        return rows * (2 * self.dense["first.weight"].size + 3 * self.dense["last.weight"].size)


def absence(cell: Definition) -> str:
    """Return why a cell is no layer between two others; empty if it is one."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    if len(cell.inputs) != 1 or cell.context:
        return f"{cell.name} does not have one input"
    name = cell.inputs[0]
    if name in cell.integers or len(cell.shapes[name]) != 1:
        return f"the input of {cell.name} is no vector of numbers"
    if len(cell.axes[cell.output]) != 1:
        return f"the output of {cell.name} is no vector"
    return "" if set(cell.parameters) - {*cell.fixed} else f"{cell.name} has no parameters"


def network(p: Problem, seed: int = 0) -> Network:
    """Return a network around the cell of a problem, with layers that begin as those of PyTorch do."""
    random = np.random.default_rng(seed)
    wide, high = p.arrays[p.cell.inputs[0]].shape[-1], p.dy.shape[-1]
    dense = {}
    for name, size in (("first", wide), ("last", high)):
        bound = 1 / sqrt(size)
        dense[f"{name}.weight"] = random.uniform(-bound, bound, (size, size)).astype(p.dy.dtype)
        dense[f"{name}.bias"] = random.uniform(-bound, bound, (size,)).astype(p.dy.dtype)
    return Network(p, dense, random.standard_normal(p.dy.shape).astype(p.dy.dtype))
