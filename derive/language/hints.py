"""What people write out of habit, and how the language says it; what it cannot say, and where that is explained."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .errors import nearest


def limit(section: str) -> str:
    """Return the pointer to a section of the guide's list of limits."""
    return f'see "{section}" in the guide\'s list of limits (docs/limits.md)'


MATRICES = "Matrix-valued states"
HEADS = "Heads"
CONVOLUTION = "Convolution"
RANDOMNESS = "Randomness, dropout"
OTHER_STEPS = "Other steps than the one before"


def _each(names: str, advice: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), advice)


_CONCATENATED = "vectors are concatenated by `[a, b]`"
_PRODUCT = "the product of a matrix and a vector is `W @ x`"
HABITS: Mapping[str, str] = MappingProxyType(
    _each("sigma σ logistic expit sigm", "write `sigmoid(…)`")
    | _each("concat concatenate cat hstack stack append", _CONCATENATED)
    | _each("dot matmul mm mv linear", _PRODUCT)
    | _each("mul multiply hadamard prod", "the elementwise product is `a * b`")
    | _each("max", "the elementwise maximum is `maximum(a, b)`")
    | _each("min", "the elementwise minimum is `minimum(a, b)`")
    | _each("clip clamp clamp_min clamp_max", "write `minimum(maximum(a, low), high)`")
    | _each("hardtanh", "write `hard_tanh(…)`")
    | _each("hardsigmoid", "write `hard_sigmoid(…)`")
    | _each("relu6", "write `minimum(relu(a), 6)`")
    | _each("swish", "write `silu(…)`")
    | _each("mish", "write `a * tanh(softplus(a))`")
    | _each("hardswish hard_swish hard_silu", "write `a * hard_sigmoid(a)`")
    | _each("heaviside", "write `step(…)`")
    | _each("sgn", "write `sign(…)`")
    | _each("log1p", "write `log(1 + a)`")
    | _each("expm1", "write `exp(a) - 1`")
    | _each("log2 log10", "write `log(a) / log(2)`")
    | _each("rsqrt", "write `a ** -0.5`")
    | _each("reciprocal", "write `1 / a`")
    | _each("tan", "write `sin(a) / cos(a)`")
    | _each("sinh cosh", "write `(exp(a) - exp(-a)) / 2`, with `+` for cosh")
    | _each(
        "atan arctan atan2 arctan2 asin arcsin acos arccos",
        "there are no inverse trigonometric functions; `tanh`, `softsign` and `erf` saturate too",
    )
    | _each("stop_gradient stopgradient no_grad", "write `detach(v)`")
    | _each("clip_grad gradient_clip", "write `clip_gradient(v, low, high)`")
    | _each("heaviside_surrogate spike", 'declare it with its derivative: `functions={"spike(u)": ("step(u)", "1 / (1 + abs(u)) ** 2")}`')
    | _each("ceil", "write `-floor(-a)`")
    | _each("trunc fix", "write `sign(a) * floor(abs(a))`")
    | _each("fmod mod remainder", "write `a - b * floor(a / b)`")
    | _each("rint around", "write `round(a)`")
    | _each("pow power square", "a power is `a ** 2`")
    | _each("norm", "write `sqrt(sum(v ** 2))`")
    | _each("var variance std", "write `mean((v - mean(v)) ** 2)` for a variance")
    | _each("leaky_relu leakyrelu", "write `maximum(a, 0.01 * a)`")
    | _each("prelu", "write `where(a > 0, a, alpha * a)`")
    | _each("transpose t", "the transpose of a matrix is `W.T`")
    | _each("identity id", "write the value itself; the identity matrix is `eye`")
    | _each("eye", "write `eye` alone: its size is that of the matrix beside it")
    | _each("zeros ones zeros_like ones_like full", "write a number: `0` and `1` take the shape of what stands beside them")
    | _each("chunk unbind unstack", "write `a, b = split(v, 2)`")
    | _each("ger", "the outer product is `outer(a, b)`")
    | _each("kron", f"the outer product of two vectors is `outer(a, b)`; of other products {limit(MATRICES)}")
    | _each("einsum tensordot bmm", f"products are `W @ x`, `a * b`, `a @ b` and `outer(a, b)`; for others {limit(MATRICES)}")
    | _each(
        "block_diag blockdiag diag heads reshape view permute rearrange",
        f'there is no axis of heads or blocks; a cell of heads is `Cell(…, heads="H")`: {limit(HEADS)}',
    )
    | _each("conv conv1d conv2d conv3d convolve", f"products are dense: {limit(CONVOLUTION)}")
    | _each("dropout zoneout bernoulli rand randn random normal uniform", f"a cell draws no random numbers: {limit(RANDOMNESS)}")
    | _each("cumsum shift roll delay lag attention", f"a cell reads the step before alone: {limit(OTHER_STEPS)}")
)
_CHARACTERS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys("⊙∘·×⋅•∗", "the elementwise product is `*`, that of a matrix and a vector is `@`")
    | dict.fromkeys("−–—", "write `-`")
    | dict.fromkeys("←≔", "write `=`")
    | dict.fromkeys("÷∕", "write `/`")
    | dict.fromkeys("²³", "a power is `a ** 2`")
    | dict.fromkeys("√", "write `sqrt(…)`")
    | dict.fromkeys("Σ∑", "write `sum(…)`")
    | dict.fromkeys("⊗", "the outer product is `outer(a, b)`")
    | dict.fromkeys("′’'", "write a name of letters, digits and underscores")
)


def function_hint(name: str, known: frozenset[str]) -> str:
    """Return what to write instead of an unknown function."""
    habit = HABITS.get(name) or ("" if name.lower() in known else HABITS.get(name.lower()))
    if habit:
        return f": {habit}"
    return nearest(name, known) or f": known are {', '.join(sorted(known))}"


def character_hint(text: str) -> str:
    """Return what to write instead of the first foreign character in `text`; nothing, if there is none."""
    return next((_CHARACTERS[character] for character in text if character in _CHARACTERS), "")
