"""What is measured: one cell at one size, as calls of the generated module and of its peers on the same numbers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..verify.problem import Problem, complete_sizes
from ..verify.witnesses import arguments, gradients

Array = np.ndarray
Size = tuple[int, int, int, int]  # B, T, d, n


HEADS = 8  # of cells that have heads


@dataclass(frozen=True)
class Contender:
    """Two calls; each returns when all is computed.

    Attributes
    ----------
    infer : callable
        Returns the output at every step, `(T, B, ·)`, with no thought of a gradient.
    train : callable
        Returns gradients of ``Σ_t ⟨dy_t, y_t⟩`` by all parameters, inputs, contexts and initial states, as the framework gives them.
    gradients : callable
        From what `train` returns to NumPy arrays by the cell's names.
    choices : mapping
        By phase, what a contender that had a choice has taken, once it was called.
    """

    infer: Callable[[], Any]
    train: Callable[[], Any]
    gradients: Callable[[Any], Mapping[str, Array]]
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Calls:
    """Calls by phase; each returns when all is computed.  A contender need not have every phase.

    Attributes
    ----------
    calls : mapping
    results : mapping
        From what a call returns to NumPy arrays by name.
    choices : mapping
        As those of a `Contender`.
    """

    calls: Mapping[str, Callable[[], Any]]
    results: Mapping[str, Callable[[Any], Mapping[str, Array]]]
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trainer:
    """A network around the cell, and how it is trained.

    Attributes
    ----------
    step : callable
        Makes one step of training; returns the loss before it, as the framework gives it, when all is computed.
    parameters : callable
        Returns the parameters of the network as NumPy arrays, by their names in `derive.bench.network`.
    choices : mapping
        As those of a `Contender`.
    gradients : callable
        Returns what the last step has left as the gradients of the parameters, by the same names; nothing where they are not kept.
    """

    step: Callable[[], Any]
    parameters: Callable[[], Mapping[str, Array]]
    choices: Mapping[str, str] = field(default_factory=dict)
    gradients: Callable[[], Mapping[str, Array]] = dict


def sizes_of(cell: Definition, d: int, n: int) -> dict[str, int]:
    """Return the value of every named size: n for those that the bench does not name, and `HEADS` heads."""
    heads = {cell.heads: HEADS} if cell.heads else {}
    return complete_sizes(cell, {**dict.fromkeys(cell.sizes, n), "d": d, "n": n, **heads})


def threads_of(module: ModuleType) -> ModuleType:
    """Return the module of a generated package that says on which threads its kernels run."""
    return importlib.import_module(f"{module.__name__.rpartition('.')[0]}.runtime.threads")


def ours(module: ModuleType, p: Problem, pool: str = "torch") -> Contender:
    """Return the calls of a generated module, on the threads of a pool (see `runtime.threads`)."""
    given, keywords = arguments(module, p)
    threads = threads_of(module)

    def infer() -> Any:
        with threads.pool(pool):
            return module.infer(*given, **keywords)[0]

    def train() -> Any:
        with threads.pool(pool):
            return module.backward(p.dy, module.forward(*given, **keywords)[2])

    return Contender(infer, train, lambda found: gradients(p, found))
