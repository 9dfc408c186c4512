"""How a layer holds the parameters of a cell: one by one, or as `torch.nn` stacks them.

Values, tangents, and cotangents of gradients go from weights to parameters by `parameters`; gradients, and tangents of gradients, come back
by `gradients`. Both are linear, and each is the other's transpose. None is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray
Maybe = Array | None
ONE_BY_ONE, BIASES, NO_BIASES = "one by one", "biases", "no biases"  # the forms that there are
GATES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "rnn": (("",), ("b",), ("b",)),
    "rnn_relu": (("",), ("b",), ("b",)),
    "lstm": (("_i", "_f", "_g", "_o"),) + (("b_i", "b_f", "b_g", "b_o"),) * 2,
    "lstmp": (("_i", "_f", "_g", "_o"),) + (("b_i", "b_f", "b_g", "b_o"),) * 2,
    "gru": (("_r", "_z", "_n"), ("b_r", "b_z", "b_in"), ("b_r", "b_z", "b_hn")),
}
"""By cell, its gates in PyTorch's order, and the parameters to which the biases of input and hidden state are added."""


class Form(Protocol):
    """From a layer's weights, as arrays, to the `Params` of a module, and from its gradients back."""

    @property
    def count(self) -> int:
        """How many weights there are."""
        ...

    @property
    def key(self) -> str:
        """A text that says which form it is."""
        ...

    def parameters(self, weights: Sequence[Maybe]) -> Any: ...

    def gradients(self, params: Any) -> list[Maybe]: ...


@dataclass(frozen=True)
class OneByOne:
    """A weight for each parameter of a cell, in their order."""

    kind: Any

    @property
    def count(self) -> int:
        return len(self.kind._fields)

    @property
    def key(self) -> str:
        return ONE_BY_ONE

    def parameters(self, weights: Sequence[Maybe]) -> Any:
        return self.kind(*weights)

    def gradients(self, params: Any) -> list[Maybe]:
        return list(params)


@dataclass(frozen=True)
class Stacked:
    """The weights of a layer of `torch.nn`: gates one below the other, and two biases, of which the cell has the sum.

    Attributes
    ----------
    kind : type
        The module's `Params`.
    gates : tuple of str
        What follows `W` and `U` in the names of the cell's matrices, in PyTorch's order.
    inner, outer : tuple of str
        For each gate, the parameter to which the bias of the input is added, and that of the hidden state.
    bias : bool
        Whether the layer has biases.
    projected : bool
        Whether it has a matrix `W_hr` that projects the output.
    """

    kind: Any
    gates: tuple[str, ...]
    inner: tuple[str, ...]
    outer: tuple[str, ...]
    bias: bool = True
    projected: bool = False

    @property
    def count(self) -> int:
        return 2 + 2 * self.bias + self.projected

    @property
    def key(self) -> str:
        return BIASES if self.bias else NO_BIASES

    def parameters(self, weights: Sequence[Maybe]) -> Any:
        found: dict[str, Maybe] = {}
        for letter, weight in zip("WU", weights[:2], strict=True):
            found |= {f"{letter}{gate}": part for gate, part in zip(self.gates, self._parts(weight), strict=True)}
        for names, weight in zip((self.inner, self.outer), weights[2:4] if self.bias else (None, None), strict=True):
            for name, part in zip(names, self._parts(weight), strict=True):
                found[name] = summed(found.get(name), part)
        if self.projected:
            found["W_hr"] = weights[-1]
        if not self.bias and weights[0] is not None:
            none = np.zeros(len(weights[0]) // len(self.gates), weights[0].dtype)
            found |= dict.fromkeys({*self.inner, *self.outer}, none)
        return self.kind(**found)

    def gradients(self, params: Any) -> list[Maybe]:
        names = [[f"{letter}{gate}" for gate in self.gates] for letter in "WU"]
        names += [[*self.inner], [*self.outer]] if self.bias else []
        found = [_stack([getattr(params, name) for name in gates]) for gates in names]
        return [*found, params.W_hr] if self.projected else found

    def _parts(self, weight: Maybe) -> Sequence[Maybe]:
        """Return the gates of a weight."""
        if weight is None:
            return (None,) * len(self.gates)
        n = len(weight) // len(self.gates)
        return [weight[k * n : (k + 1) * n] for k in range(len(self.gates))]


def summed(a: Maybe, b: Maybe) -> Maybe:
    """Return a sum in which None is zero."""
    return b if a is None else a if b is None else a + b


def _stack(parts: Sequence[Maybe]) -> Maybe:
    """Return gates one below the other; those that are None are zero beside others."""
    like = next((part for part in parts if part is not None), None)
    return None if like is None else np.concatenate([np.zeros_like(like) if part is None else part for part in parts])


def form(key: str, name: str, params: Any) -> Form:
    """Return the form of a key, for the cell of a name, with such `Params`."""
    if key == ONE_BY_ONE:
        return OneByOne(params)
    return Stacked(params, *GATES[name], key == BIASES, "W_hr" in params._fields)
