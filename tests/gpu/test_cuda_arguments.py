"""What modules for the device refuse: every message names the argument, what came and what is needed; and what is missing without a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import python
from pairs import LIMITS, forward, on_simulator, pair

from derive.verify.witnesses import arguments


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    with on_simulator(LIMITS["stepwise"]):
        yield


class Given(SimpleNamespace):
    """A module and good arguments: T, B = 3, 2 and all sizes 8."""

    def __init__(self, name: str) -> None:
        it = pair(name)
        problem = it.sample()
        (x, params, state), named = arguments(it.device, problem)
        _, final, tape = forward(it.device, problem)
        super().__init__(m=it.device, x=x, params=params, state=state, named=named, dy=problem.dy, tape=tape, final=final)

    def forward(self, x: Any = None, params: Any = None, state: Any = None, **named: Any) -> Any:
        """Call the forward pass with some arguments exchanged."""
        given = (old if new is None else new for new, old in ((x, self.x), (params, self.params), (state, self.state)))
        return self.m.forward(*given, **{**self.named, **named})


def short(value: np.ndarray) -> np.ndarray:
    return value[..., :-1]


LSTM: dict[str, tuple[Callable[[Given], Any], type[Exception], str]] = {
    "no array": (lambda g: g.forward([1.0]), TypeError, "lstm: x must be an array on the device, got list"),
    "no array in a record": (
        lambda g: g.forward(params=g.params._replace(b_i=0.0)),
        TypeError,
        "lstm: params.b_i must be an array .* got float",
    ),
    "axes": (lambda g: g.forward(g.x[0]), ValueError, r"lstm: x has shape \(2, 8\), needs \(T, B, d\)"),
    "axes of a step": (lambda g: g.m.step(g.x, g.params), ValueError, r"lstm.step: x has shape \(3, 2, 8\), needs \(B, d\)"),
    "size of a parameter": (
        lambda g: g.forward(params=g.params._replace(U_f=short(g.params.U_f))),
        ValueError,
        r"lstm: params.U_f has shape \(8, 7\), needs \(n, n\) = \(8, 8\)",
    ),
    "size of an input": (lambda g: g.forward(short(g.x)), ValueError, r"lstm: x has shape \(3, 2, 7\), needs \(T, B, d\) = \(3, 2, 8\)"),
    "size of a state": (
        lambda g: g.forward(state=g.state._replace(c=g.state.c[:1])),
        ValueError,
        r"lstm: state.c has shape \(1, 8\), needs \(B, n\) = \(2, 8\)",
    ),
    "parameters of another kind": (
        lambda g: g.forward(params=g.state),
        ValueError,
        r"lstm: params must be a lstm.Params with fields \('W_i', .*\), got \('c', 'h'\)",
    ),
    "parameters that are no record": (lambda g: g.forward(params=g.x), ValueError, "lstm: params must be a lstm.Params .* got ndarray"),
    "a state that is no record": (lambda g: g.forward(state=5), ValueError, "lstm: state must be a lstm.State .* got int"),
    "packed elsewhere": (lambda g: g.forward(params=packed("lstm_peephole")), ValueError, "lstm: params are packed for another module"),
    "two dtypes": (
        lambda g: g.forward(g.x.astype(np.float16)),
        ValueError,
        "lstm: params.W_i is float32, but x is float16: all arguments need one dtype",
    ),
    "two dtypes, of a state": (
        lambda g: g.forward(state=g.state._replace(h=g.state.h.astype(np.float64))),
        ValueError,
        "lstm: state.h is float64, but x is float32: all arguments need one dtype",
    ),
    "integers": (lambda g: g.forward(g.x.astype(int)), ValueError, "lstm: x must be float32, float64, bfloat16 or float16, got int64"),
    "dtype of init": (lambda g: g.m.init(2, 3, dtype="float8"), ValueError, "lstm.init: dtype must be float32, .* or float16, got float8"),
    "dtype of zero_state": (
        lambda g: g.m.zero_state(2, 3, dtype=torch.int32),
        ValueError,
        "lstm.zero_state: dtype must be .* got torch.int32",
    ),
    "tf32": (lambda g: g.forward(tf32=1), ValueError, "lstm: tf32 must be True or False, got 1"),
    "tf32 of another dtype": (
        lambda g: g.m.forward(g.x.astype(np.float64), narrowed(g.params, np.float64), tf32=True),
        ValueError,
        "lstm: tf32 is a way to multiply float32, but the arguments are float64",
    ),
    "tape of another module": (
        lambda g: g.m.backward(g.dy, Given("gru_v3").tape),
        ValueError,
        r"lstm.backward: tape must be a lstm.Tape of the device, got a generated.cuda.gru_v3.Tape",
    ),
    "tape of the CPU": (
        lambda g: g.m.backward(g.dy, pair("lstm").host.forward(g.x, g.params)[2]),
        ValueError,
        r"lstm.backward: tape must be a lstm.Tape of the device, got a generated.lstm.Tape",
    ),
    "cotangents": (
        lambda g: g.m.backward(g.dy[1:], g.tape),
        ValueError,
        r"lstm: dy has shape \(2, 2, 8\), needs \(T, B, n\) = \(3, 2, 8\)",
    ),
    "dtype of cotangents": (
        lambda g: g.m.backward(g.dy.astype(np.float64), g.tape),
        ValueError,
        "lstm: dy is float64, but the tape is float32",
    ),
    "final cotangents": (
        lambda g: g.m.backward(g.dy, g.tape, g.final._replace(c=short(g.final.c))),
        ValueError,
        r"lstm: dfinal.c has shape \(2, 7\), needs \(B, n\) = \(2, 8\)",
    ),
    "final cotangents that are no record": (
        lambda g: g.m.backward(g.dy, g.tape, (g.dy,)),
        ValueError,
        "lstm: dfinal must be a lstm.State .*got tuple",
    ),
    "dtype of final cotangents": (
        lambda g: g.m.backward(g.dy, g.tape, narrowed(g.final, np.float16)),
        ValueError,
        "lstm: dfinal.c is float16, but the tape is float32",
    ),
}
OTHERS: dict[str, tuple[Callable[[Given], Any], str]] = {
    "softmax_cross_entropy": (lambda g: g.forward(k=g.named["k"] * 1.0), "softmax_cross_entropy: k must hold integers, got float64"),
    "driven": (lambda g: g.forward(v=g.named["v"][:1]), r"driven: v has shape \(1, 8\), needs \(B, k\) = \(2, 8\)"),
    "constant": (lambda g: g.forward(steps=2, v=g.named["v"][0]), r"constant: v has shape \(8,\), needs \(B, k\)"),
}


def narrowed(record: Any, dtype: Any) -> Any:
    return type(record)(*(value.astype(dtype) for value in record))


def packed(name: str) -> Any:
    given = Given(name)
    return given.m.pack(given.params)


@pytest.mark.parametrize("what", LSTM)
def test_what_is_refused(what: str) -> None:
    call, error, message = LSTM[what]
    with pytest.raises(error, match=message):
        call(Given("lstm"))


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_refused_of_further_arguments(name: str) -> None:
    call, message = OTHERS[name]
    with pytest.raises(ValueError, match=message):
        call(Given(name))


# Without a GPU

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path[:] = [Missing(), *(finder for finder in sys.meta_path if "numba_cuda" not in type(finder).__module__)]
from generated.cuda import lstm

assert not {missing} & set(sys.modules) and "numba.cuda" not in sys.modules
try:
    lstm.init(2, 3)
except RuntimeError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", ["cupy", "numba_cuda"])
def test_a_module_says_what_is_not_installed(missing: str) -> None:
    if missing == "numba_cuda":
        pytest.importorskip("cupy")
    said = python(WITHOUT.format(missing={missing}))
    assert f"need CuPy and numba-cuda, but No module named '{missing}'" in said
    assert 'pip install "derive-rnn[cuda]"' in said and '"numba-cuda[cu13]" and "cupy-cuda13x[ctk]"' in said


def test_a_module_says_that_there_is_no_device() -> None:
    pytest.importorskip("cupy")
    said = python(WITHOUT.format(missing={"nothing"}), CUDA_VISIBLE_DEVICES="-1")
    assert re.match("CUDA kernels need a device", said)


@pytest.mark.parametrize("dtype", [None, "foo", "float8", int, "torch.int8", torch.int32])
def test_a_dtype_that_is_none_of_ours(dtype: Any) -> None:
    module = pair("lstm").device
    for make in (lambda: module.init(2, 3, dtype=dtype), lambda: module.zero_state(2, 3, dtype=dtype)):
        with pytest.raises(ValueError, match=f"dtype must be float32, float64, bfloat16 or float16, got {re.escape(str(dtype))}"):
            make()


def test_a_dtype_of_torch() -> None:
    module = pair("lstm").device
    assert module.init(2, 3, dtype=torch.bfloat16).b_i.dtype.name == "bfloat16"
    assert module.zero_state(2, 3, dtype=torch.float64).c.dtype == np.float64


def test_more_rows_than_a_grid_has_blocks_are_refused() -> None:
    given = Given("free")
    with pytest.raises(ValueError, match=r"free: T B must be below 2\^31, a row each, got 2147483648 steps of 2 sequences"):
        given.m.infer(None, given.params, given.state, steps=2**31)
