"""Weights of Keras: the cells that they become give what Keras's layers give."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import assert_same_bits, ordinary, python
from helpers.converted import close, draw, kernel_outputs, text_outputs

from derive import convert
from derive.cells import SHIPPED
from derive.convert import ConvertError, Weights
from derive.convert.activations import KERAS as FUNCTIONS
from derive.convert.keras_files import keras
from derive.convert.layouts import CELLS

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # between Keras 3.15 and NumPy 2, when it saves
    pytest.mark.xdist_group("keras"),  # whose import takes seconds
]
BIASES = (True, False)


def build(*layers: Any, width: int = 3) -> Any:
    """Return a model of layers in a row, its weights drawn anew: Keras begins with biases of zero."""
    model = keras().Sequential([keras().Input((None, width)), *layers])
    for k, layer in enumerate(model.layers):
        layer.set_weights([0.25 * draw(*np.shape(value), seed=10 * k + j) for j, value in enumerate(layer.get_weights())])
    return model


def given(layer: Any, x: np.ndarray) -> np.ndarray:
    """Return what a layer of Keras hands out, time-major."""
    return np.swapaxes(keras().ops.convert_to_numpy(layer(np.swapaxes(x, 0, 1))), 0, 1)


def grid() -> list[Any]:
    """Return layers with every option that has to do with what they compute."""
    of, each = keras().layers, {"return_sequences": True}
    functions = ("tanh", "relu", "linear"), ("sigmoid", "hard_sigmoid", "tanh")
    gated = list(product(BIASES, *functions))
    found = [of.LSTM(4, use_bias=b, activation=a, recurrent_activation=r, name=f"l_{b}_{a}_{r}", **each) for b, a, r in gated]
    for after, (b, a, r) in product((True, False), gated):
        options = {"use_bias": b, "activation": a, "recurrent_activation": r, "reset_after": after}
        found.append(of.GRU(4, name=f"g_{after}_{b}_{a}_{r}", **options, **each))
    return [*found, *(of.SimpleRNN(4, use_bias=b, activation=a, name=f"r_{b}_{a}", **each) for b, a in product(BIASES, FUNCTIONS))]


@pytest.mark.parametrize(("suffix", "every"), ordinary([(".keras", 7), (".keras", 1), (".h5", 1)], [(".keras", 7)]))
def test_every_option_of_every_layer(suffix: str, every: int, tmp_path: Path) -> None:
    model = build(*grid()[::every])
    path = tmp_path / f"model{suffix}"
    model.save(path)
    found = convert.layers(path)
    assert [layer.name for layer in found] == [layer.name for layer in model.layers]
    for ours, theirs in zip(found, model.layers, strict=True):
        x = draw(8, 2, theirs.input.shape[-1])
        weights = ours.weights()
        close(text_outputs(weights, x), given(theirs, x))
        usual = {getattr(theirs, "recurrent_activation", None), theirs.activation} == {
            keras().activations.sigmoid,
            keras().activations.tanh,
        }
        assert weights.cell.name in SHIPPED or not usual


@pytest.mark.parametrize(
    ("kind", "options", "cell"),
    [("LSTM", {}, "lstm"), ("GRU", {}, "gru_torch"), ("GRU", {"reset_after": False}, "gru_v3"), ("SimpleRNN", {}, "rnn")],
)
def test_kernels_give_what_keras_gives(kind: str, options: dict[str, Any], cell: str, tmp_path: Path) -> None:
    model = build(getattr(keras().layers, kind)(5, return_sequences=True, **options))
    model.save(tmp_path / "model.keras")
    weights = convert.read(tmp_path / "model.keras")
    assert weights.cell is SHIPPED[cell]
    x = draw(8, 2, 3)
    close(kernel_outputs(weights, x), given(model.layers[0], x))


def test_the_kernel_of_a_cell_made_for_a_layer(tmp_path: Path) -> None:
    model = build(keras().layers.GRU(4, return_sequences=True, activation="softsign", recurrent_activation="relu6"))
    model.save(tmp_path / "model.keras")
    weights = convert.read(tmp_path / "model.keras")
    assert weights.cell.name == "gru_relu6_softsign"
    x = draw(8, 2, 3)
    close(kernel_outputs(weights, x), given(model.layers[0], x))


def test_both_directions_stacks_and_models_in_models(tmp_path: Path) -> None:
    """Each direction is a layer, and its output is as PyTorch's: in the order of the input."""
    of = keras().layers
    inner = keras().Sequential([keras().Input((None, 8)), of.SimpleRNN(2, name="deep", return_sequences=True)], name="inner")
    both = of.Bidirectional(of.LSTM(4, return_sequences=True), name="both")
    stack = of.RNN([of.GRUCell(3, name="a"), of.LSTMCell(2, name="b")], return_sequences=True, name="stack")
    model = build(both, inner, stack)
    model.save(tmp_path / "model.keras")
    found = {layer.name: layer.weights() for layer in convert.layers(tmp_path / "model.keras")}
    assert [*found] == ["both/forward", "both/backward", "inner/deep", "stack/a", "stack/b"]
    x = draw(8, 2, 3)
    y = [text_outputs(found[f"both/{way}"], x) for way in ("forward", "backward")]
    close(np.concatenate(y, -1), given(both, x))
    below = draw(8, 2, 2)
    close(text_outputs(found["stack/b"], text_outputs(found["stack/a"], below).astype(np.float32)), given(stack, below))


def test_files_of_weights_need_a_cell(tmp_path: Path) -> None:
    of = keras().layers
    each = {"return_sequences": True}
    model = build(
        of.LSTM(4, **each), of.GRU(4, **each), of.GRU(4, reset_after=False, **each), of.Bidirectional(of.SimpleRNN(2, **each)), of.Dense(2)
    )
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    names = [layer.name for layer in convert.layers(path)]
    assert names == ["bidirectional/backward", "bidirectional/forward", "gru", "gru_1", "lstm"]
    with pytest.raises(ConvertError, match="does not tell its functions; name the cell, one of lstm"):
        convert.read(path, layer="lstm")
    x = draw(8, 2, 3)
    close(text_outputs(convert.read(path, "lstm", "lstm"), x), given(model.layers[0], x))
    wide = draw(8, 2, 4)
    close(text_outputs(convert.read(path, "gru_torch", "gru"), wide), given(model.layers[1], wide))
    close(text_outputs(convert.read(path, "gru_v3", "gru_1"), wide), given(model.layers[2], wide))
    back = convert.read(path, "rnn", "bidirectional/backward")
    close(text_outputs(back, wide), given(model.layers[3], wide)[..., 2:])
    with pytest.raises(ConvertError, match="computes something else than the cell `gru_v3`"):
        convert.read(path, "gru_v3", "gru")


def weights_of(cell: str, dtype: Any = np.float32) -> Weights:
    sizes = {"d": 3, "n": 4, "p": 2}
    shapes = {name: [size.evaluate(sizes) for size in SHIPPED[cell].shapes[name]] for name in SHIPPED[cell].parameters}
    return Weights(SHIPPED[cell], {name: draw(*shape, seed=k).astype(dtype) for k, (name, shape) in enumerate(shapes.items())})


SUMMED = ("lstm_torch", "rnn_torch", "rnn_relu_torch", "gru")
"""Of whose biases Keras keeps sums, or more than there are."""
WRITTEN = [name for name in CELLS if "lstmp" not in name and "peephole" not in name]


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("cell", ordinary(WRITTEN, ("lstm", "gru_torch", "gru_v3_nobias", "rnn_relu")))
def test_what_is_written_comes_back_and_keras_computes_it(cell: str, suffix: str, tmp_path: Path) -> None:
    weights = weights_of(cell, np.float64 if cell in ("lstm", "gru_torch") else np.float32)
    path = tmp_path / f"model{suffix}"
    convert.write(path, weights)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    got = convert.read(path, cell)
    if cell not in SUMMED:
        assert_same_bits(tuple(got.params.values()), tuple(weights.params.values()))
    if suffix == ".keras":
        model = keras().saving.load_model(path)
        x = draw(8, 2, 3).astype(weights.dtype)
        close(given(model, x), text_outputs(weights, x), 2e-6 if weights.dtype == np.float32 else 1e-14)


def test_what_cannot_be_translated_is_refused_by_name(tmp_path: Path) -> None:
    of = keras().layers
    model = build(of.LSTM(4, name="enc", return_sequences=True, activation="mish"), of.GRU(4, name="dec"))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ConvertError, match="layer `enc`: the language has no counterpart of its activation mish"):
        convert.read(tmp_path / "model.keras", layer="enc")
    with pytest.raises(ConvertError, match="choose one of enc, dec"):
        convert.read(tmp_path / "model.keras")
    with pytest.raises(ConvertError, match=r"no recurrent layer `encc` \(did you mean `enc`\?\); it has enc, dec"):
        convert.read(tmp_path / "model.keras", layer="encc")
    assert convert.read(tmp_path / "model.keras", layer="dec").cell.name == "gru_torch"
    for cell in ("lstm_peephole", "lmu"):
        module = pytest.importorskip(f"generated.{cell}")
        with pytest.raises(ConvertError, match=f"Keras has no layer for the cell `{cell}`"):
            convert.write(tmp_path / "other.keras", Weights(SHIPPED[cell], module.init(3, 4)._asdict()))
    assert not (tmp_path / "other.keras").exists()


def test_a_layer_that_goes_backwards_says_so(tmp_path: Path) -> None:
    build(keras().layers.GRU(4, go_backwards=True, return_sequences=True)).save(tmp_path / "model.keras")
    weights = convert.read(tmp_path / "model.keras")
    assert weights.reverse and "last step to the first" in weights.notes[0]


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(ConvertError, match=r"other\.h5` cannot be read by Keras"):
        convert.read(path)
    build(keras().layers.GRU(4, name="decoder")).save(path)
    with h5py.File(path, "a") as file:
        del file["model_weights/decoder"]
    with pytest.raises(ConvertError, match=r"other\.h5` cannot be read by Keras: it has no 'decoder'"):
        convert.read(path)
    path = tmp_path / "other.weights.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(ConvertError, match="cannot be read as HDF5"):
        convert.read(path)
    build(keras().layers.Dense(2)).save_weights(path)
    with pytest.raises(ConvertError, match="has no recurrent layer"):
        convert.read(path, "lstm")


def test_the_hard_sigmoid_of_files_before_keras_3(tmp_path: Path) -> None:
    """It was a line of slope 0.2; Keras 3 reads its name as that of another function."""
    h5py = pytest.importorskip("h5py")
    build(keras().layers.LSTM(4, recurrent_activation="hard_sigmoid")).save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["keras_version"] = "2.3.1"
    cell = convert.read(tmp_path / "old.h5").cell
    assert cell.name == "lstm_cut_line" and dict(cell.functions) == {"cut_line(u)": "minimum(maximum(0.2 * u + 0.5, 0), 1)"}


JAX = """
import json, numpy as np
from derive import convert
from derive.convert.keras_files import keras
w = convert.read({path!r})
library = keras()
x = np.ones((2, 5, 3), np.float32)
model = library.saving.load_model({path!r})
print(json.dumps([library.config.backend(), np.asarray(model(x)).tolist(), w.params["W_i"].tolist()]))
"""


@pytest.mark.exhaustive
def test_the_same_on_jax(tmp_path: Path) -> None:
    weights = weights_of("lstm")
    path = tmp_path / "model.keras"
    convert.write(path, weights)
    backend, y, kernel = json.loads(python(JAX.format(path=str(path)), KERAS_BACKEND="jax").splitlines()[-1])
    assert backend == "jax" and np.array_equal(np.float32(kernel), weights.params["W_i"])
    close(np.swapaxes(np.array(y), 0, 1), text_outputs(weights, np.ones((5, 2, 3), np.float32)))
