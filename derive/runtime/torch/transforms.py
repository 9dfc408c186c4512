"""What layers do with transformed cells: which module has them, and the masks that are drawn for it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .passes import PACKAGE

COMPILER = "derive"
MASKS = {"zoneout": "zoneout_", "recurrent_dropout": "dropout_"}  # before a state's name, in what a transformed cell is given
SHARED = ("mask", "reset")  # what all layers of a stack are given
Probabilities = float | Mapping[str, float]
ORDER = ("recurrent_dropout", "zoneout", "residual", "masked", "resettable")  # in which several are applied, and named


@dataclass(frozen=True)
class Noise:
    """Masks of zoneout and recurrent dropout, drawn by PyTorch's generator.

    Attributes
    ----------
    zoneout, recurrent_dropout : mapping from a state to a probability
    """

    zoneout: Mapping[str, float] = field(default_factory=dict)
    recurrent_dropout: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """What the masks are called among a module's inputs and contexts."""
        kept, hidden = MASKS["zoneout"], MASKS["recurrent_dropout"]
        return [*(kept + state for state in self.zoneout), *(hidden + state for state in self.recurrent_dropout)]

    @classmethod
    def of(cls, table: Any, zoneout: Probabilities, recurrent_dropout: Probabilities) -> Noise:
        """Return the noise of a module's layer; a number is for all states that it can be for."""
        return cls(_by_state(table.inputs, "zoneout", zoneout), _by_state(table.context, "recurrent_dropout", recurrent_dropout))

    def drawn(self, shapes: Mapping[str, Sequence[int]], like: Tensor, training: bool) -> dict[str, Tensor]:
        """Return the masks of a call by the names of the module's inputs and contexts; without training, what is expected of them.

        Parameters
        ----------
        shapes : mapping from the name of an input or context to its shape, steps and sequences included
        like : tensor
            Of the masks' dtype and device.
        """
        found = {}
        for state, p in self.zoneout.items():
            name = MASKS["zoneout"] + state
            full = like.new_full(tuple(shapes[name]), p)
            found[name] = torch.bernoulli(full) if training else full
        for state, p in self.recurrent_dropout.items():
            name = MASKS["recurrent_dropout"] + state
            full = like.new_full(tuple(shapes[name]), 1 - p)
            found[name] = torch.bernoulli(full) / (1 - p) if training else torch.ones_like(full)
        return found


def _by_state(given: Sequence[str], what: str, probability: Probabilities) -> dict[str, float]:
    """Return a probability for each state that has a mask among the names that a cell is given."""
    if probability == 0:
        return {}
    prefix = MASKS[what]
    states = [name.removeprefix(prefix) for name in given if name.startswith(prefix)]
    found = dict(probability) if isinstance(probability, Mapping) else dict.fromkeys(states, probability)
    for state, p in found.items():
        if state not in states:
            raise ValueError(f"{what}: `{state}` is none of {', '.join(states)}")
        if not 0 <= p < 1:
            raise ValueError(f"{what} must be a probability below 1, got {p}")
    return {state: found.get(state, 0.0) for state in states}


def module_of(cell: Any, names: Sequence[str] = (), order: int = 1) -> ModuleType:
    """Return the generated module of a cell, with transformations of these names.

    Parameters
    ----------
    cell : str, module, or derive.Cell
    order : 1 or 2
        With 2, a module without second derivatives is not taken: one is compiled.

    Raises
    ------
    ValueError
        If there is none, and nothing to make it with.
    """
    ordered = [name for name in ORDER if name in names]
    if isinstance(cell, str):
        return _named(PACKAGE, cell, ordered, order)
    if hasattr(cell, "LAYER"):
        package = cell.__name__.rpartition(".")[0]
        return cell if not ordered and _has_order(cell, order) else _named(package, cell.LAYER.name, ordered, order)
    if not hasattr(cell, "equations"):
        raise ValueError(f"a layer needs the name of a cell, a generated module, or a derive.Cell, got {type(cell).__name__}")
    return _compiled(cell, ordered)


def _named(package: str, cell: str, names: Sequence[str], order: int) -> ModuleType:
    """Return a module of a package; where that has the cell, but not its transformation or second order, it is compiled."""
    whole = "_".join([cell, *names])
    if _has(package, whole) and _has_order(module := importlib.import_module(f"{package}.{whole}"), order):
        return module
    if not _has(package, cell):
        raise ValueError(f"{package} has no cell `{cell}`")
    return _compiled(_definition(package, cell, names, order), names)


def _has_order(module: ModuleType, order: int) -> bool:
    return order == 1 or bool(module.LAYER.links)


def _has(package: str, cell: str) -> bool:
    return cell.isidentifier() and importlib.util.find_spec(f"{package}.{cell}") is not None


def _definition(package: str, cell: str, names: Sequence[str], order: int) -> Any:
    """Return the equations of a cell that comes with the compiler."""
    known = importlib.import_module(f"{COMPILER}.cells").SHIPPED if importlib.util.find_spec(COMPILER) else {}
    if package != PACKAGE or cell not in known:
        options = [*([f"--with {'+'.join(names)}"] if names else []), *(["--order 2"] if order == 2 else [])]
        of = " of second order" if order == 2 else ""
        raise ValueError(f"{package} has no `{'_'.join([cell, *names])}`{of}: `derive generate … {' '.join(options)}` makes it")
    return known[cell]


def _compiled(cell: Any, names: Sequence[str]) -> ModuleType:
    if importlib.util.find_spec(COMPILER) is None:
        raise ValueError(
            f"{cell.name} is a cell to be compiled, for which `{COMPILER}` must be installed; a generated module needs nothing"
        )
    compiler = importlib.import_module(COMPILER)
    module: ModuleType = compiler.compile(compiler.transformed(cell, names), order=2)
    return module
