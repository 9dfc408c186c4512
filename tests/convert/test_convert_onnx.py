"""Weights of ONNX's recurrent operators: the cells that they become give what onnxruntime gives."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import assert_same_bits, ordinary
from helpers.converted import close, draw, kernel_outputs, text_outputs
from onnx import TensorProto, helper, numpy_helper

from derive import Cell, convert
from derive.__main__ import main
from derive.cells import SHIPPED
from derive.cells.load import cells_of
from derive.convert import ConvertError, Weights
from derive.convert.activations import DEFAULTS
from derive.convert.onnx_files import OPSETS

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
D, N, T, B = 3, 4, 5, 2


def save(path: Path, kind: str, *, opset: int = 22, bias: bool = True, peephole: bool = False, state: bool = False, **options: Any) -> Any:
    """Write a model of one operator with weights drawn at random; return it."""
    ways, g = 1 + (options.get("direction") == "bidirectional"), GATES[kind]
    arrays = {"W": draw(ways, g * N, D, seed=1) / 4, "R": draw(ways, g * N, N, seed=2) / 4}  # small: some functions have no bound
    arrays |= {"B": draw(ways, 2 * g * N, seed=3) / 4} if bias else {}
    arrays |= {"P": draw(ways, 3 * N, seed=4) / 4} if peephole else {}
    arrays |= {"h0": np.zeros((ways, B, N), np.float32)} if state else {}
    inputs = ["X", "W", "R", "B" if bias else "", "", "h0" if state else "", *(["", "P"] if peephole else [])]
    while not inputs[-1]:
        inputs.pop()
    node = helper.make_node(kind, inputs, ["Y"], name="cell", hidden_size=N, **options)
    axes = [B, T, D] if options.get("layout") else ["steps", "batch", D]
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, path)
    return model


def given(model: Any, x: np.ndarray) -> np.ndarray:
    """Return what onnxruntime computes: (T, directions, B, n)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x})[0]


def compare(path: Path, model: Any) -> list[Weights]:
    """Compare the output of every direction; return the weights."""
    x = draw(T, B, D)
    found, y = [layer.weights() for layer in convert.layers(path)], given(model, x)
    assert len(found) == y.shape[1]
    for k, weights in enumerate(found):
        close(text_outputs(weights, x), y[:, k])
    return found


PLAIN = [
    *(
        ("LSTM", {"bias": bias, "peephole": peephole, "input_forget": coupled})
        for bias, peephole, coupled in product((1, 0), (0, 1), (0, 1))
    ),
    *(("GRU", {"bias": bias, "linear_before_reset": after}) for bias, after in product((1, 0), (0, 1))),
    *(("RNN", {"bias": bias}) for bias in (1, 0)),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "options"), PLAIN, ids=str)
def test_directions_biases_peepholes_and_resets(kind: str, options: dict[str, Any], direction: str, tmp_path: Path) -> None:
    model = save(tmp_path / "model.onnx", kind, direction=direction, **options)
    found = compare(tmp_path / "model.onnx", model)
    assert [weights.reverse for weights in found] == {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    assert all(weights.cell.name in SHIPPED for weights in found) != bool(options.get("input_forget"))


NAMES = ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "LeakyRelu", "ThresholdedRelu", "Elu", "Affine", "ScaledTanh", "HardSigmoid")
USUAL = {name: DEFAULTS[name.lower()] for name in NAMES}
WITH_CONSTANTS = [(name, constants) for name, usual in USUAL.items() for constants in dict.fromkeys([usual, (0.7, 0.3)[: len(usual)]])]
CLIP = 0.3  # within what the functions are given
CASES = [(kind, *case, clip) for kind, case, clip in product(GATES, WITH_CONSTANTS, (None, CLIP))]


@pytest.mark.parametrize(
    ("kind", "name", "constants", "clip"),
    ordinary(CASES, [case for case in CASES if case[1] in ("Relu", "HardSigmoid", "LeakyRelu")]),
)
def test_functions_with_constants_and_clipping(
    kind: str, name: str, constants: tuple[float, ...], clip: float | None, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"activations": [name] * FUNCTIONS[kind]} | ({} if clip is None else {"clip": clip})
    for key, value in zip(("activation_alpha", "activation_beta"), constants, strict=False):
        options[key] = [value] * FUNCTIONS[kind]
    model = save(tmp_path / "model.onnx", kind, **options)
    compare(tmp_path / "model.onnx", model)


def test_functions_that_differ_by_their_constants_alone(tmp_path: Path) -> None:
    """And constants are handed out to the functions that have such."""
    options = {
        "activations": ["HardSigmoid", "Tanh", "LeakyRelu"] * 2,
        "activation_alpha": [0.3, 0.1, 0.15, 0.05],
        "activation_beta": [0.4, 0.6],
    }
    found = compare(tmp_path / "m.onnx", save(tmp_path / "m.onnx", "LSTM", direction="bidirectional", **options))
    assert found[0].cell.name == found[1].cell.name == "lstm_cut_line_leaky_relu"
    functions = [tuple(weights.cell.functions.values()) for weights in found]
    assert functions[1] == ("minimum(maximum(0.15 * u + 0.6, 0), 1)", "where(u > 0, u, 0.05 * u)") != functions[0]
    options = {"activations": ["LeakyRelu", "LeakyRelu"], "activation_alpha": [0.3, 0.1]}
    (weights,) = compare(tmp_path / "g.onnx", save(tmp_path / "g.onnx", "GRU", **options))
    assert [*weights.cell.functions] == ["leaky_relu_0(u)", "leaky_relu_1(u)"]


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(opset: int, tmp_path: Path) -> None:
    for kind in GATES:
        compare(tmp_path / "model.onnx", save(tmp_path / "model.onnx", kind, opset=opset))


@pytest.mark.parametrize(("kind", "cell"), [("LSTM", "lstm_torch"), ("GRU", "gru_v3"), ("RNN", "rnn_torch")])
def test_kernels_give_what_onnxruntime_gives(kind: str, cell: str, tmp_path: Path) -> None:
    model = save(tmp_path / "model.onnx", kind)
    weights, x = convert.read(tmp_path / "model.onnx"), draw(T, B, D)
    assert weights.cell is SHIPPED[cell]
    close(kernel_outputs(weights, x), given(model, x)[:, 0])


def test_the_peephole_cell_is_ours(tmp_path: Path) -> None:
    model = save(tmp_path / "model.onnx", "LSTM", peephole=True)
    weights, x = convert.read(tmp_path / "model.onnx"), draw(T, B, D)
    assert weights.cell is SHIPPED["lstm_peephole"]
    close(kernel_outputs(weights, x), given(model, x)[:, 0])


def test_layout_and_states_have_no_part_in_weights(tmp_path: Path) -> None:
    save(tmp_path / "a.onnx", "LSTM", layout=1, state=True)
    save(tmp_path / "b.onnx", "LSTM")
    a, b = convert.read(tmp_path / "a.onnx"), convert.read(tmp_path / "b.onnx")
    assert all(np.array_equal(a.params[name], value) for name, value in b.params.items())
    assert not b.notes and a.notes == ("it begins from its initial_h, which is no weight: give it as the state",)


def changed(path: Path, change: Any) -> None:
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for opset in (1, OPSETS[-1] + 1):
        save(path, "LSTM")
        changed(path, lambda model, opset=opset: setattr(model.opset_import[0], "version", opset))
        with pytest.raises(ConvertError, match=f"is of opset {opset}; opsets 7 to {OPSETS[-1]} were tested"):
            convert.read(path)
    save(path, "GRU")
    changed(path, lambda model: model.graph.initializer.pop(1))
    with pytest.raises(
        ConvertError, match="layer `cell`: its R is computed in the model, and must be one of its initializers or constants"
    ):
        convert.read(path)
    assert [layer.name for layer in convert.layers(path)] == ["cell"]
    save(path, "GRU")
    changed(path, lambda model: model.graph.initializer[0].CopyFrom(numpy_helper.from_array(draw(3 * N, D), "W")))
    with pytest.raises(ConvertError, match=r"layer `cell`: its W has shape \(12, 3\): 3 axes are needed, 1 directions in the first"):
        convert.read(path)
    save(path, "RNN", activations=["Celu"])
    with pytest.raises(ConvertError, match="layer `cell`: the language has no counterpart of its activation celu"):
        convert.read(path)
    save(path, "GRU", activations=["Sigmoid"])
    with pytest.raises(ConvertError, match="it has 1 activations: 2 for each direction are needed"):
        convert.read(path)
    path.write_bytes(b"nothing that is a model")
    with pytest.raises(ConvertError, match="cannot be read as a model of ONNX"):
        convert.read(path)


def test_what_is_wrong_with_an_operator_is_said_of_its_layer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(path, "LSTM")
    changed(path, lambda model: setattr(model.graph.initializer[0], "raw_data", b"short"))
    with pytest.raises(ConvertError, match="layer `cell`: its W cannot be read: "):
        convert.read(path)
    save(path, "LSTM", direction="sideways")
    with pytest.raises(ConvertError, match="layer `cell`: its direction is `sideways`, and must be one of forward, reverse, bidirectional"):
        convert.read(path)


@pytest.mark.parametrize("kind", GATES)
def test_another_number_of_units_than_that_of_the_weights_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(path, kind)
    changed(
        path,
        lambda model: model.graph.node[0].attribute.remove(
            next(each for each in model.graph.node[0].attribute if each.name == "hidden_size")
        ),
    )
    assert convert.read(path).params  # it may be left out
    changed(path, lambda model: model.graph.node[0].attribute.append(helper.make_attribute("hidden_size", N + 3)))
    with pytest.raises(ConvertError, match=f"layer `cell`: its hidden_size is {N + 3}, but its R has {N} columns, one for each unit"):
        convert.read(path)


def as_operators(model: Any) -> None:
    """Let operators give what initializers are."""
    for k, tensor in enumerate(model.graph.initializer):
        model.graph.node.insert(k, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]


def test_weights_may_be_constants_of_operators(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(path, "GRU")
    want = convert.read(path)
    changed(path, as_operators)
    assert_same_bits(tuple(convert.read(path).params.values()), tuple(want.params.values()))


def test_operators_of_one_name_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(path, "RNN")
    changed(path, lambda model: model.graph.node.append(helper.make_node("RNN", ["X", "W", "R"], ["Z"], name="cell", hidden_size=N)))
    assert [layer.name for layer in convert.layers(path)] == ["cell_0", "cell_1"]
    assert convert.read(path, layer="cell_1").cell is SHIPPED["rnn_nobias"]


def test_a_cell_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save(path, "GRU")
    with pytest.raises(ConvertError, match="layer `cell` computes something else than the cell `gru`; it can be one of gru_v3"):
        convert.read(path, "gru")
    save(path, "LSTM", peephole=True)
    with pytest.raises(ConvertError, match="cannot be the cell `lstm`: the layer has a peephole of f, i, o, and the cell has none there"):
        convert.read(path, "lstm")
    save(path, "LSTM", clip=3.0)
    with pytest.raises(ConvertError, match="computes something else than the cell `lstm`; no cell that comes with derive is"):
        convert.read(path, "lstm")


def test_the_cell_made_for_a_layer_is_written_beside_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save(tmp_path / "model.onnx", "GRU", clip=0.3, linear_before_reset=1)
    source, target, beside = (str(tmp_path / name) for name in ("model.onnx", "weights.safetensors", "weights.py"))
    assert main(["convert", source]) == 0
    assert capsys.readouterr().out == "cell: gru_clipped_sigmoid_clipped_tanh\n"
    Path(beside).write_text("other = 1\n")
    assert main(["convert", source, target]) == 1 and not Path(target).exists()
    assert "weights.py` is there already, and is not the cell `gru_clipped_sigmoid_clipped_tanh`: nothing" in capsys.readouterr().err
    Path(beside).unlink()
    assert main(["convert", source, target]) == 0
    (cell,) = cells_of(beside)
    weights, x = convert.read(target, cell), draw(T, B, D)
    close(text_outputs(weights, x), given(model, x)[:, 0])
    assert convert.read(source, cell).cell is cell
    other = Cell("h = tanh(W @ x + U @ h_prev + b)", name="other", output="h")
    with pytest.raises(ConvertError, match="layer `cell` can be the cell gru_clipped_sigmoid_clipped_tanh, not your `other`"):
        convert.read(source, other)
    assert main(["convert", target, str(tmp_path / "again.npz"), "--cell", beside]) == 0
    again = convert.read(tmp_path / "again.npz", cell)
    assert_same_bits(tuple(again.params.values()), tuple(weights.params.values()))


def test_models_are_not_written(tmp_path: Path) -> None:
    weights = Weights(SHIPPED["rnn"], {"W": draw(4, 3), "U": draw(4, 4), "b": draw(4)})
    with pytest.raises(ConvertError, match="`derive export onnx` writes a cell as a model"):
        convert.write(tmp_path / "model.onnx", weights)
