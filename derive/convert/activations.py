"""Activation functions of other frameworks in the language of cells."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ..language.vocabulary import ELEMENTWISE


@dataclass(frozen=True)
class Activation:
    """A function of one argument: its name in a cell's text, and its value in terms of `u`.

    One of the language's own functions stands for itself: ``Activation("tanh")``.
    """

    name: str
    value: str = ""

    @property
    def defined(self) -> dict[str, str]:
        """What a cell must be told of it: `Cell(functions=…)`."""
        return {f"{self.name}(u)": self.value} if self.value else {}

    def clipped(self, bound: float) -> Activation:
        """Return the function of what is clipped to ±bound first."""
        inner = f"minimum(maximum(u, {-bound!r}), {bound!r})"
        value = re.sub(r"\bu\b", inner, self.value) if self.value else f"{self.name}({inner})"
        return Activation(f"clipped_{self.name}", value)

    def numbered(self, k: int) -> Activation:
        """Return the function under another name, if it has one of its own."""
        return replace(self, name=f"{self.name}_{k}") if self.value else self


SIGMOID, TANH, RELU = Activation("sigmoid"), Activation("tanh"), Activation("relu")
LINEAR = Activation("linear", "u")


def hard_sigmoid(slope: float = 0.2, offset: float = 0.5) -> Activation:
    """Return the function of Keras before version 3, and of ONNX: a line, cut off at 0 and 1."""
    return Activation("cut_line", f"minimum(maximum({slope!r} * u + {offset!r}, 0), 1)")


def leaky_relu(slope: float) -> Activation:
    return Activation("leaky_relu", f"where(u > 0, u, {slope!r} * u)")


def scaled_elu(alpha: float) -> Activation:
    return Activation("elu") if alpha == 1 else Activation("scaled_elu", f"where(u > 0, u, {alpha!r} * (exp(u) - 1))")


SAME = ("sigmoid", "tanh", "relu", "elu", "gelu", "silu", "softplus", "softsign", "hard_sigmoid", "hard_tanh")
KERAS: dict[str, Activation] = {
    **{name: Activation(name) for name in SAME},
    **{"log_sigmoid": Activation("logsigmoid"), "exponential": Activation("exp"), "linear": LINEAR, "swish": Activation("silu")},
    "relu6": Activation("relu6", "minimum(maximum(u, 0), 6)"),
    "leaky_relu": leaky_relu(0.2),
    "selu": Activation("selu", "1.0507009873554805 * where(u > 0, u, 1.6732632423543772 * (exp(u) - 1))"),
}
"""By the names that Keras 3 gives its functions, each with Keras's own constants."""

DEFAULTS: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("relu", "tanh", "sigmoid", "softsign", "softplus"), ()),
    **{"leakyrelu": (0.01,), "thresholdedrelu": (1.0,), "elu": (1.0,)},
    **{"affine": (1.0, 0.0), "scaledtanh": (1.0, 1.0), "hardsigmoid": (0.2, 0.5)},
}
"""Of ONNX's functions, in small letters, the constants alpha and beta that they have."""


def onnx(name: str, *constants: float) -> Activation | None:
    """Return an activation of ONNX's recurrent operators with its constants; None if there is no such function."""
    a, b = (*constants, 0.0, 0.0)[:2]
    made: dict[str, Any] = {
        "leakyrelu": leaky_relu(a),
        "thresholdedrelu": Activation("thresholded_relu", f"where(u >= {a!r}, u, 0)"),
        "elu": scaled_elu(a),
        "affine": Activation("affine", f"{a!r} * u + {b!r}"),
        "scaledtanh": Activation("scaled_tanh", f"{a!r} * tanh({b!r} * u)"),
        "hardsigmoid": hard_sigmoid(a, b),
    }
    return made.get(name, Activation(name) if name in ELEMENTWISE else None) if name in DEFAULTS else None
