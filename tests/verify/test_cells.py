"""The cells that come with the toolkit: their text, their gradients, and the identities between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.columns import executed
from helpers.interpreted import Arrays, B, D, N, T, assert_close, assert_same, evaluated, gradients, moved, problem

from derive.cell import Cell
from derive.cells import FAMILIES, REGISTRY, get, gru, losses, lstm, readouts, rnn
from derive.verify.problem import Problem, Scales, sample
from derive.verify.witnesses import autograd

RECURRENT = ["rnn", "rnn_relu", "lstm", "gru", "gru_v3", "gru_v3_flipped", "rnn_concat", "lstm_concat", "lstm_stacked", "gru_v3_concat"]
READOUTS = ["linear", "tanh_readout", "softmax_readout"]
LOSSES = ["squared_error", "softmax_cross_entropy", "soft_cross_entropy", "sigmoid_cross_entropy"]
every_cell = pytest.mark.parametrize("name", REGISTRY)
first_families = pytest.mark.parametrize("name", [cell.name for family in (rnn, lstm, gru, readouts, losses) for cell in family.CELLS])
with_and_without_biases = pytest.mark.parametrize("suffix", ["", "_nobias"])


# The registry


def test_registry_holds_what_it_should() -> None:
    expected = [*RECURRENT, *(f"{name}_nobias" for name in RECURRENT), *READOUTS, *LOSSES]
    assert set(expected) <= REGISTRY.keys()
    assert [name for family in FAMILIES for name in (cell.name for cell in family.CELLS)] == list(REGISTRY)  # no name twice
    assert all(get(name) is cell and cell.name == name for name, cell in REGISTRY.items())


def test_unknown_name_proposes_the_nearest() -> None:
    with pytest.raises(LookupError, match="no cell `lstm_stakced` \\(did you mean `lstm_stacked`\\?\\)"):
        get("lstm_stakced")


@every_cell
def test_cell_tells_what_it_is(name: str) -> None:
    cell = get(name)
    assert cell.title and cell.reference
    assert len(cell.description) > 80 and "\n" not in cell.description
    assert cell.description.endswith(".")


def test_titles_are_different() -> None:
    assert len({cell.title for cell in REGISTRY.values()}) == len(REGISTRY)


@pytest.mark.parametrize("name", RECURRENT)
def test_bias_free_form_has_no_bias(name: str) -> None:
    cell, plain = get(name), get(f"{name}_nobias")
    biases = {p for p in cell.parameters if len(cell.shapes[p]) == 1}
    assert biases and set(plain.parameters) == set(cell.parameters) - biases
    assert plain.states == cell.states and plain.output == cell.output


def test_forget_gate_starts_open() -> None:
    assert get("lstm").init == get("lstm_concat").init == {"b_f": 1.0}
    assert get("lstm_nobias").init == {}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_need_one_size_only(name: str) -> None:
    cell = get(name)
    assert cell.sizes == ("d",) and cell.shapes[cell.output] == () and not cell.parameters and not cell.states


# The text as plain Python, without the toolkit's parser


@first_families
def test_text_means_what_python_says(name: str) -> None:
    cell = get(name)
    p = problem(cell)
    step = {name: value[0] for name, value in p.inputs.items()} | {f"{name}_prev": value for name, value in p.states.items()}
    got = cell.evaluate({**step, **p.parameters}, np)
    for b in range(B):
        want = executed(cell.text, {**{name: value[b] for name, value in step.items()}, **p.parameters})
        assert want.keys() == got.keys() and cell.output in want
        for target, value in want.items():
            assert_close(got[target][b], value, what=target)


# Gradients


@every_cell
def test_gradients_against_autograd(name: str) -> None:
    """Every gradient after all passes, by the interpreter, against PyTorch's autograd through the cell's own text."""
    p = problem(get(name))
    got, want = gradients(p), autograd(p)
    assert got.values.keys() == want.values.keys()
    for n, value in got.values.items():
        assert_close(value, want.values[n], what=n)
    assert_close(evaluated(p), got.values["output"], what="evaluate on NumPy")
    assert got.grads.keys() == want.grads.keys()
    for n, grad in got.grads.items():
        assert_close(grad, want.grads[n], 1e-12, what=n)


# PyTorch's own cells, which check the equations and not only the calculus

BUILT_IN = {
    "rnn": (torch.nn.RNN, {}, [""]),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}, [""]),
    "lstm": (torch.nn.LSTM, {}, ["_i", "_f", "_g", "_o"]),
    "gru": (torch.nn.GRU, {}, ["_r", "_z", "_n"]),
}


def built_in(name: str, params: Arrays) -> torch.nn.Module:
    """Return PyTorch's layer with these parameters; its second bias is zero but for the GRU's candidate."""
    kind, options, gates = BUILT_IN[name]
    layer = kind(D, N, dtype=torch.float64, **options)
    bias = [params["b_in" if gate == "_n" else f"b{gate}"] for gate in gates]
    second = [params["b_hn"] if gate == "_n" else np.zeros(N) for gate in gates]
    values = {
        "weight_ih_l0": np.vstack([params[f"W{gate}"] for gate in gates]),
        "weight_hh_l0": np.vstack([params[f"U{gate}"] for gate in gates]),
        "bias_ih_l0": np.concatenate(bias),
        "bias_hh_l0": np.concatenate(second),
    }
    layer.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    return layer


@pytest.mark.parametrize("name", BUILT_IN)
def test_against_the_built_in_layer(name: str) -> None:
    cell, gates = get(name), BUILT_IN[name][2]
    p = problem(cell)
    got, layer = gradients(p), built_in(name, p.parameters)
    x = torch.tensor(p.arrays["x"], requires_grad=True)
    states = {s: torch.tensor(p.states[s], requires_grad=True) for s in ("h", "c") if s in cell.states}
    first = tuple(state[None] for state in states.values())
    output, last = layer(x, first if len(first) > 1 else first[0])
    final = dict(zip(states, last if isinstance(last, tuple) else (last,), strict=True))
    loss = (output * torch.tensor(p.dy)).sum() + sum((final[s][0] * torch.tensor(p.dfinal[s])).sum() for s in states)
    loss.backward()
    assert_close(got.values["output"], output.detach().numpy(), 1e-12, "output")
    wanted = {"x": x.grad, **{f"{s}_prev": state.grad for s, state in states.items()}}
    for letter, key in {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0"}.items():
        parts = torch.chunk(getattr(layer, key).grad, len(gates))
        wanted |= {"b_in" if (letter, gate) == ("b", "_n") else letter + gate: part for gate, part in zip(gates, parts, strict=True)}
    if name == "gru":
        wanted["b_hn"] = layer.bias_hh_l0.grad[2 * N :]
    assert got.grads.keys() == wanted.keys()
    for key, grad in wanted.items():
        assert_close(got.grads[key], grad.numpy(), 1e-12, key)


# Other ways to write the same cell


def joined(*gates: tuple[str, str, str]) -> Callable[[Arrays], Arrays]:
    """Return what makes ``W`` of a concatenated cell from the split cell's ``U`` and ``W``; biases and all else stay."""

    def assemble(split: Arrays) -> Arrays:
        parts = {name for _, u, w in gates for name in (u, w)}
        return {n: v for n, v in split.items() if n not in parts} | {target: np.hstack([split[u], split[w]]) for target, u, w in gates}

    return assemble


def joined_candidate(split: Arrays) -> Arrays:
    both = joined(("W_r", "U_r", "W_r"), ("W_z", "U_z", "W_z"), ("W", "U_h", "W_h"))(split)
    return {"b" if name == "b_h" else name: value for name, value in both.items()}


def stacked(split: Arrays) -> Arrays:
    kept = {name: value for name, value in split.items() if name[:2] not in ("W_", "U_", "b_")}
    kept["W"] = np.vstack([np.hstack([split[f"U_{gate}"], split[f"W_{gate}"]]) for gate in "ifgo"])
    return kept | ({"b": np.concatenate([split[f"b_{gate}"] for gate in "ifgo"])} if "b_i" in split else {})


def negated_update_gate(split: Arrays) -> Arrays:
    return {name: -value if name.endswith("_z") else value for name, value in split.items()}


ASSEMBLED = [
    ("rnn", "rnn_concat", joined(("W", "U", "W"))),
    ("lstm", "lstm_concat", joined(*((f"W_{g}", f"U_{g}", f"W_{g}") for g in "ifgo"))),
    ("lstm", "lstm_stacked", stacked),
    ("gru_v3", "gru_v3_concat", joined_candidate),
    ("gru_v3", "gru_v3_flipped", negated_update_gate),
]


@with_and_without_biases
@pytest.mark.parametrize(("plain", "other", "assemble"), ASSEMBLED, ids=[other for _, other, _ in ASSEMBLED])
def test_forms_are_equal(plain: str, other: str, assemble: Callable[[Arrays], Arrays], suffix: str) -> None:
    """Equal outputs and, put together in the same way, equal gradients.

    Joining and negating are orthogonal maps of the parameters, so gradients are mapped by the same function.  The two readings of the
    update gate are related by `1 - σ(a) = σ(-a)`.
    """
    split, whole = get(plain + suffix), get(other + suffix)
    p = problem(split)
    want, parameters = gradients(p), assemble(p.parameters)
    assert parameters.keys() == set(whole.parameters)
    mapped = moved(p, whole, parameters)
    assert_same(gradients(mapped), replace(want, grads=assemble(dict(want.grads))))
    assert_close(evaluated(mapped), evaluated(p))


@pytest.mark.parametrize("name", RECURRENT)
def test_bias_free_form_equals_zero_biases(name: str) -> None:
    cell, plain = get(name), get(f"{name}_nobias")
    p = problem(cell)
    zero = {n: v if n in plain.parameters else np.zeros_like(v) for n, v in p.parameters.items()}
    assert_same(gradients(moved(p, plain, {n: zero[n] for n in plain.parameters})), gradients(moved(p, cell, zero)))


# Degenerate cases


def test_lstm_with_constant_gates_is_a_plain_network() -> None:
    """With i = 1, f = 0, o = 1 nothing is remembered but h: h = tanh(tanh(…))."""
    plain = get("lstm").replace(name="lstm_degenerate", i="1", f="0", o="1")
    assert plain.states == ("h",) and plain.parameters == ("W_g", "U_g", "b_g")
    written = Cell("h = tanh(tanh(W_g @ x + U_g @ h_prev + b_g))", name="tanh_tanh", output="h")
    p = problem(written)
    assert_same(gradients(moved(p, plain, p.parameters)), gradients(p))


def test_gru_with_constant_gates_is_the_plain_network() -> None:
    """With r = 1, z = 0 it is the simple recurrent network with the sum of the two biases."""
    plain = get("gru").replace(name="gru_degenerate", r="1", z="0")
    assert plain.parameters == ("W_n", "b_in", "U_n", "b_hn")
    p = problem(plain)
    parameters = {"W": p.arrays["W_n"], "U": p.arrays["U_n"], "b": p.arrays["b_in"] + p.arrays["b_hn"]}
    names = {"W_n": "W", "U_n": "U", "b_in": "b", "b_hn": "b"}
    assert_same(gradients(p), gradients(moved(p, get("rnn"), parameters)), names)


def test_gru_v3_with_constant_gates_is_the_plain_network() -> None:
    plain = get("gru_v3").replace(name="gru_v3_degenerate", r="1", z="0")
    p = problem(plain)
    rnn = moved(p, get("rnn"), {name[0]: value for name, value in p.parameters.items()})
    assert_same(gradients(p), gradients(rnn), {"W_h": "W", "U_h": "U", "b_h": "b"})


SCALAR_GATES = {"lstm": "ifo", "gru": "rz", "gru_v3": "rz"}


def with_scalar_gates(name: str) -> Cell:
    """Return the cell with one number a gate and row: the reading of the equations in simplified accounts."""
    shapes = {f"{letter}_{gate}": shape for gate in SCALAR_GATES[name] for letter, shape in (("W", "d"), ("U", "n"), ("b", ""))}
    cell = get(name)
    return Cell(cell.text, name=f"{name}_scalar", output=cell.output, shapes=shapes)


@pytest.mark.parametrize("name", SCALAR_GATES)
def test_scalar_gates_are_gates_with_equal_rows(name: str) -> None:
    scalar, full = with_scalar_gates(name), get(name)
    assert all(scalar.shapes[gate] == () and gate in scalar.batched for gate in SCALAR_GATES[name])
    p = problem(scalar)
    narrow = {n for n in scalar.parameters if n[2:] in SCALAR_GATES[name]}
    rows = {n: np.repeat(v[None], N, axis=0) if n in narrow else v for n, v in p.parameters.items()}
    want = gradients(moved(p, full, rows))
    summed = {n: g.sum(axis=0) if n in narrow else g for n, g in want.grads.items()}
    assert_same(gradients(p), replace(want, grads=summed))


# Losses


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(a / 2)) / 2


def of_loss(name: str, scale: float = 1.0) -> Problem:
    """Return a problem of a loss: logits, targets, cotangents."""
    return sample(get(name), sizes={"d": 6}, steps=T, batch=B, scales=Scales(given=scale))


def by_loss(p: Problem, name: str, target: np.ndarray) -> Problem:
    """Return the problem of another loss, at the same logits."""
    cell = get(name)
    return replace(p, cell=cell, arrays={"a": p.arrays["a"], cell.inputs[1]: target})


PREDICTION_LESS_TARGET: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "squared_error": lambda a, y: a - y,
    "softmax_cross_entropy": lambda a, k: softmax(a) - np.eye(a.shape[-1])[k],
    "soft_cross_entropy": lambda a, y: softmax(a) * y.sum(axis=-1, keepdims=True) - y,
    "sigmoid_cross_entropy": lambda a, y: sigmoid(a) - y,
}


@pytest.mark.parametrize("large", [False, True], ids=["ordinary", "large"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_prediction_less_target(name: str, large: bool) -> None:
    """At logits of ±1e4 too.

    There `logsumexp(a)` is a float64 near 1e4, good to half a unit in its last place: the relative error of p = exp(a - logsumexp(a)).
    """
    p = of_loss(name, 3.0)
    cell, (logits, targets) = p.cell, p.cell.inputs
    if large:
        p = p.at(logits, 1e4 * np.sign(p.arrays[logits]))
    if not cell.integers:
        p = p.at(targets, sigmoid(p.arrays[targets]))
    a, target = p.arrays[logits], p.arrays[targets]
    got = gradients(p)
    assert np.isfinite(got.values["output"]).all()
    assert_close(got.values["output"], evaluated(p))
    tolerance = float(np.spacing(1e4)) / 2 if large and "logsumexp" in cell.text else 1e-13
    assert_close(got.grads["a"], PREDICTION_LESS_TARGET[name](a, target) * p.dy[..., None], tolerance)


def test_with_targets_of_sum_one_the_soft_loss_is_the_integer_loss() -> None:
    p = of_loss("softmax_cross_entropy")
    hard, soft = gradients(p), gradients(by_loss(p, "soft_cross_entropy", np.eye(6)[p.arrays["k"]]))
    assert_close(soft.values["output"], hard.values["output"])
    assert_close(soft.grads["a"], hard.grads["a"])


def test_losses_are_the_negative_logarithm_of_the_probability() -> None:
    """The stable forms against the definitions, where those can be computed."""
    given = of_loss("softmax_cross_entropy")
    a, k, y = given.arrays["a"], given.arrays["k"], softmax(of_loss("soft_cross_entropy").arrays["y"])
    p, q = softmax(a), sigmoid(a)
    assert_close(evaluated(given), -np.log(np.take_along_axis(p, k[..., None], -1)[..., 0]))
    assert_close(evaluated(by_loss(given, "soft_cross_entropy", y)), -(y * np.log(p)).sum(axis=-1))
    several = evaluated(by_loss(given, "sigmoid_cross_entropy", y))
    assert_close(several, -(y * np.log(q) + (1 - y) * np.log(1 - q)).sum(axis=-1))
