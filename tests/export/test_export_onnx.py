"""Models of ONNX: what ONNX Runtime makes of them beside the kernels, and what cannot be exported."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import generated, ordinary, python

from derive.__main__ import main
from derive.cell import Cell
from derive.cells import SHIPPED
from derive.codegen.onnx.recurrent import recurrent
from derive.language.errors import CellError
from derive.package.onnx import model
from derive.verify.evaluate import unroll
from derive.verify.problem import Problem, complete_sizes, sample
from derive.verify.witnesses import arguments

STEPS, BATCH, LENGTHS = 7, 3, (7, 0, 4)
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
SEEDS = {"mesanet": 1}  # of three steps of conjugate gradients the others leave a residual near zero, by which rounding is divided
ERF = frozenset(name for name, cell in SHIPPED.items() if "gelu" in cell.text or "erf" in cell.text)  # float32 alone, in ONNX Runtime
RNNS = {f"rnn{kind}{bias}" for kind in ("", "_relu", "_concat", "_torch", "_relu_torch") for bias in ("", "_nobias")}
LSTMS = {f"lstm{kind}{bias}" for kind in ("", "_concat", "_stacked", "_torch") for bias in ("", "_nobias")} | {"lstm_peephole", "greff_np"}
GRUS = {f"gru{kind}{bias}" for kind in ("", "_v3", "_v3_concat", "_torch") for bias in ("", "_nobias")}
OPERATORS = {name: kind for names, kind in ((RNNS, "RNN"), (LSTMS, "LSTM"), (GRUS, "GRU")) for name in sorted(names)}
BESIDE_KERNELS = {("lstm", "float32"), ("slstm", "float32")} | {
    (name, "float64") for name in ("lstm", "lmu", "gated_deltanet", "lsnn", "softmax_cross_entropy")
}

Arrays = Mapping[str, np.ndarray]


def problem(cell: Cell, dtype: str = "float64") -> Problem:
    return sample(cell, steps=STEPS, batch=BATCH, seed=SEEDS.get(cell.name, 0)).cast(dtype)


def exported(p: Problem, **form: Any) -> onnx.ModelProto:
    return model(p.cell, p.parameters, sizes=p.sizes, dtype=p.dy.dtype, **form)


def run(made: onnx.ModelProto, p: Problem, **more: np.ndarray) -> dict[str, np.ndarray]:
    """Return what ONNX Runtime makes of a model, by the names of its outputs; the first is `y` even where an input is called so."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = {**p.inputs, **p.context, **{f"{name}_initial": value for name, value in p.states.items()}, **more}
    names = [port.name for port in session.get_outputs()]
    found = session.run(names, {port.name: values[port.name] for port in session.get_inputs()})
    assert names[0] == ("y_2" if "y" in values else "y")
    return dict(zip(["y", *names[1:]], found, strict=True))


def by_kernels(p: Problem, **options: Any) -> dict[str, np.ndarray]:
    given, keywords = arguments(generated(p.cell.name), p)
    y, final = generated(p.cell.name).infer(*given, **keywords, **options)
    return {"y": y, **{f"{name}_final": getattr(final, name) for name in p.cell.states}}


def by_numpy(p: Problem) -> dict[str, np.ndarray]:
    y, final = unroll(p.cell, p.inputs, p.parameters, p.states, np, context=p.context, steps=p.steps)
    return {"y": y, **{f"{name}_final": final[name] for name in p.cell.states}}


def assert_close(got: Arrays, want: Arrays, tolerance: float) -> None:
    assert list(got) == list(want)
    for name, value in want.items():
        assert got[name].shape == value.shape and got[name].dtype == value.dtype, name
        error = np.abs(got[name] - value).max() / max(np.abs(value).max(), 1e-3)
        assert error <= tolerance, f"{name}: {error}"


def operators(made: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in made.graph.node}


# Beside the kernels


@pytest.mark.parametrize(
    ("name", "dtype"),
    ordinary([(name, dtype) for name in SHIPPED for dtype in TOLERANCES if dtype == "float32" or name not in ERF], BESIDE_KERNELS),
)
def test_a_model_gives_what_the_kernels_do(name: str, dtype: str) -> None:
    p = problem(SHIPPED[name], dtype)
    assert_close(run(exported(p), p), by_kernels(p), TOLERANCES[dtype])


@pytest.mark.parametrize("name", ordinary(OPERATORS, {"lstm", "gru", "gru_v3", "rnn_relu", "lstm_peephole", "lstm_torch"}))
def test_an_operator_gives_what_the_scan_does(name: str) -> None:
    p = problem(SHIPPED[name], "float32")
    whole, steps = exported(p), exported(p, scan=True)
    assert OPERATORS[name] in operators(whole) and "Scan" not in operators(whole)
    assert "Scan" in operators(steps) and not {"RNN", "GRU", "LSTM"} & operators(steps)
    assert_close(run(whole, p), run(steps, p), 1e-6)


@pytest.mark.parametrize("name", ordinary(SHIPPED, {"lstm", "gru_v3", "gated_deltanet", "slstm", "gru_d", "softmax_readout"}))
def test_sequences_end_where_their_lengths_say(name: str) -> None:
    """Also with the batch first: what lies past an end is read by nothing, and is not even a number."""
    p = problem(SHIPPED[name], "float32")
    ragged = p.ragged(LENGTHS)
    turned = {key: np.ascontiguousarray(np.swapaxes(value, 0, 1)) for key, value in ragged.inputs.items()}
    got = run(exported(p, lengths=True, batch_first=True), ragged, **turned, lengths=np.array(LENGTHS))
    assert_close({**got, "y": np.swapaxes(got["y"], 0, 1)}, parts(p), 1e-5)


def parts(p: Problem) -> dict[str, np.ndarray]:
    """Return what each sequence gives by itself, as long as it is."""
    want = {"y": np.zeros_like(p.dy), **{f"{name}_final": value.copy() for name, value in p.states.items()}}
    for row, length in enumerate(LENGTHS):
        if length:
            one = {name: value[:length, row : row + 1] for name, value in p.inputs.items()}
            context, states = ({name: value[row : row + 1] for name, value in given.items()} for given in (p.context, p.states))
            y, final = unroll(p.cell, one, p.parameters, states, np, context=context, steps=length)
            want["y"][:length, row] = np.asarray(y)[:, 0]
            for name in p.cell.states:
                want[f"{name}_final"][row] = final[name][0]
    return want


# Operators


def test_just_these_cells_are_operators() -> None:
    found = {name: recurrent(cell, complete_sizes(cell)) for name, cell in SHIPPED.items()}
    assert {name: each.operator for name, each in found.items() if each} == OPERATORS


@pytest.mark.parametrize(
    "text",
    [
        "h = tanh(W @ x + U @ h_prev + b) + h_prev",
        "h = tanh(W @ x + U @ h_prev + V @ (x * h_prev))",
        "h = tanh(W @ x + a * h_prev)",
        "h = tanh(2 * (W @ x) + U @ h_prev)",
        "h = tanh(W @ x + U @ h_prev + b * b)",
        "z = sigmoid(W_z @ x + U_z @ h_prev)\nh = z * tanh(W @ x + U @ h_prev) + (1 - z) * h_prev",
        "z = sigmoid(W_z @ x + U_z @ h_prev)\nh = (1 - z) * tanh(W @ x + U @ (z * z * h_prev)) + z * h_prev",
    ],
)
def test_a_cell_that_is_nearly_an_operator_is_none(text: str) -> None:
    p = problem(Cell(text, name="near", output="h"), "float32")
    made = exported(p)
    assert "Scan" in operators(made)
    assert_close(run(made, p), by_numpy(p), 1e-5)


def test_functions_are_those_of_the_language() -> None:
    """At zero, at ties, at halves, and where an exponential of the argument would overflow."""
    of_one = ["sigmoid", "tanh", "relu", "exp", "logsigmoid", "softplus", "softsign", "elu", "silu", "hard_sigmoid", "hard_tanh"]
    of_one += ["sin", "cos", "abs", "sign", "step", "floor", "round", "detach"]
    lines = [f"v{k} = {name}(x)" for k, name in enumerate(of_one)]
    lines += ["w0 = maximum(x, 0.5)", "w1 = minimum(x, 0.5)", "w2 = where(x >= 0.5, x, -x)", "w3 = sqrt(abs(x)) + log(1 + x ** 2)"]
    lines += ["w4 = clip_gradient(x, -1, 1) + scale_gradient(x, 2) + x ** 3 / (1 + x ** 2) - x ** -2 * 0"]
    names = [line.partition(" ")[0] for line in lines]
    cell = Cell("\n".join([*lines, f"y = [{', '.join(names)}]"]), name="functions", output="y")
    x = np.array([-700.0, -2.5, -1.0, -0.5, -1e-3, 0.5, 1.0, 1.5, 2.5, 3.0, 600.0]).reshape(1, 1, -1)
    p = sample(cell, sizes={"d": x.size}, steps=1, batch=1).at("x", x)
    got, want = (np.split(found["y"].ravel(), len(names)) for found in (run(exported(p), p), by_numpy(p)))
    for name, a, b in zip(names, got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, err_msg=name)


def test_erf_is_there_in_float32() -> None:
    cell = Cell("y = gelu(x) + erf(x)", name="errors", output="y")
    p = problem(cell, "float32")
    assert_close(run(exported(p), p), {"y": by_numpy(p)["y"].astype(np.float32)}, 1e-6)


# What a model is given


def test_steps_and_sequences_may_be_others_at_each_call() -> None:
    made = exported(problem(SHIPPED["slstm"]))
    for steps, batch in ((1, 1), (4, 6)):
        p = sample(SHIPPED["slstm"], steps=steps, batch=batch)
        q = Problem(p.cell, p.sizes, steps, batch, {**p.arrays, **problem(SHIPPED["slstm"]).parameters}, p.dy, p.dfinal)
        assert_close(run(made, q), by_numpy(q), 1e-12)


def test_a_cell_without_inputs_is_told_how_many_steps() -> None:
    cell = Cell("h = tanh(U @ h_prev + c)", name="free", output="h", inputs=(), context=("c",))
    p = problem(cell)
    assert_close(run(exported(p), p, steps=np.array(STEPS)), by_numpy(p), 1e-12)
    ended = run(exported(p, lengths=True), p, steps=np.array(STEPS), lengths=np.array(LENGTHS))
    np.testing.assert_array_equal(ended["h_final"][1], p.states["h"][1])
    bare = Cell("h = tanh(U @ h_prev)", name="bare", output="h", inputs=())
    with pytest.raises(CellError, match="bare: nothing tells the number of sequences unless the initial states are given"):
        model(bare, sizes={"n": 2}, zero_state=True)


def test_own_states_before_the_first_step() -> None:
    cell = Cell("h = tanh(W @ x + 2 * h_prev)\nk = k_prev + h", name="begins", output="k", init={"h": 0.25})
    p = problem(cell)
    p = p.at("h_prev", np.full_like(p.states["h"], 0.25)).at("k_prev", np.zeros_like(p.states["k"]))
    made = exported(p, zero_state=True)
    assert [port.name for port in made.graph.input] == ["x"]
    assert_close(run(made, p), by_numpy(p), 1e-12)


def test_names_that_the_cell_has_too() -> None:
    cell = Cell("y = tanh(W @ lengths + U @ y_prev)\nh_final = y + h_final_prev", name="named", output="h_final", inputs=("lengths",))
    p = problem(cell)
    got = run(exported(p), p)
    want = by_numpy(p)
    assert_close(got, want, 1e-12)


def test_drawn_parameters_are_those_of_the_module() -> None:
    module = generated("slstm_heads")
    made = model(SHIPPED["slstm_heads"], sizes={"H": 2, "d": 6, "n": 3}, seed=5)
    held = {each.name: onnx.numpy_helper.to_array(each) for each in made.graph.initializer}
    for name, value in module.init(H=2, d=6, n=3, seed=5)._asdict().items():
        np.testing.assert_array_equal(held[name], value)


def test_a_model_is_the_same_each_time() -> None:
    digest = hashlib.sha256(
        model(SHIPPED["gated_deltanet"], sizes={"H": 2, "d": 3, "d_k": 4, "d_v": 5}).SerializeToString(deterministic=True)
    )
    code = (
        "import hashlib\nfrom derive.cells import SHIPPED\nfrom derive.package.onnx import model\n"
        "made = model(SHIPPED['gated_deltanet'], sizes={'H': 2, 'd': 3, 'd_k': 4, 'd_v': 5})\n"
        "print(hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest())"
    )
    assert python(code, PYTHONHASHSEED="7").strip() == digest.hexdigest()


def test_operators_say_what_they_are_for() -> None:
    made = exported(problem(SHIPPED["gru"]))
    (scan,) = (node for node in made.graph.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    told = {node.name: node.doc_string for node in body.node}
    assert told["r/Sigmoid"] == "(F1) r = σ(W_r x_t + U_r h_{t-1} + b_r)"
    assert "(F4) h = (1 - z) ⊙ g + z ⊙ h_{t-1}" in made.graph.doc_string
    assert len({node.name for node in body.node}) == len(body.node)


# The command


def test_the_command_writes_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    p = problem(SHIPPED["lstm"], "float32")
    np.savez("weights.npz", **p.parameters)
    assert main(["export", "onnx", "lstm", "--weights", "weights.npz"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["lstm.onnx: opset 17", "  takes x (T, B, 3)"]
    assert (tmp_path / "lstm.onnx").read_bytes() == exported(p).SerializeToString(deterministic=True)
    assert main(["export", "onnx", "lstm", "--size", "n=4", "--size", "d=2", "--out", "other.onnx", "--lengths"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"weights.npz", "lstm.onnx", "other.onnx"}


def test_the_command_refuses_what_it_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.py").write_text("from derive import Cell\na = Cell('h = x + h_prev', name='a', output='h')\nb = a.replace(name='b')\n")
    Path("no.npz").write_bytes(b"nothing")
    np.savez("gru.npz", **problem(SHIPPED["gru"]).parameters)
    for words, told in (
        (["lstm"], "lstm: parameters cannot be drawn without the sizes d, n"),
        (["lstm", "--size", "n"], "--size needs a name and a number, n=64, not `n`"),
        (["lstm", "--size", "n=3", "--size", "d=2", "--size", "q=4"], "lstm: there is no size q, only d, n"),
        (["lstm", "--weights", "no.npz"], "`no.npz` is no file of named arrays"),
        (["lstm", "--weights", "none.npz"], "`none.npz`: No such file"),
        (["lstm", "--weights", "gru.npz"], "lstm: its parameters are W_i"),
        (["lstm", "--size", "n=3", "--size", "d=2", "--out", "none/here.onnx"], "`none/here.onnx`: No such file"),
        (["two.py", "--out", "c.onnx"], "`two.py` has the cells a, b: --out and --weights are for one"),
    ):
        assert main(["export", "onnx", *words]) == 1
        assert told in capsys.readouterr().err
    assert not [*tmp_path.glob("*.onnx*"), *tmp_path.glob(".derive*")]


def test_parameters_that_do_not_fit() -> None:
    cell, params = SHIPPED["gru"], problem(SHIPPED["gru"]).parameters
    with pytest.raises(ValueError, match=r"gru: its parameters are W_r, .*; got some without b_hn and with bias"):
        model(cell, {**{name: value for name, value in params.items() if name != "b_hn"}, "bias": params["b_hn"]})
    with pytest.raises(ValueError, match=r"gru: params.U_z has shape \(7, 6\), needs \(n, n\) = \(7, 7\)"):
        model(cell, {**params, "U_z": params["U_z"][:, :6]})
    with pytest.raises(ValueError, match="gru: size n was given as 4, but the parameters have 7"):
        model(cell, params, sizes={"n": 4})
    with pytest.raises(ValueError, match="squared_error: the parameters do not tell the sizes"):
        model(SHIPPED["squared_error"], {})
    with pytest.raises(ValueError, match="gru: dtype must be float32 or float64, got float16"):
        model(cell, params, dtype="float16")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'derive-rnn\[onnx\]'"):
        model(SHIPPED["rnn"], sizes={"n": 2, "d": 2})
