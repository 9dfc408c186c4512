"""Numbers to run a cell on: the one place that draws them, for checks, measurements and tests alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..language.names import canonical, previous
from ..language.shapes import shape_of
from ..language.tree import Call
from ..language.walks import walk
from .evaluate import unroll

Array = np.ndarray
Arrays = Mapping[str, Array]

SIZES = {"d": 3, "n": 7}
OTHER_SIZE = 5


@dataclass(frozen=True)
class Problem:
    """Values to run a cell on, and cotangents.

    Attributes
    ----------
    cell : Definition
    sizes : mapping
        Value of each named size.
    steps, batch : int
        T and B.
    arrays : mapping
        Inputs `(T, B, ·)`, contexts `(B, ·)`, parameters and, as ``<state>_prev``, initial states `(B, ·)`.
    dy : array
        Cotangent of the output, `(T, B, ·)`.
    dfinal : mapping
        Cotangent of each state after the last step, `(B, ·)`.
    """

    cell: Definition
    sizes: Mapping[str, int]
    steps: int
    batch: int
    arrays: Arrays
    dy: Array
    dfinal: Arrays

    @property
    def inputs(self) -> dict[str, Array]:
        return {name: self.arrays[name] for name in self.cell.inputs}

    @property
    def context(self) -> dict[str, Array]:
        return {name: self.arrays[name] for name in self.cell.context}

    @property
    def parameters(self) -> dict[str, Array]:
        return {name: self.arrays[name] for name in self.cell.parameters}

    @property
    def states(self) -> dict[str, Array]:
        """The initial states, by the names of the states."""
        return {name: self.arrays[previous(name)] for name in self.cell.states}

    @property
    def differentiable(self) -> list[str]:
        """The names that have a gradient."""
        return [name for name in self.arrays if name not in self.cell.without_gradient]

    def at(self, name: str, value: Array) -> Problem:
        """Return the problem with one array replaced."""
        return replace(self, arrays={**self.arrays, name: value})

    def mapped(self, change: Callable[[Array], Any]) -> Problem:
        """Return the problem with each array changed."""
        arrays, dfinal = ({name: change(value) for name, value in given.items()} for given in (self.arrays, self.dfinal))
        return replace(self, arrays=arrays, dy=change(self.dy), dfinal=dfinal)

    def cast(self, dtype: Any) -> Problem:
        """Return the problem with all floating-point numbers rounded to `dtype`."""
        return self.mapped(lambda value: value if value.dtype.kind in "iu" else value.astype(dtype))

    def ragged(self, lengths: Sequence[int] | Array) -> Problem:
        """Return the problem with NaN, or index 0, past the ends of sequences of `lengths`, `(B,)`: what lies there must not matter."""
        past = np.arange(self.steps)[:, None] >= np.asarray(lengths)

        def ended(value: Array) -> Array:
            value = value.copy()
            value[past] = 0 if value.dtype.kind in "iu" else np.nan
            return value

        return replace(self, arrays={**self.arrays, **{name: ended(value) for name, value in self.inputs.items()}}, dy=ended(self.dy))


@dataclass(frozen=True)
class Result:
    """Output, final states and gradients by name.

    Attributes
    ----------
    values : mapping
        ``output`` and ``final <state>``.
    grads : mapping
        By the names of `Problem.arrays` that are differentiable.
    """

    values: Arrays
    grads: Arrays


# Drawing


@dataclass(frozen=True)
class Scales:
    """What normal numbers are multiplied by.

    Attributes
    ----------
    given : float
        Inputs and contexts.
    parameters : float, optional
        By default a half, and less for wide matrices, so that they do not make a chaotic system, where rounding grows from step to step.
    states : float, optional
        Initial states.  By default they are those that the cell comes to from zero, and a half where it comes to none: a state may mean
        something, as a normaliser, the sum of exponentials, is positive, and at values of either sign a quotient by it may have no accurate
        value in float32.
    cotangents : float
    """

    given: float = 1.0
    parameters: float | None = None
    states: float | None = None
    cotangents: float = 1.0


MODERATE = Scales()


@dataclass(frozen=True)
class Draw:
    """Random float64 values of a cell's names."""

    cell: Definition
    sizes: Mapping[str, int]
    random: np.random.Generator

    def normal(self, name: str, *lead: int, scale: float = 1.0) -> Array:
        """Return normal numbers times `scale`, of the shape of `name`, after the axes `lead`."""
        shape = (*lead, *(size.evaluate(self.sizes) for size in self.cell.axes[name]))
        return np.asarray(self.random.standard_normal(shape) * scale)

    def inputs(self, steps: int, batch: int, scale: float = 1.0) -> dict[str, Array]:
        """Return inputs and contexts: normal numbers, and indices within what they pick from."""
        leads = dict.fromkeys(self.cell.inputs, (steps, batch)) | dict.fromkeys(self.cell.context, (batch,))
        return {name: self._given(name, lead, scale) for name, lead in leads.items()}

    def _given(self, name: str, lead: tuple[int, ...], scale: float) -> Array:
        if name in self.cell.integers:
            return self.random.integers(0, classes(self.cell, name, self.sizes), lead)
        return self.normal(name, *lead, scale=scale)

    def parameters(self, scale: float | None = None) -> dict[str, Array]:
        """Return parameters; without a scale, moderate ones."""
        return {name: self.normal(name, scale=self._moderate(name) if scale is None else scale) for name in self.cell.parameters}

    def _moderate(self, parameter: str) -> float:
        shape = self.cell.shapes[parameter]
        return 1 / max(2.0, math.sqrt(shape[-1].evaluate(self.sizes)) if len(shape) == 2 else 0.0)

    def states(self, batch: int, scale: float = 1.0) -> dict[str, Array]:
        """Return a value of each state, or a cotangent."""
        return {name: self.normal(name, batch, scale=scale) for name in self.cell.states}

    def output(self, steps: int, batch: int, scale: float = 1.0) -> Array:
        """Return a cotangent of the output."""
        return self.normal(self.cell.output, steps, batch, scale=scale)


def sample(
    cell: Definition,
    *,
    sizes: Mapping[str, int] | None = None,
    steps: int = 5,
    batch: int = 3,
    seed: int = 0,
    scales: Scales = MODERATE,
) -> Problem:
    """Return random float64 values for everything that `cell` reads, and cotangents for all that it gives.

    Parameters
    ----------
    cell : Definition
    sizes : mapping, optional
        Values of named sizes; odd ones by default.
    steps, batch, seed : int
        T, B, and what the random numbers come from.
    scales : Scales
        How large they are: moderate by default.
    """
    full = complete_sizes(cell, sizes)
    draw = Draw(cell, full, np.random.default_rng(seed))
    arrays = draw.inputs(steps, batch, scales.given) | draw.parameters(scales.parameters)
    states = draw.states(batch, 0.5 if scales.states is None else scales.states)
    arrays |= {previous(name): value for name, value in states.items()}
    dfinal = draw.states(batch, scales.cotangents)
    drawn = Problem(cell, full, steps, batch, arrays, draw.output(steps, batch, scales.cotangents), dfinal)
    return _reached(drawn) if scales.states is None else drawn


def initial(
    module: ModuleType,
    cell: Definition,
    *,
    sizes: Mapping[str, int] | None = None,
    steps: int = 5,
    batch: int = 3,
    seed: int = 0,
    dtype: Any = np.float32,
) -> Problem:
    """Return what a training begins with: a generated module's own initial parameters and states, normal inputs, and cotangents of the
    output alone.

    Parameters
    ----------
    module : module
        Generated from `cell`.
    cell, sizes, steps, batch, seed
        As in `sample`.
    dtype : dtype
        Of all floating-point numbers.
    """
    full = complete_sizes(cell, sizes)
    draw = Draw(cell, full, np.random.default_rng(seed))
    arrays = draw.inputs(steps, batch) | module.LAYER.init(full, seed, dtype)._asdict()
    arrays |= {previous(name): value for name, value in module.LAYER.zero_state(batch, full, dtype)._asdict().items()}
    return Problem(cell, full, steps, batch, arrays, draw.output(steps, batch), {}).cast(dtype)


def directions(p: Problem, seed: int = 0) -> dict[str, Array]:
    """Return normal numbers for each differentiable name of a problem, of its dtype: a direction to go along, or cotangents of the
    gradients.
    """
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(p.arrays[name].shape).astype(p.dy.dtype) for name in p.differentiable}


def _reached(p: Problem) -> Problem:
    """Return the problem with the initial states that the cell comes to from zero over the inputs in reverse, if it comes to any."""
    inputs, zero = {name: value[::-1] for name, value in p.inputs.items()}, {name: np.zeros_like(v) for name, v in p.states.items()}
    with np.errstate(all="ignore"):
        _, final = unroll(p.cell, inputs, p.parameters, zero, np, context=p.context, steps=p.steps)
    for name, value in final.items():
        if np.isfinite(value).all() and value.all():
            p = p.at(previous(name), np.array(value))
    return p


# Sizes


def complete_sizes(cell: Definition, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return a value for every named size of `cell`: those given, else odd numbers; sizes that must be equal are."""
    given = {canonical(name): value for name, value in (sizes or {}).items()}
    names = [*cell.sizes, *(name for pair in cell.equal_sizes for name in pair)]
    found = {name: given.get(name, SIZES.get(name, OTHER_SIZE)) for name in names}
    return found | {a: found[b] for a, b in cell.equal_sizes}


def classes(cell: Definition, index: str, sizes: Mapping[str, int]) -> int:
    """Return what an index must be below: the size of the smallest vector that it picks from."""
    nodes = [node for line in cell.equations for node in walk(line.value) if isinstance(node, Call) and node.function == "pick"]
    picked = [node.args[0] for node in nodes if getattr(node.args[1], "id", None) == index]
    return min(shape_of(vector, cell.shapes)[0].evaluate(sizes) for vector in picked)
