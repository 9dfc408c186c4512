"""What the language has of its own: functions with their arities, names that stand for them, and how large a text may be."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from .hints import character_hint

MAX_TEXT = 50_000
MAX_EQUATIONS = 500
MAX_COPIES = 16  # of a line in blocks: each takes as long to compile as a line of its own
MAX_DEPTH = 100
MAX_EXPONENT = 64
MAX_NUMBER = Fraction(10) ** 300

ELEMENTWISE = frozenset(
    {"sigmoid", "tanh", "relu", "exp", "log", "sqrt", "logsigmoid", "softplus", "softsign", "elu", "gelu", "silu"}
    | {"hard_sigmoid", "hard_tanh", "erf", "sin", "cos", "abs", "sign", "step", "floor", "round", "detach"}
)
GRADIENTS = ("clip_gradient", "scale_gradient")  # their first argument as it is, but for its cotangent
FEATURES = frozenset({"softmax", "logsumexp", "sum", "mean", "len", "layer_norm"})
ARITY: Mapping[str, int] = MappingProxyType(
    {name: 1 for name in ELEMENTWISE | FEATURES}
    | {"maximum": 2, "minimum": 2, "where": 3, "pick": 2, "split": 2, "outer": 2, "merge": 1, "part": 1}
    | {"clip_gradient": 3, "scale_gradient": 2}
)
AXES = frozenset({"sum"})  # functions that may be given a matrix and one of its axes
RESERVED = frozenset(ARITY) | {"eye"}


def bad_name(name: str) -> str:
    """Return why `name` cannot stand for a value; nothing, if it can."""
    if keyword.iskeyword(name):
        return f"`{name}` is a keyword of Python: choose another name, such as `{name}_`"
    if name in RESERVED:
        return f"`{name}` is a function of the language and cannot name a value"
    if name.lower() in ("nan", "inf", "infinity"):
        return f"`{name}` is not a number of the language: numbers are finite, write a large one such as `1e30`"
    if name.startswith("_"):
        return f"`{name}` begins with an underscore: choose another name, such as `{name.strip('_') or 'v'}`"
    if hint := character_hint(name):
        return f"`{name}` is read as one name: {hint}"
    return ""
