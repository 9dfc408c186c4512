"""A layer of any cell."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..common.chosen import module_of
from .passes import Passes
from .precision import run_wide
from .replay import check_replay
from .stack import REVERSE, is_single, places, run_layers
from .transforms import SHARED, Noise, Probabilities

_passes = lru_cache(maxsize=256)(Passes)


def layer(
    cell: Any,
    *sizes: int,
    zoneout: Probabilities = 0.0,
    recurrent_dropout: Probabilities = 0.0,
    residual: bool = False,
    masked: bool = False,
    resettable: bool = False,
    order: int = 1,
    **options: Any,
) -> Recurrent:
    """Return a layer of any cell.

    Parameters
    ----------
    cell : str, module, or derive.Cell
        The name of a cell of this package, a generated module, or, where `derive` is installed, a cell that it compiles now.
    *sizes : int
        The cell's sizes, in the order of its `init`, such as d and n; each may also be given by its name.
    zoneout : float, or mapping from a state to a float
        The probability that an element of a state stays as it was, drawn at each step in training; after it, states are the mean.
    recurrent_dropout : float, or mapping from a state to a float
        The probability that an element of a state is hidden from the cell's matrices, drawn once a sequence in training.
    residual : bool
        Whether the input is added to the output.
    masked : bool
        Whether the layer is given a `mask` `(T, B)`: a step at which that is 0 is left out, whatever its input holds.
    resettable : bool
        Whether the layer is given `reset` `(T, B)`: where that is not 0, the states are cleared before the step.
    order : 1 or 2
        Of derivatives; with 2, a cell that the package has without second derivatives is compiled with them, where `derive` is installed.
    **options
        As for `Recurrent`.

    Raises
    ------
    ValueError
        It says which cell or size is not known, or missing.
    """
    asked = {"recurrent_dropout": recurrent_dropout, "zoneout": zoneout, "residual": residual, "masked": masked, "resettable": resettable}
    module = module_of(cell, [name for name, value in asked.items() if value], order)
    return Recurrent(module, *sizes, noise=Noise.of(module.LAYER, zoneout, recurrent_dropout), **options)


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
    replay : bool
        Whether derivatives that the module's kernels do not have, as double backward and forward mode of one without second order, are
        those of its step in PyTorch, which is run again from the values; a module of second order has no need of it.
    noise : Noise, optional
        Masks of zoneout and recurrent dropout that the layer draws, for a module that has inputs for them.
    device, dtype
        Of the parameters.
    """

    replay = False  # what a layer has that was pickled before there was one

    def __init__(
        self,
        module: ModuleType,
        *sizes: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        replay: bool = False,
        noise: Noise | None = None,
        device: Any = None,
        dtype: Any = None,
        **named: int,
    ) -> None:
        super().__init__()
        self.module, self.sizes = module, _sizes(module, sizes, named)
        self.num_layers, self.bidirectional, self.batch_first, self.dropout = num_layers, bidirectional, batch_first, dropout
        self.noise = noise or Noise()
        self.replay = replay
        if replay:
            check_replay(module)
        if num_layers > 1 and len({*self._asked()} - {*SHARED}) != 1:
            raise ValueError(f"{module.LAYER.name}: a cell with one input alone can have layers above the first")
        for k in range(num_layers):
            for place in places(k, bidirectional):
                values = module.LAYER.init(self._sizes_at(k), int(torch.randint(2**31, ())), np.float64)
                for parameter, value in zip(values._fields, values, strict=True):
                    made = torch.from_numpy(value).to(device=device, dtype=dtype or torch.get_default_dtype())
                    self.register_parameter(f"{parameter}{place}", nn.Parameter(made))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: the generated module is known by its name."""
        return {**self.__dict__, "module": self.module.__name__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "module": importlib.import_module(state["module"])})

    def _sizes_at(self, layer: int) -> dict[str, int]:
        """Return the sizes of a layer: one above another has that one's output as its input."""
        if layer == 0:
            return self.sizes
        table = self.module.LAYER
        width, (name,) = prod(table.shape(table.output, self.sizes)), next(iter(table.inputs.values()))
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
        module, given = self.module, self._given(x, others)
        names = [*module.LAYER.inputs, *module.LAYER.context]
        single = is_single(self.num_layers, self.bidirectional)
        rows = None if lengths is None else np.asarray(lengths)
        made = Passes if torch.compiler.is_compiling() else _passes  # a compiler does not look into what is kept
        forward = made(module, steps=steps, starts=state is not None, single=single, replay=self.replay)
        forward = forward if rows is None else replace(forward, lengths=rows)
        backward = replace(forward, reverse=True) if self.bidirectional else forward

        def call(place: str, row: int, below: Sequence[Tensor]) -> tuple[Tensor, ...]:
            found = given | {name: value.flatten(2) for name, value in zip(names[:1], below, strict=False)}  # of all heads
            found |= self._drawn(row, found)
            values = [found[name] for name in names]
            weights = [getattr(self, f"{name}{place}") for name in module.Params._fields]
            before = [] if state is None else [value[row] for value in state]
            return run_wide(backward if place.endswith(REVERSE) else forward, values, weights, before)

        options = {"bidirectional": self.bidirectional, "dropout": self.dropout, "training": self.training}
        y, final = run_layers(call, [given[name] for name in names[:1]], self.num_layers, **options)
        return (y.transpose(0, 1) if self.batch_first else y), module.State(*final)

    def _asked(self) -> list[str]:
        """Return the inputs and contexts that a caller gives, in the cell's order: all but what is drawn."""
        layer, drawn = self.module.LAYER, self.noise.names
        return [name for name in (*layer.inputs, *layer.context) if name not in drawn]

    def _given(self, x: Tensor | None, others: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return inputs and contexts by name, steps first."""
        layer, names = self.module.LAYER, self._asked()
        found = dict(others) if x is None else {names[0]: x, **others}
        if found.keys() != set(names):
            raise TypeError(f"{layer.name}: needs {', '.join(names) or 'no input'}, got {', '.join(found) or 'none'}")
        found |= {name: found[name].to(found[names[0]].dtype) for name in SHARED if name in names[1:]}
        return {name: value.transpose(0, 1) if self.batch_first and name in layer.inputs else value for name, value in found.items()}

    def _drawn(self, row: int, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the masks that a layer and direction draws for a call."""
        layer = self.module.LAYER
        if not self.noise.names:
            return {}
        x = given[next(iter(layer.inputs))]
        found = layer.spec(*x.shape[:2], self._sizes_at(row // (1 + self.bidirectional)))
        return self.noise.drawn({**found["inputs"], **found["context"]}, x, self.training)

    def extra_repr(self) -> str:
        sizes = _listed(self.sizes)
        more = [f"num_layers={self.num_layers}"] if self.num_layers > 1 else []
        more += [name for name in ("bidirectional", "batch_first", "replay") if getattr(self, name)]
        noise = {"zoneout": self.noise.zoneout, "recurrent_dropout": self.noise.recurrent_dropout}
        more += [f"{name}({_listed(states)})" for name, states in noise.items() if states]
        return ", ".join([self.module.LAYER.name, sizes, *more])


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _sizes(module: ModuleType, sizes: tuple[int, ...], named: dict[str, int]) -> dict[str, int]:
    """Return a cell's sizes by name."""
    equal = [size for pair in module.LAYER.equal for size in pair]
    names = sorted({*module.LAYER.sizes, *equal}, key=lambda size: (size != "d", size != "n", size))  # as `init` takes them
    if len(sizes) > len(names) or not set(named) <= set(names[len(sizes) :]) or len(sizes) + len(named) < len(names):
        got = [*map(str, sizes), *(f"{name}={value}" for name, value in named.items())]
        raise TypeError(f"{module.LAYER.name}: needs the sizes {', '.join(names)}, got {', '.join(got) or 'none'}")
    return {**dict(zip(names, sizes, strict=False)), **named}
