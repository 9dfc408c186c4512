"""The zoo: cells of the literature beyond the first ones. Their text, their gradients, and implementations that share nothing with them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import torchrecurrent
from conftest import generated
from helpers.columns import executed
from helpers.interpreted import B, D, N, P, T, assert_close, evaluated, gradients, problem, sizes_of
from torch.func import functional_call
from torch.nn.functional import conv1d

from derive.cell import Cell
from derive.cells import REGISTRY
from derive.cells.memory import A_BAR, B_BAR, ORDER, WINDOW, legendre
from derive.verify.problem import Problem, Result, initial, sample
from derive.verify.tolerances import AUTOGRAD, FLOAT32, TOLERANCES, relative
from derive.verify.witnesses import autograd, kernel

MODULES = ["peephole", "lstm_variants", "gated", "mutants", "diagonal", "oscillators", "fast", "highway", "memory", "normalised"]
ALL = [cell for module in MODULES for cell in importlib.import_module(f"derive.cells.{module}").CELLS]
ZOO: dict[str, Cell] = {cell.name: cell for cell in ALL if cell.name != "rhn_loop"}  # a block is no Python of one row
COMPILED = ["slstm", "lru"]
TOLERANCE = 1e-10
Tensors = Mapping[str, torch.Tensor]
every_cell = pytest.mark.parametrize("name", ZOO)

# By cell: states, and number of parameters. The first families have `rnn`, `lstm`, `gru` and `gru_v3`.
PUBLISHED = {
    "indrnn": ("h", "n*d + 2*n"),
    "lstmp": ("h c", "4*n*d + 4*n*p + 4*n + p*n"),
    "lstm_peephole": ("y c", "4*n*d + 4*n*n + 7*n"),
    "greff_nog": ("y c", "3*n*d + 3*n*n + 5*n"),
    "greff_niaf": ("y c", "4*n*d + 4*n*n + 7*n"),
    "greff_cifg": ("y c", "3*n*d + 3*n*n + 5*n"),
    "greff_np": ("y c", "4*n*d + 4*n*n + 4*n"),
    "lstm_original": ("h c", "3*n*d + 3*n*n + 3*n"),
    "mgu": ("h", "2*n*d + 2*n*n + 2*n"),
    "ligru": ("h", "2*n*d + 2*n*n + 2*n"),
    "janet": ("c", "2*n*d + 2*n*n + 2*n"),
    "mut1": ("h", "2*n*d + 2*n*n + 3*n"),
    "mut3": ("h", "3*n*d + 3*n*n + 3*n"),
    "ugrnn": ("h", "2*n*d + 2*n*n + 2*n"),
    "ran": ("h c", "3*n*d + 2*n*n + 2*n"),
    "sru_v1": ("c", "3*n*d + 2*n"),
    "qrnn": ("c xl", "6*n*d + 3*n"),
    "mingru": ("h", "2*n*d + 2*n"),
    "minlstm": ("h", "3*n*d + 3*n"),
    "trnn": ("h", "2*n*d + n"),
    "tgru": ("h xl", "6*n*d + 3*n"),
    "lru": ("sr si", "3*n + 4*n*d + d"),
    "slstm": ("h c nn m", "4*n*d + 4*n*n + 4*n"),
    "cornn": ("y z", "n*d + 2*n*n + n"),
    "fastrnn": ("h", "n*d + n*n + n + 2"),
    "fastgrnn": ("h", "n*d + n*n + 2*n + 2"),
    "antisymmetric": ("h", "n*n + n*d + n"),
    "antisymmetric_gated": ("h", "n*n + 2*n*d + 2*n"),
    "rhn": ("s", "2*n*d + 2*3*n*n + 2*3*n"),
    "brc": ("h", "3*n*d + 4*n"),
    "lmu": ("h m", "d + n + q + n*d + n*n + n*q"),
    "lstm_layernorm": ("c h", "4*n*d + 4*n*n + 4*n + 2*4*n + 2*n"),
    "gru_layernorm": ("h", "3*n*d + 3*n*n + 4*n + 2*2*n + 2*n"),
}


def problem_of(cell: Cell) -> Problem:
    """Return random values; a normaliser is a sum of exponentials, so it is positive and not near zero."""
    p = problem(cell)
    return p.at("nn_prev", 0.5 + np.abs(p.arrays["nn_prev"])) if cell.name == "slstm" else p


def compare(got: Result, want: Result) -> None:
    assert got.values.keys() == want.values.keys() and got.grads.keys() == want.grads.keys()
    for name, value in want.values.items():
        assert_close(got.values[name], value, TOLERANCE, name)
    for name, value in want.grads.items():
        assert_close(got.grads[name], value, TOLERANCE, name)


# What the cells are


def test_all_are_there() -> None:
    assert ZOO.keys() == PUBLISHED.keys()
    others = {name: cell for name, cell in REGISTRY.items() if name not in ZOO}
    assert len({cell.title for cell in (*ZOO.values(), *others.values())}) == len(ZOO) + len(others)


@every_cell
def test_cell_tells_what_it_is(name: str) -> None:
    cell = ZOO[name]
    assert cell.title and cell.reference
    assert len(cell.description) > 80 and "\n" not in cell.description and cell.description.endswith(".")


@every_cell
def test_cell_has_the_published_states_and_parameters(name: str) -> None:
    cell, (states, count) = ZOO[name], PUBLISHED[name]
    sizes = {**sizes_of(cell), "q": ORDER}
    assert set(cell.states) == set(states.split())
    numbers = sum(int(np.prod([s.evaluate(sizes) for s in cell.shapes[p]], dtype=int)) for p in cell.parameters)
    assert numbers == eval(count, {}, sizes)
    assert {p for p in cell.parameters if cell.shapes[p] == ()} <= {"alpha", "beta", "zeta", "nu"}


@every_cell
def test_a_new_cell_is_usable(name: str) -> None:
    """From its initial parameters and the state that it starts in, a long sequence gives moderate numbers that depend on the input."""
    cell = ZOO[name]
    module, sizes = generated(name), {**sizes_of(cell), "n": 24, "d": 24 if cell.equal_sizes else 3}
    p = initial(module, cell, sizes=sizes, steps=100, batch=B, dtype=np.float64)
    output = evaluated(p)
    assert np.isfinite(output).all() and 1e-3 < np.abs(output).max() < 100
    assert np.abs(output[-1, 0] - output[-1, 1]).max() > 1e-4
    for name_of_value, rule in cell.init.items():
        value = {**p.parameters, **p.states}[name_of_value]
        assert np.ptp(value) > 1 if isinstance(rule, str) else (value == rule).all()


# The text and its gradients


@every_cell
def test_text_means_what_python_says(name: str) -> None:
    cell = ZOO[name]
    p = problem_of(cell)
    step = {name: value[0] for name, value in p.inputs.items()} | {f"{name}_prev": value for name, value in p.states.items()}
    got = cell.evaluate({**step, **p.parameters}, np)
    for b in range(B):
        constants = {name: np.asarray(value, np.float64) for name, value in cell.constants.items()}
        row = {**{name: value[b] for name, value in step.items()}, **p.parameters, **constants}
        want = executed(cell.text, row, order=N)
        assert want.keys() == got.keys() and cell.output in want
        for target, value in want.items():
            assert_close(got[target][b] if target in cell.batched else got[target], value, what=target)


@every_cell
def test_gradients_against_autograd(name: str) -> None:
    p = problem_of(ZOO[name])
    got = gradients(p)
    compare(got, autograd(p))
    assert_close(evaluated(p), got.values["output"], what="evaluate on NumPy")


# Implementations that share nothing with this project: they check the equations, not only the calculus


@dataclass(frozen=True)
class Theirs:
    """A cell of torchrecurrent.

    Attributes
    ----------
    kind : str
        Its class.
    blocks : mapping
        By name of its parameters, our parameters from top to bottom, or numbers that fill a block.  What is not named is zero: the
        second bias of most cells, and biases that the equations lack.
    states : tuple of str
        What its states are called here.
    options : mapping
        Arguments beyond the sizes.
    """

    kind: str
    blocks: Mapping[str, tuple[str | float, ...]]
    states: tuple[str, ...] = ("h",)
    options: Mapping[str, Any] = field(default_factory=dict)


def gated(gates: str, **further: tuple[str | float, ...]) -> dict[str, tuple[str | float, ...]]:
    """Return blocks of gates that all have W, U and b."""
    letters = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b"}
    return {**{key: tuple(f"{letter}_{gate}" for gate in gates) for key, letter in letters.items()}, **further}


TORCHRECURRENT = {
    "indrnn": Theirs("IndRNNCell", {"weight_ih": ("W",), "vector_u": ("u",), "bias_ih": ("b",)}, options={"nonlinearity": "relu"}),
    "lstm_peephole": Theirs(
        "PeepholeLSTMCell",
        gated("ifzo", weight_hh=("R_i", "R_f", "R_z", "R_o"), weight_ph=("p_i", "p_f", "p_o")),
        states=("y", "c"),
    ),
    "lstm_original": Theirs("OriginalLSTMCell", gated("igo"), states=("h", "c")),
    "mgu": Theirs("MGUCell", gated("fh")),
    "ligru": Theirs("LiGRUCell", gated("zh")),
    # Two states, equal at every step, and a trainable β.
    "janet": Theirs("JANETCell", gated("fc", beta=(1.0,)), states=("c", "c")),
    # A trainable matrix on the bare x: the identity here.
    "mut1": Theirs(
        "MUT1Cell",
        {"weight_ih": ("W_xz", "W_xr", "identity"), "weight_hh": ("U_hr", "U_hh"), "bias_ih": ("b_z", "b_r", 0.0), "bias_hh": (0.0, "b_h")},
    ),
    "mut3": Theirs(
        "MUT3Cell",
        {"weight_ih": ("W_xz", "W_xr", "W_xh"), "weight_hh": ("U_hz", "U_hr", "U_hh"), "bias_ih": ("b_z", "b_r", "b_h")},
    ),
    "ugrnn": Theirs("UGRNNCell", gated("cg", bias_hh=(0.0, 1.0))),  # the constant b_fg is in the second bias
    "ran": Theirs(
        "RANCell",
        {"weight_ih": ("W_c", "W_i", "W_f"), "weight_hh": ("U_i", "U_f"), "bias_ih": ("b_i", "b_f")},
        states=("h", "c"),
    ),
    "trnn": Theirs("TRNNCell", {"weight_ih": ("W", "V"), "bias_ih": (0.0, "b")}),
    "tgru": Theirs("TGRUCell", gated("zfo", weight_hh=("V_z", "V_f", "V_o")), states=("h", "xl")),
    "cornn": Theirs("coRNNCell", {"weight_ih": ("V",), "weight_hh": ("W",), "weight_ch": ("Wz",), "bias_ih": ("b",)}, states=("y", "z")),
    "fastrnn": Theirs("FastRNNCell", {"weight_ih": ("W",), "weight_hh": ("U",), "bias_ih": ("b",), "alpha": ("alpha",), "beta": ("beta",)}),
    "fastgrnn": Theirs(
        "FastGRNNCell",
        {"weight_ih": ("W",), "weight_hh": ("U",), "bias_ih": ("b_z", "b_h"), "zeta": ("zeta",), "nu": ("nu",)},
        options={"nonlinearity": "sigmoid"},  # of the gate
    ),
    "antisymmetric": Theirs(
        "AntisymmetricRNNCell",
        {"weight_ih": ("V",), "weight_hh": ("W",), "bias_ih": ("b",)},
        options={"epsilon": 0.1, "gamma": 0.1},
    ),
    "antisymmetric_gated": Theirs(
        "GatedAntisymmetricRNNCell",
        {"weight_ih": ("V_z", "V_h"), "weight_hh": ("W",), "bias_ih": ("b_z", "b_h")},
        options={"epsilon": 0.1, "gamma": 0.1},
    ),
    "brc": Theirs("BRCell", {"weight_ih": ("U_a", "U_c", "U_h"), "weight_hh": ("w_a", "w_c"), "bias_ih": ("b_a", "b_c", 0.0)}),
}


def assembled(module: torch.nn.Module, blocks: Mapping[str, tuple[str | float, ...]], ours: Tensors) -> dict[str, torch.Tensor]:
    """Return the parameters of `module`, put together from `ours`."""
    assert blocks.keys() <= dict(module.named_parameters()).keys()
    found = {}
    for key, parameter in module.named_parameters():
        parts = blocks.get(key, (0.0,))
        shape = (parameter.shape[0] // len(parts), *parameter.shape[1:]) if parameter.ndim else (1,)
        filled = [ours[p].reshape(shape) if isinstance(p, str) else torch.full(shape, p, dtype=torch.float64) for p in parts]
        found[key] = torch.cat(filled).reshape(parameter.shape)
    return found


def theirs(name: str, ours: Tensors) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Run torchrecurrent's cell on our parameters, inputs and states: output at every step, final states."""
    spec = TORCHRECURRENT[name]
    module = getattr(torchrecurrent, spec.kind)(ours["x"].shape[-1], N, **spec.options).double()
    params = assembled(module, spec.blocks, {**ours, "identity": torch.eye(N, dtype=torch.float64)})
    states, outputs = tuple(ours[f"{s}_prev"] for s in spec.states), []
    for x in ours["x"]:
        new = functional_call(module, params, (x, states if len(states) > 1 else states[0]))
        states = new if isinstance(new, tuple) else (new,)
        outputs.append(states[0])
    return torch.stack(outputs), dict(zip(spec.states, states, strict=True))


def built_in_lstm(ours: Tensors, blocks: Mapping[str, tuple[str, ...]], output: str, size: int) -> tuple[torch.Tensor, dict[str, Any]]:
    module = torch.nn.LSTM(D, N, proj_size=size, dtype=torch.float64)
    initial = tuple(ours[f"{s}_prev"][None] for s in (output, "c"))
    y, final = functional_call(module, assembled(module, blocks, ours), (ours["x"], initial))
    return y, {output: final[0][0], "c": final[1][0]}


def lstmp(ours: Tensors) -> Any:
    blocks = {f"{key}_l0": tuple(f"{w}_{g}" for g in "ifgo") for key, w in {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b"}.items()}
    return built_in_lstm(ours, {**blocks, "weight_hr_l0": ("W_hr",)}, "h", P)


def without_peepholes(ours: Tensors) -> Any:
    blocks = {f"{key}_l0": tuple(f"{w}_{g}" for g in "ifzo") for key, w in {"weight_ih": "W", "weight_hh": "R", "bias_ih": "b"}.items()}
    return built_in_lstm(ours, blocks, "y", 0)


def complex_recurrence(ours: Tensors) -> Any:
    """LRU in the complex numbers of its publication."""
    lam = torch.exp(torch.complex(-torch.exp(ours["nu"]), torch.exp(ours["theta"])))
    b, c = torch.complex(ours["B_re"], ours["B_im"]), torch.complex(ours["C_re"], ours["C_im"])
    s, outputs = torch.complex(ours["sr_prev"], ours["si_prev"]), []
    for x in ours["x"]:
        s = lam * s + torch.exp(ours["gamma"]) * (x.to(b.dtype) @ b.T)
        outputs.append((s @ c.T).real + ours["Dv"] * x)
    return torch.stack(outputs), {"sr": s.real, "si": s.imag}


def unstabilised(ours: Tensors) -> Any:
    """The sLSTM with the plain exponential gate; the stabilised memory is the plain one times e⁻ᵐ."""
    h, m = ours["h_prev"], ours["m_prev"]
    c, n, outputs = ours["c_prev"] * torch.exp(m), ours["nn_prev"] * torch.exp(m), []
    for x in ours["x"]:
        z, i, f, o = (x @ ours[f"W_{g}"].T + h @ ours[f"R_{g}"].T + ours[f"b_{g}"] for g in "zifo")
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        m = torch.maximum(torch.log(torch.sigmoid(f)) + m, i)
        h = torch.sigmoid(o) * c / n
        outputs.append(h)
    return torch.stack(outputs), {"h": h, "c": c * torch.exp(-m), "nn": n * torch.exp(-m), "m": m}


def convolution(ours: Tensors) -> Any:
    """QRNN: a causal convolution over the whole sequence, then the pooling."""
    series = torch.cat([ours["xl_prev"][None], ours["x"]]).permute(1, 2, 0)  # (B, d, T + 1)
    filters = {g: torch.stack([ours[f"W_{g}0"], ours[f"W_{g}1"]], dim=-1) for g in "zfo"}
    z, f, o = (conv1d(series, filters[g], ours[f"b_{g}"]).permute(2, 0, 1) for g in "zfo")
    c, outputs = ours["c_prev"], []
    for t in range(T):
        keep = torch.sigmoid(f[t])
        c = keep * c + (1 - keep) * torch.tanh(z[t])
        outputs.append(torch.sigmoid(o[t]) * c)
    return torch.stack(outputs), {"c": c, "xl": ours["x"][-1]}


def highway(ours: Tensors) -> Any:
    """RHN with its loop over the depth."""
    s, outputs = ours["s_prev"], []
    for x in ours["x"]:
        for layer in (1, 2, 3):
            first = 1.0 if layer == 1 else 0.0
            h, t = (first * (x @ ours[f"W_{g}"].T) + s @ ours[f"R_{g}{layer}"].T + ours[f"b_{g}{layer}"] for g in "HT")
            s = torch.tanh(h) * torch.sigmoid(t) + s * (1 - torch.sigmoid(t))
        outputs.append(s)
    return torch.stack(outputs), {"s": s}


def normal(value: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
    return torch.nn.functional.layer_norm(value, value.shape[-1:], gain, shift)


def normalised_lstm(ours: Tensors) -> Any:
    h, c, outputs = ours["h_prev"], ours["c_prev"], []
    bias = torch.cat([ours[f"b_{g}"] for g in "ifgo"])
    for x in ours["x"]:
        a = normal(x @ ours["W"].T, ours["s_x"]) + normal(h @ ours["U"].T, ours["s_h"], bias)
        i, f, g, o = torch.chunk(a, 4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(normal(c, ours["s_c"], ours["b_c"]))
        outputs.append(h)
    return torch.stack(outputs), {"h": h, "c": c}


def normalised_gru(ours: Tensors) -> Any:
    h, outputs = ours["h_prev"], []
    bias = torch.cat([ours["b_r"], ours["b_z"]])
    for x in ours["x"]:
        r, z = torch.chunk(torch.sigmoid(normal(x @ ours["W"].T, ours["s_x"]) + normal(h @ ours["U"].T, ours["s_h"], bias)), 2, dim=-1)
        past = normal(h @ ours["U_n"].T, ours["s_hn"], ours["b_hn"])
        h = torch.lerp(torch.tanh(normal(x @ ours["W_n"].T, ours["s_in"], ours["b_in"]) + r * past), h, z)
        outputs.append(h)
    return torch.stack(outputs), {"h": h}


REFERENCES: dict[str, Callable[[Tensors], tuple[torch.Tensor, Mapping[str, torch.Tensor]]]] = {
    **{name: lambda ours, name=name: theirs(name, ours) for name in TORCHRECURRENT},  # type: ignore[misc]
    "lstmp": lstmp,
    "greff_np": without_peepholes,
    "lru": complex_recurrence,
    "slstm": unstabilised,
    "qrnn": convolution,
    "rhn": highway,
    "lstm_layernorm": normalised_lstm,
    "gru_layernorm": normalised_gru,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_against_an_independent_implementation(name: str) -> None:
    """Outputs, final states and the gradients by every parameter, input and initial state."""
    cell = ZOO[name]
    p = problem_of(cell)
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in p.arrays.items()}
    output, final = REFERENCES[name](leaves)
    loss = (output * torch.tensor(p.dy)).sum() + sum((final[s] * torch.tensor(p.dfinal[s])).sum() for s in cell.states)
    found = torch.autograd.grad(loss, list(leaves.values()))
    values = {"output": output, **{f"final {s}": final[s] for s in cell.states}}
    wanted = {key: grad.numpy() for key, grad in zip(leaves, found, strict=True)}
    compare(gradients(p), Result({key: value.detach().numpy() for key, value in values.items()}, wanted))


# What is special to some


def test_gradient_by_an_antisymmetric_matrix_is_antisymmetric() -> None:
    for name in ("antisymmetric", "antisymmetric_gated"):
        grad = gradients(problem_of(ZOO[name])).grads["W"]
        assert_close(grad.T, -grad)


def test_output_of_the_slstm_does_not_depend_on_its_stabiliser() -> None:
    """Scaling memory and normaliser by e⁻ᵐ and adding m to the stabiliser changes nothing."""
    p = problem_of(ZOO["slstm"])
    shift = np.random.default_rng(5).uniform(-3, 3, p.states["m"].shape)
    scaled = p.at("m_prev", p.states["m"] + shift)
    for name in ("c", "nn"):
        scaled = scaled.at(f"{name}_prev", p.states[name] * np.exp(-shift))
    assert_close(evaluated(scaled), evaluated(p))


def test_legendre_memory_is_discretised_by_zero_order_hold() -> None:
    """Against PyTorch's matrix exponential of the delay system."""
    i, j = np.mgrid[:ORDER, :ORDER]
    system = np.zeros((ORDER + 1, ORDER + 1))
    system[:ORDER, :ORDER] = (2 * i + 1) * np.where(i < j, -1.0, (-1.0) ** (i - j + 1))
    system[:ORDER, ORDER] = (2 * i[:, 0] + 1) * (-1.0) ** i[:, 0]
    want = torch.linalg.matrix_exp(torch.tensor(system / WINDOW)).numpy()
    assert_close(np.column_stack([A_BAR, B_BAR]), want[:ORDER])


def test_legendre_memory_reads_the_start_of_its_window() -> None:
    """The Legendre polynomials are 1 at the end of their interval: the sum of the memory is the input of one window ago."""
    a, b = legendre(12, 100)
    u = np.sin(2 * np.pi * np.arange(500) / 160)
    m, read = np.zeros(12), []
    for value in u:
        m = a @ m + b * value
        read.append(m.sum())
    assert np.abs(np.array(read)[200:] - u[100:-100]).max() < 0.05


# Kernels


RUNS = [({"n": 9, "p": 4}, 5, 3), ({"d": 2, "n": 33, "p": 5}, 2, 1), ({"d": 17, "n": 8, "p": 3}, 3, 19)]


def verify_kernels(name: str) -> None:
    module = generated(name)
    for sizes, steps, batch in RUNS:
        p = sample(ZOO[name], sizes=sizes, steps=steps, batch=batch)
        errors = relative(kernel(module, p), autograd(p))
        assert max(errors.values()) <= TOLERANCES[AUTOGRAD], errors
        single = p.cast(np.float32)
        errors = relative(kernel(module, single), kernel(module, single.cast(np.float64)))
        assert max(errors.values()) <= TOLERANCES[FLOAT32], errors


@pytest.mark.parametrize("name", COMPILED)
def test_kernels(name: str) -> None:
    verify_kernels(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in ZOO if name not in COMPILED])
def test_kernels_of_the_others(name: str) -> None:
    verify_kernels(name)
