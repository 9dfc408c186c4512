"""Files of PyTorch, safetensors and NumPy: layers, parameters of any cell by name, what is refused, and the command."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import assert_same_bits, generated, ordinary, python
from helpers.converted import close, draw, kernel_outputs, text_outputs
from safetensors.numpy import save_file
from torch import nn

from derive import Cell, convert
from derive.__main__ import main
from derive.cells import REGISTRY, SHIPPED
from derive.cells.load import cells_of
from derive.convert import ConvertError, Weights
from derive.convert.layouts import CELLS, KERAS, ONNX, TORCH, Layout
from derive.convert.source import source

LAYERS: dict[str, Callable[[bool], nn.Module]] = {
    "lstm_torch": lambda bias: nn.LSTM(3, 4, bias=bias),
    "lstmp_torch": lambda bias: nn.LSTM(3, 4, bias=bias, proj_size=2),
    "gru_torch": lambda bias: nn.GRU(3, 4, bias=bias),
    "rnn_torch": lambda bias: nn.RNN(3, 4, bias=bias),
    "rnn_relu_torch": lambda bias: nn.RNN(3, 4, bias=bias, nonlinearity="relu"),
}
quiet = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def initial(name: str, **sizes: int) -> Weights:
    """Return initial parameters of a cell, its sizes by name or small ones of their own."""
    module = generated(name)
    asked = [size for size in inspect.signature(module.init).parameters if size not in ("seed", "dtype")]
    params = module.init(**{size: 4 for size in asked} | sizes)
    return Weights(SHIPPED[name], params._asdict())


def same(a: Weights, b: Weights) -> None:
    assert a.cell.name == b.cell.name and [*a.params] == [*b.params]
    assert_same_bits(tuple(a.params.values()), tuple(b.params.values()))


@quiet
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch(name: str, bias: bool, suffix: str, tmp_path: Path) -> None:
    """They are told by the names of their arrays, whatever file these lie in; and written, they are a layer's own state."""
    torch.manual_seed(0)
    layer, path = LAYERS[name](bias), tmp_path / f"layer{suffix}"
    arrays = {key: value.detach().numpy() for key, value in layer.named_parameters()}
    {".pt": lambda: torch.save(layer.state_dict(), path), ".npz": lambda: np.savez(path, **arrays)}.get(
        suffix, lambda: save_file(arrays, path)
    )()
    full = name if bias else f"{name}_nobias"
    weights = convert.read(path, full)
    x = draw(8, 2, 3)
    y = layer(torch.from_numpy(x))[0].detach().numpy()
    close(text_outputs(weights, x), y)
    plain = convert.read(path, full.replace("_torch", "")) if full != "lstmp_torch_nobias" else weights
    close(text_outputs(plain, x), y)
    convert.write(tmp_path / "back.pt", weights)
    back = LAYERS[name](bias)
    back.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), layer.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["lstm_torch", "gru_torch"])
def test_kernels_give_what_torch_gives(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    layer = LAYERS[name](True)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    x = draw(8, 2, 3)
    close(kernel_outputs(convert.read(tmp_path / "layer.pt"), x), layer(torch.from_numpy(x))[0].detach().numpy())


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.LSTM(3, 4, num_layers=2, bidirectional=True), "norm": nn.LayerNorm(4)})
        self.decoder = nn.GRUCell(4, 5)
        self.head = nn.Linear(5, 2)


def test_layers_in_a_model_and_its_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model, path = Model(), tmp_path / "checkpoint.pt"
    torch.save({"model": model.state_dict(), "epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1)}}}}, path)
    rnn = [f"model.encoder.rnn.l{k}{way}" for k in (0, 1) for way in ("", "_reverse")]
    assert [layer.name for layer in convert.layers(path)] == [*rnn, "model.decoder"]
    x = draw(8, 2, 3)
    found = [convert.read(path, layer=name) for name in rnn]
    assert [weights.reverse for weights in found] == [False, True, False, True]
    below = np.concatenate([text_outputs(weights, x) for weights in found[:2]], -1)
    y = np.concatenate([text_outputs(weights, below) for weights in found[2:]], -1)
    close(y, model.encoder["rnn"](torch.from_numpy(x))[0].detach().numpy())
    step = draw(1, 2, 4)
    close(text_outputs(convert.read(path, layer="model.decoder"), step)[0], model.decoder(torch.from_numpy(step[0])).detach().numpy())


def test_half_precision_becomes_float32_and_float64_stays(tmp_path: Path) -> None:
    for dtype, wanted in ((torch.bfloat16, np.float32), (torch.float16, np.float32), (torch.float64, np.float64)):
        layer = nn.GRU(3, 4, dtype=dtype)
        torch.save(layer.state_dict(), tmp_path / "layer.pt")
        safetensors.torch.save_file({key: value.detach() for key, value in layer.named_parameters()}, tmp_path / "layer.safetensors")
        weights = convert.read(tmp_path / "layer.pt")
        assert weights.dtype == wanted
        same(convert.read(tmp_path / "layer.safetensors"), weights)
        np.testing.assert_array_equal(weights.params["W_ih"], layer.weight_ih_l0.detach().to(torch.float64).numpy())


SOME = ("lstm", "lmu", "gru_d", "lstm_layernorm", "gated_deltanet", "lif")
WITH_PARAMETERS = [name for name, cell in REGISTRY.items() if cell.parameters]


@pytest.mark.parametrize("name", ordinary(WITH_PARAMETERS, SOME))
def test_parameters_of_any_cell_come_back(name: str, tmp_path: Path) -> None:
    weights = initial(name)
    assert weights.sizes.keys() <= set(weights.cell.sizes)
    for suffix in (".npz", ".safetensors", ".pt"):
        path = tmp_path / f"weights{suffix}"
        convert.write(path, weights)
        found = convert.read(path, name)
        same(found, weights)
        assert all(value.flags.writeable for value in found.params.values())
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        path.unlink()


def test_safetensors_tell_their_cell(tmp_path: Path) -> None:
    path, weights = tmp_path / "weights.safetensors", initial("gru_v3", d=3, n=4)
    convert.write(path, weights)
    same(convert.read(path), weights)
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    assert (
        metadata["derive.cell"] == "gru_v3" and metadata["derive.sizes"] == '{"d": 3, "n": 4}' and "r * h_prev" in metadata["derive.text"]
    )
    with pytest.raises(ConvertError, match=r"not the parameters of `lstm`: there is no W_i, .*; lstm has no .*W_r"):
        convert.read(path, "lstm")
    with pytest.raises(ConvertError, match="of the cell `gru_v3`, whose equations are not those of `gru_v3_flipped`"):
        convert.read(path, "gru_v3_flipped")


def test_a_cell_of_ones_own(tmp_path: Path) -> None:
    own = Cell("h = tanh(W @ x + V @ h_prev) * a", name="own", output="h", shapes={"a": ""})
    weights = Weights(own, {"W": draw(4, 3), "V": draw(4, 4), "a": np.float32(0.5).reshape(())})
    for suffix in (".npz", ".safetensors", ".pt"):
        convert.write(tmp_path / f"own{suffix}", weights)
        same(convert.read(tmp_path / f"own{suffix}", own), weights)
    with pytest.raises(ConvertError, match="cell `own`, which does not come with derive: give the cell"):
        convert.read(tmp_path / "own.safetensors")
    with pytest.raises(ConvertError, match="arrays by name: name their cell"):
        convert.read(tmp_path / "own.npz")
    other = Cell("h = tanh(W @ x + V @ h_prev) * a", name="own", output="h", shapes={"a": "n"})
    for suffix in (".npz", ".safetensors"):
        with pytest.raises(ConvertError, match=r"of `own`: a has shape \(\), needs \(n,\)"):
            convert.read(tmp_path / f"own{suffix}", other)


def test_a_layer_of_generated_torch(tmp_path: Path) -> None:
    layer = pytest.importorskip("generated.torch").layer("lmu", 3, 4, num_layers=1, bidirectional=True)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    weights = convert.read(tmp_path / "layer.pt", "lmu", "l0_reverse")
    assert weights.reverse
    np.testing.assert_array_equal(weights.params["W_m"], layer.W_m_l0_reverse.detach().numpy())
    with pytest.raises(ConvertError, match="choose one of l0, l0_reverse"):
        convert.read(tmp_path / "layer.pt", "lmu")


def test_wrong_shapes_and_dtypes_are_named() -> None:
    params = dict(initial("gru", d=3, n=4).params)
    with pytest.raises(ConvertError, match=r"W_z has shape \(4, 5\), needs \(n, d\) = \(4, 3\)"):
        Weights(SHIPPED["gru"], params | {"W_z": draw(4, 5)})
    with pytest.raises(ConvertError, match="float32, or all in float64, not float32, float64"):
        Weights(SHIPPED["gru"], params | {"W_z": draw(4, 3).astype(np.float64)})


class Evil:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_pickles_that_are_no_state_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.pt"
    for save in (
        lambda: path.write_bytes(pickle.dumps(Evil(), 2)),
        lambda: path.write_bytes(b"hello"),  # no pickle at all
        lambda: torch.save(Evil(), path),
        lambda: torch.save(nn.GRU(3, 4), path),
    ):
        save()
        with pytest.raises(ConvertError, match="has something else than tensors, or is not whole: tensors in dicts are needed"):
            convert.read(path)
    assert capsys.readouterr().out == ""
    torch.save(torch.zeros(3), path)
    with pytest.raises(ConvertError, match="has no state_dict, but an object of type Tensor"):
        convert.read(path)
    torch.save(nn.GRU(3, 4).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ConvertError, match="not whole"):
        convert.read(path)
    torch.save(nn.Linear(3, 4).state_dict(), path)
    with pytest.raises(ConvertError, match="arrays by name: name their cell"):
        convert.read(path)
    with pytest.raises(ConvertError, match="not the parameters of `rnn`: there is no W, U, b"):
        convert.read(path, "rnn")


def test_objects_in_npz_and_broken_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", W=np.array([Evil()], object))
    (tmp_path / "none.npz").write_bytes(b"PK nothing")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing at all")
    np.save(tmp_path / "one.npy", draw(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name, said in (
        ("bad.npz", "Object arrays"),
        ("none.npz", "cannot be read"),
        ("bad.safetensors", "cannot be read"),
        ("one.npz", "one array"),
    ):
        with pytest.raises(ConvertError, match=said):
            convert.read(tmp_path / name, "rnn")


def test_shapes_that_are_no_layer_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", weight_ih=draw(12, 3), weight_hh=np.float32(1))
    assert "weight_hh ()" in convert.layers(tmp_path / "flat.npz")[0].refusal
    np.savez(tmp_path / "flat.npz", weight_ih=draw(12, 3), weight_hh=draw(12, 4), bias_ih=np.float32(1))
    assert "`bias_ih` has shape (): a multiple of 3" in convert.layers(tmp_path / "flat.npz")[0].refusal
    np.savez(tmp_path / "odd.npz", weight_ih=draw(10, 3), weight_hh=draw(10, 5))
    with pytest.raises(
        ConvertError, match=r"layer `cell`: weight_ih has shape \(10, 3\), weight_hh \(10, 5\): this is no LSTM, GRU or RNN"
    ):
        convert.read(tmp_path / "odd.npz")


def test_suffixes_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"its suffix tells no kind of file; \.pt, "):
        convert.read(tmp_path / "a.bin")
    with pytest.raises(ConvertError, match="there is no file"):
        convert.read(tmp_path / "a.pt")


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.npz"
    convert.write(path, initial("rnn", d=3, n=4))
    before = path.read_bytes()

    def full(file: Path, **_: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        convert.write(path, initial("rnn", d=5, n=4))
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]


def stored(layout: Layout) -> dict[str, np.ndarray]:
    """Return arrays of a layout, drawn at random, from sizes alone."""
    n, d = 4, 3
    sizes = {"input": (n, d), "recurrent": (n, n), "projection": (n, n)}
    parts = {part: {gate: draw(*sizes.get(part, (n,)), seed=k) for k, gate in enumerate(layout.named(part))} for part in layout.names}
    return layout.arrays(parts)


@pytest.mark.parametrize("layout", [*TORCH.values(), *KERAS.values(), *ONNX.values(), *CELLS.values()])
def test_layouts_keep_every_bit(layout: Layout) -> None:
    arrays = stored(layout)
    again = layout.arrays(layout.parts(arrays))
    assert again.keys() == arrays.keys() and all(np.array_equal(again[name], value) for name, value in arrays.items())


def test_a_recurrent_bias_under_a_reset_gate_is_added_to_nothing() -> None:
    parts = TORCH["GRU"].parts(stored(TORCH["GRU"]))
    biased = {**parts, "bias": {}, "recurrent bias": {"n": parts["recurrent bias"]["n"]}}
    with pytest.raises(ConvertError, match="the layer has a recurrent bias of n, and the cell has none there"):
        CELLS["gru_nobias"].arrays(biased)
    before = CELLS["gru_v3"].arrays(biased)
    np.testing.assert_array_equal(before["b_h"], parts["recurrent bias"]["n"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(3)
    torch.save(Model().state_dict(), tmp_path / "model.pt")
    source, target = str(tmp_path / "model.pt"), tmp_path / "weights.safetensors"
    assert main(["convert", source]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "encoder.rnn.l0_reverse: lstm_torch, from the last step to the first"
    assert main(["convert", source, str(target)]) == 1
    assert "has 5 recurrent layers; choose one of encoder.rnn.l0, " in capsys.readouterr().err and not target.exists()
    assert main(["convert", source, str(target), "--layer", "encoder.rnn.l0_reverse", "--cell", "lstm"]) == 0
    assert capsys.readouterr().out == (
        f"{target}: lstm, d = 3, n = 4, float32, of layer encoder.rnn.l0_reverse\n"
        "the layer goes from the last step to the first: run the cell with reverse=True\n"
    )
    assert convert.read(target).cell is SHIPPED["lstm"]
    assert main(["convert", source, str(target), "--layer", "decoder", "--cell", "lstn"]) == 1
    assert "there is no cell `lstn` (did you mean `lstm`?)" in capsys.readouterr().err


def test_the_command_lists_what_is_no_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, arrays, linear, none = (str(tmp_path / name) for name in ("gru.safetensors", "gru.npz", "linear.pt", "none.pt"))
    weights = initial("gru", d=3, n=4)
    for path in (named, arrays):
        convert.write(path, weights)
    torch.save(nn.Linear(3, 4).state_dict(), linear)
    torch.save({"epoch": 3}, none)
    assert [main(["convert", path]) for path in (named, arrays, linear, none)] == [0, 0, 0, 1]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "parameters of the cell gru",
        f"arrays by name, and no layer of PyTorch: {', '.join(weights.params)}",
        "arrays by name, and no layer of PyTorch: weight, bias",
    ]
    assert "none.pt` has no recurrent layer" in said.err
    assert main(["convert", named, arrays, "--layer", "encoder"]) == 1
    assert "has parameters of the cell `gru`, and no layer `encoder`" in capsys.readouterr().err
    assert main(["convert", named, str(tmp_path / "none" / "gru.npz")]) == 1
    assert "none/gru.npz`: No such file or directory" in capsys.readouterr().err


NAMED = (
    ("torch", ".pt", "pip install 'torch'"),
    ("safetensors", ".safetensors", "pip install 'derive-rnn[safetensors]'"),
    ("onnx", ".onnx", "pip install 'derive-rnn[onnx]'"),
    ("h5py", ".weights.h5", "pip install 'derive-rnn[keras]'"),
    ("keras", ".keras", "pip install 'derive-rnn[keras]'"),
)
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({names}))
from derive import convert
for suffix in {suffixes}:
    open("{folder}/a" + suffix, "w").close()
    try:
        convert.read("{folder}/a" + suffix)
    except ImportError as error:
        print(error)
"""


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    """Each is asked for only where it is needed."""
    names, suffixes, said = zip(*NAMED, strict=True)
    printed = python(WITHOUT.format(names=names, suffixes=suffixes, folder=tmp_path), KERAS_BACKEND="jax")
    assert printed.splitlines() == [f"this needs {name}: {how}" for name, how in zip(names, said, strict=True)]


def test_the_source_of_a_cell_makes_it(tmp_path: Path) -> None:
    cell = Cell("h = f(W @ x + U @ h_prev)", name="made", output="h", title="Made", functions={"f(u)": "where(u > 0, u, 0.1 * u)"})
    (tmp_path / "made.py").write_text(source(cell))
    (made,) = cells_of(str(tmp_path / "made.py"))
    assert [getattr(made, key) for key in ("name", "output", "title", "functions", "equations")] == [
        getattr(cell, key) for key in ("name", "output", "title", "functions", "equations")
    ]
