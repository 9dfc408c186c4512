"""How wrong each slip makes the gradient, and that it is right under its assumption: both against the kernels' gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generated import linear, lstm, rnn, sigmoid_cross_entropy, softmax_cross_entropy

from ..plotting import BLUE, GREEN, RED
from .appearance import INK, Data, below
from .norms import tanh_rnn
from .slips import Rule, lstm_gradient, rnn_gradient
from .truncation import flat

Array = NDArray[np.float64]
Alter = Callable[[Any], Any]

COLOURS = {"lstm": RED, "rnn": BLUE, "softmax": GREEN}
STEPS, BATCH, INPUTS, HIDDEN, CLASSES, NETWORKS = 20, 8, 16, 32, 10, 10


@dataclass(frozen=True)
class Problem:
    """A network at a seed, with a linear readout and softmax cross-entropy, and what is special about it.

    Attributes
    ----------
    alter : function
        Of the parameters.
    loss : str
        At ``every`` step, at the ``last``, or, for an LSTM, a weighting of the last c (``memory``).
    """

    alter: Alter = lambda params: params
    loss: str = "every"


PLAIN = Problem()


@dataclass(frozen=True)
class Slip:
    """A slip and the assumption under which it is none.

    Attributes
    ----------
    text : str
        As it stands beside its bar.
    apply : function
        The gradient with the slip, and the kernel's, of a problem at a seed.
    right : Problem, optional
        Where it is right; there is none for some.
    problem : Problem
        Where its error is measured.
    """

    text: str
    apply: Callable[[Problem, int], tuple[Array, Array]]
    right: Problem | None = None
    problem: Problem = PLAIN


def without(*names: str) -> Alter:
    """Return a function that sets parameters to zero."""
    return lambda params: params._replace(**{name: np.zeros_like(getattr(params, name)) for name in names})


def diagonal(params: Any) -> Any:
    """Return parameters whose recurrent matrix has nothing beside its diagonal."""
    return params._replace(U=np.diag(np.linspace(-0.9, 0.9, HIDDEN)))


def direct(h: Array, problem: Problem, seed: int) -> Array:
    """Return ∂L_t/∂h_t at every step, by the kernels of readout and loss."""
    random = np.random.default_rng((seed, 4))
    readout = linear.init(HIDDEN, CLASSES, seed=seed + 1, dtype=np.float64)
    logits, _, tape = linear.forward(h, readout)
    _, _, loss_tape = softmax_cross_entropy.forward(logits, softmax_cross_entropy.Params(), k=random.integers(0, CLASSES, h.shape[:2]))
    weight = np.zeros(h.shape[:2])
    weight[-1 if problem.loss == "last" else slice(None)] = float(problem.loss != "memory")
    return np.asarray(linear.backward(softmax_cross_entropy.backward(weight, loss_tape).a, tape).x)


def inputs(seed: int) -> Array:
    """Return standard normal inputs."""
    return np.random.default_rng((seed, 3)).standard_normal((STEPS, BATCH, INPUTS))


def of_lstm(rule: Rule) -> Callable[[Problem, int], tuple[Array, Array]]:
    """Return what compares `rule` with the LSTM's kernel."""

    def apply(problem: Problem, seed: int) -> tuple[Array, Array]:
        params = problem.alter(lstm.init(INPUTS, HIDDEN, seed=seed, dtype=np.float64))
        h, final, tape = lstm.forward(inputs(seed), params)
        weights = np.random.default_rng((seed, 5)).standard_normal(final.c.shape)
        dfinal = lstm.State(c=weights if problem.loss == "memory" else np.zeros_like(weights), h=np.zeros_like(weights))
        dy = direct(h, problem, seed)
        return lstm_gradient(tape, dy, dfinal, rule), flat(lstm.backward(dy, tape, dfinal).params)

    return apply


def of_rnn(slip: str) -> Callable[[Problem, int], tuple[Array, Array]]:
    """Return what compares a slip with the tanh RNN's kernel."""

    def apply(problem: Problem, seed: int) -> tuple[Array, Array]:
        h, _, tape = rnn.forward(inputs(seed), problem.alter(tanh_rnn(0.9, HIDDEN).params(seed)))
        dy = direct(h, problem, seed)
        return rnn_gradient(tape, dy, slip), flat(rnn.backward(dy, tape).params)

    return apply


def elementwise_softmax(problem: Problem, seed: int) -> tuple[Array, Array]:
    """Return ∂L/∂V with the slope p (1 - p), without the softmax's other entries, and the kernel's.

    Under the problem ``last``, the outputs have a sigmoid each and their own cross-entropy instead: there p (1 - p) is the whole slope.
    """
    h, _ = rnn.infer(inputs(seed), tanh_rnn(0.9, HIDDEN).params(seed))
    logits, _ = linear.infer(h, linear.init(HIDDEN, CLASSES, seed=seed + 1, dtype=np.float64))
    k = np.random.default_rng((seed, 4)).integers(0, CLASSES, h.shape[:2])
    y, ones = np.eye(CLASSES)[k], np.ones(h.shape[:2])
    if problem.loss == "last":
        p = 1 / (1 + np.exp(-logits))
        by_p = -y / p + (1 - y) / (1 - p)
        exact = sigmoid_cross_entropy.backward(ones, sigmoid_cross_entropy.forward(logits, sigmoid_cross_entropy.Params(), y=y)[2]).a
    else:
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        by_p = -y / p
        exact = softmax_cross_entropy.backward(ones, softmax_cross_entropy.forward(logits, softmax_cross_entropy.Params(), k=k)[2]).a
    return np.einsum("tbi,tbj->ij", by_p * p * (1 - p), h).ravel(), np.einsum("tbi,tbj->ij", exact, h).ravel()


MEMORY = ("U_i", "U_f", "U_g")  # by which h reaches the next c
RECURRENT = (*MEMORY, "U_o")
SLIPS: dict[str, Slip] = {
    "lstm full": Slip("LSTM: all terms", of_lstm(Rule()), PLAIN),
    "lstm never": Slip("c gets nothing through h", of_lstm(Rule(source="never")), Problem(without(*MEMORY), "memory")),
    "lstm last": Slip(
        "c gets its share through h at the last step only", of_lstm(Rule(source="last")), Problem(without(*RECURRENT), "last")
    ),
    "lstm memory": Slip(
        "c gets its share through i, f, g of the next step", of_lstm(Rule(source="memory")), Problem(without("U_o"), "last")
    ),
    "lstm future": Slip(
        "h reaches the next h, not the memory after it",
        of_lstm(Rule(future=False)),
        Problem(lambda params: params._replace(b_f=np.full(HIDDEN, -50.0))),
    ),
    "lstm output": Slip("h goes back through the output gate only", of_lstm(Rule(gates="o")), Problem(without(*MEMORY))),
    "lstm slopes": Slip("slopes at the activated value", of_lstm(Rule(at_value=True))),
    "lstm slopes open": Slip(
        "the same, with a forget bias of 5",
        of_lstm(Rule(at_value=True)),
        problem=Problem(lambda params: params._replace(b_f=np.full(HIDDEN, 5.0))),
    ),
    "lstm notes": Slip("last step only, next h only, slopes: all three", of_lstm(Rule(source="last", future=False, at_value=True))),
    "rnn full": Slip("RNN: all terms", of_rnn(""), PLAIN),
    "rnn order": Slip("power of U times product of slopes", of_rnn("order"), Problem(diagonal)),
    "rnn transpose": Slip("Jacobian not transposed", of_rnn("transpose"), Problem(diagonal)),
    "rnn total": Slip("later losses counted again", of_rnn("total"), Problem(without("U"))),
    "softmax": Slip("softmax taken element by element", elementwise_softmax, Problem(loss="last")),
}


def compare(slip: Slip, problem: Problem, seed: int) -> tuple[float, float]:
    """Return the relative error and the cosine between the gradient with the slip and the kernel's."""
    found, exact = slip.apply(problem, seed)
    norm = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found - exact)) / norm, float(found @ exact) / (norm * float(np.linalg.norm(found)))


def measure() -> Data:
    """Return for each slip the median error and cosine over the networks, and whether the error vanishes where the slip is right."""
    settings = {"steps": STEPS, "batch": BATCH, "d": INPUTS, "n": HIDDEN, "classes": CLASSES, "networks": NETWORKS}
    return {"settings": settings, "slips": {name: _summary(slip) for name, slip in SLIPS.items()}}


def _summary(slip: Slip) -> Data:
    errors, cosines = zip(*(compare(slip, slip.problem, seed) for seed in range(NETWORKS)), strict=True)
    right = None if slip.right is None else max(compare(slip, slip.right, seed)[0] for seed in range(NETWORKS)) < 1e-12
    exact = max(errors) < 1e-12
    return {"text": slip.text, "error": 0.0 if exact else float(np.median(errors)), "cosine": float(np.median(cosines)), "right": right}


def draw(data: Data, figure: Any) -> None:
    """Draw the errors as bars, with the cosine beside each."""
    axes = figure.subplots()
    slips = [(name, slip) for name, slip in data["slips"].items() if not name.endswith("full")]
    slips.sort(key=lambda item: list(SLIPS).index(item[0]))
    for place, (name, slip) in enumerate(slips):
        axes.barh(place, slip["error"], color=COLOURS[name.split()[0]], height=0.6)
        note = f"{slip['error']:.0%}, cosine {slip['cosine']:.3f}"
        axes.annotate(note, (slip["error"], place), (5, 0), textcoords="offset points", va="center")
    for name, label in (("lstm", "LSTM"), ("rnn", "tanh RNN"), ("softmax", "readout of a tanh RNN")):
        axes.barh([0], [0], color=COLOURS[name], label=label)
    below(axes, 3)
    axes.set_yticks(range(len(slips)), [slip["text"] for _, slip in slips])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="relative error of the gradient", xlim=(0, 1.7))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1, 1.25])
