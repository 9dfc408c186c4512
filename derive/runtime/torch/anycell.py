"""A layer of any cell."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .forms import OneByOne
from .passes import PACKAGE, Passes
from .precision import run_wide
from .stack import REVERSE, places, run_layers

COMPILER = "derive"


def layer(cell: Any, *sizes: int, **options: Any) -> Recurrent:
    """Return a layer of any cell.

    Parameters
    ----------
    cell : str, module, or derive.Cell
        The name of a cell of this package, a generated module, or, where `derive` is installed, a cell that it compiles now.
    *sizes : int
        The cell's sizes, in the order of its `init`, such as d and n; each may also be given by its name.
    **options
        As for `Recurrent`.

    Raises
    ------
    ValueError
        It says which cell or size is not known, or missing.
    """
    return Recurrent(module_of(cell), *sizes, **options)


def module_of(cell: Any) -> ModuleType:
    """Return the generated module of a cell."""
    if isinstance(cell, str):
        name = f"{PACKAGE}.{cell}"
        if not cell.isidentifier() or importlib.util.find_spec(name) is None:
            raise ValueError(f"{PACKAGE} has no cell `{cell}`")
        cell = importlib.import_module(name)
    if hasattr(cell, "LAYER"):
        return cell
    if not hasattr(cell, "equations"):
        raise ValueError(f"a layer needs the name of a cell, a generated module, or a derive.Cell, got {type(cell).__name__}")
    if importlib.util.find_spec(COMPILER) is None:
        raise ValueError(
            f"{cell.name} is a cell to be compiled, for which `{COMPILER}` must be installed; a generated module needs nothing"
        )
    return importlib.import_module(COMPILER).compile(cell, order=2)


class Recurrent(nn.Module):
    """Layers of one cell, one above the other, each over the whole sequence.

    Parameters
    ----------
    module : module
        Generated.
    *sizes, **named : int
        The cell's sizes, in the order of its `init` or by name.
    num_layers : int
        Those above the first have the output of the one below as their input.
    bidirectional : bool
        Whether each layer has a second one that runs from the last step to the first; their outputs lie side by side.
    batch_first : bool
        Whether inputs and output are `(B, T, ·)`, and not `(T, B, ·)`.
    dropout : float
        The probability that an element of the output of a layer, but the last, is left out in training.
    device, dtype
        Of the parameters.
    """

    def __init__(
        self,
        module: ModuleType,
        *sizes: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
        **named: int,
    ) -> None:
        super().__init__()
        self.name, self.sizes = module.__name__, _sizes(module, sizes, named)
        self.num_layers, self.bidirectional, self.batch_first, self.dropout = num_layers, bidirectional, batch_first, dropout
        name, inputs = module.LAYER.name, module.LAYER.inputs
        if num_layers > 1 and (len(inputs) != 1 or module.LAYER.context):
            raise ValueError(f"{name}: a cell with one input alone can have layers above the first")
        for k in range(num_layers):
            for place in places(k, bidirectional):
                values = module.LAYER.init(self._sizes_at(k), int(torch.randint(2**31, ())), np.float64)
                for parameter, value in zip(values._fields, values, strict=True):
                    made = torch.from_numpy(value).to(device=device, dtype=dtype or torch.get_default_dtype())
                    self.register_parameter(f"{parameter}{place}", nn.Parameter(made))

    @property
    def module(self) -> ModuleType:
        """The generated module: by its name, so that layers can be copied and pickled."""
        return importlib.import_module(self.name)

    def _sizes_at(self, layer: int) -> dict[str, int]:
        """Return the sizes of a layer: one above another has that one's output as its input."""
        if layer == 0:
            return self.sizes
        table = self.module.LAYER
        (width,), (name,) = table.shape(table.output, self.sizes), next(iter(table.inputs.values()))
        return {**self.sizes, name: width * (1 + self.bidirectional)}

    def forward(
        self, x: Tensor | None = None, state: Any = None, *, lengths: Any = None, steps: int | None = None, **others: Tensor
    ) -> tuple[Tensor, Any]:
        """Run the layers.

        Parameters
        ----------
        x : tensor (T, B, ·), or (B, T, ·) with `batch_first`
            The first input.
        state : State, optional
            Before the first step, each `(layers · directions, B, ·)`; as the cell's rules say, zero as a rule.
        lengths : (B,), optional
            How many steps each sequence has; steps past them are not run, and give zero.
        steps : int
            How many, for a cell without inputs.
        **others
            The cell's other inputs, and contexts `(B, ·)`.

        Returns
        -------
        y : tensor (T, B, ·), or (B, T, ·)
        state : State
            After the last step.
        """
        module = self.module
        given = self._given(x, others)
        forward = Passes(module, OneByOne(module.Params), None if lengths is None else np.asarray(lengths), steps=steps)
        backward = replace(forward, reverse=True)

        def call(place: str, row: int, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
            weights = [getattr(self, f"{name}{place}") for name in module.Params._fields]
            before = self._before(state, row, given, weights)
            return run_wide(backward if place.endswith(REVERSE) else forward, given, weights, before)

        options = {"bidirectional": self.bidirectional, "dropout": self.dropout, "training": self.training}
        y, final = run_layers(call, given, self.num_layers, **options)
        return (y.transpose(0, 1) if self.batch_first else y), module.State(*final)

    def _given(self, x: Tensor | None, others: dict[str, Tensor]) -> list[Tensor]:
        """Return inputs and contexts in the cell's order, steps first."""
        layer = self.module.LAYER
        names = [*layer.inputs, *layer.context]
        found = dict(others) if x is None else {names[0]: x, **others}
        if found.keys() != set(names):
            raise TypeError(f"{layer.name}: needs {', '.join(names) or 'no input'}, got {', '.join(found) or 'none'}")
        return [found[name].transpose(0, 1) if self.batch_first and name in layer.inputs else found[name] for name in names]

    def _before(self, state: Any, row: int, given: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the states of a layer and direction before the first step."""
        if state is not None:
            return [value[row] for value in state]
        layer, like, sizes = self.module.LAYER, [*given, *weights][0], self._sizes_at(row // (1 + self.bidirectional))
        batch = given[0].shape[1 if layer.inputs else 0]
        return [like.new_full((batch, *layer.shape(shape, sizes)), layer.rules.get(name, 0.0)) for name, shape in layer.state.items()]

    def extra_repr(self) -> str:
        sizes = ", ".join(f"{name}={value}" for name, value in self.sizes.items())
        more = [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        more += [name for name in ("bidirectional", "batch_first") if getattr(self, name)]
        return ", ".join([self.module.LAYER.name, sizes, *more])


def _sizes(module: ModuleType, sizes: tuple[int, ...], named: dict[str, int]) -> dict[str, int]:
    """Return a cell's sizes by name."""
    names = module.LAYER.sizes
    if len(sizes) > len(names) or not set(named) <= set(names[len(sizes) :]) or len(sizes) + len(named) < len(names):
        got = [*map(str, sizes), *(f"{name}={value}" for name, value in named.items())]
        raise TypeError(f"{module.LAYER.name}: needs the sizes {', '.join(names)}, got {', '.join(got) or 'none'}")
    return {**dict(zip(names, sizes, strict=False)), **named}
