"""A `Packed` is what its parameters were when they were packed, and stays whole: copied, pickled, altered by hand, used for long."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, generated, python
from test_interface import gru

from derive.cells import REGISTRY
from derive.runtime.cpu.replay import KEPT
from derive.verify.problem import sample

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda packed: pickle.loads(pickle.dumps(packed)),
    "protocol 0": lambda packed: pickle.loads(pickle.dumps(packed, 0)),
}


def results(module: ModuleType, packed: Any) -> tuple[Any, ...]:
    """Return what `infer` gives, and three steps: in the ordinary way, recorded, and done again."""
    d, n = packed.params.W_r.shape[1], packed.params.U_r.shape[1]
    x = sample(REGISTRY["gru"], sizes={"d": d, "n": n}, steps=20, batch=4).cast(packed.params.W_r.dtype).arrays["x"]
    state = module.zero_state(4, n, x.dtype)
    return module.infer(x, packed), *(module.step(x[t], packed, state) for t in range(3))


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("size", [1, 16, 33])
def test_a_copy_computes_the_same_bits(how: str, size: int) -> None:
    module = generated("gru")
    packed = module.pack(module.init(size, size))
    want = results(module, packed)
    for _ in range(4):  # a copy in memory would be aligned by chance
        assert_same_bits(results(module, COPIES[how](packed)), want)


def test_a_pickle_is_read_in_another_process(tmp_path: Path) -> None:
    module = generated("gru")
    packed = module.pack(module.init(3, 16))
    (tmp_path / "packed").write_bytes(pickle.dumps(packed))
    code = f"""
import pickle, sys
import numpy as np
packed = pickle.load(open({str(tmp_path / "packed")!r}, "rb"))
y, _ = sys.modules[type(packed.params).__module__].infer(np.ones((5, 2, 3), np.float32), packed)
print(y.tobytes().hex())
"""
    y, _ = module.infer(np.ones((5, 2, 3), np.float32), packed)
    assert python(code).strip() == y.tobytes().hex()


# It is a snapshot


def test_parameters_that_are_altered_in_place_change_nothing() -> None:
    module = generated("gru")
    params = module.init(3, 16)
    packed, cold = module.pack(params), module.pack(params)
    want = results(module, packed)
    for value in params:
        value += 1
    assert_same_bits(results(module, packed), want)
    assert_same_bits(results(module, cold), want)
    assert not any(np.shares_memory(a, b) for a in params for b in (*packed.params, *packed.weights))


# What is altered by hand


def unaligned(array: np.ndarray) -> np.ndarray:
    view = np.zeros(array.nbytes + 4, np.uint8)[4:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


ALTERED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "weights": lambda packed: {"weights": tuple(map(unaligned, packed.weights))},
    "weights too short": lambda packed: {"weights": tuple(w[:-8] for w in packed.weights)},
    "weights of another dtype": lambda packed: {"weights": tuple(w.astype(np.float64) for w in packed.weights)},
    "too few weights": lambda packed: {"weights": packed.weights[1:]},
    "params": lambda packed: {"params": packed.params._replace(b_r=packed.params.b_r[1:])},
    "shapes": lambda packed: {"shapes": ()},
    "recordings": lambda packed: {"recordings": {}},
    "quickly": lambda packed: {"quickly": None},
    "seal": lambda packed: {"seal": None},
}


@pytest.mark.parametrize("what", ALTERED)
@pytest.mark.parametrize("before", [0, 1])
def test_a_part_put_in_by_hand_is_refused(what: str, before: int) -> None:
    module = generated("gru")
    packed = module.pack(module.init(3, 16))
    x, state = np.ones((2, 3), np.float32), module.zero_state(2, 16)
    for _ in range(before):
        module.step(x, packed, state)
    bad = packed._replace(**ALTERED[what](packed))
    field = next(field for field in packed._fields if field in what)
    for call in (lambda: module.infer(x[None], bad), lambda: module.step(x, bad, state), lambda: module.forward(x[None], bad)):
        with pytest.raises(ValueError, match=rf"^gru: params\.{field} is not what pack made"):
            call()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("U_r", (5, 4), r"params.U_r has shape \(5, 4\), needs \(n, n\) = \(5, 5\)"),
        ("U_r", (5,), r"params.U_r has shape \(5,\), needs \(n, n\)"),
        ("W_z", (4, 3), r"params.W_z has shape \(4, 3\), needs \(n, d\) = \(5, 3\)"),
        ("b_r", (6,), r"params.b_r has shape \(6,\), needs \(n,\) = \(5,\)"),
    ],
)
def test_parameters_of_another_shape_are_not_packed(name: str, shape: tuple[int, ...], message: str) -> None:
    module, _, params, _ = gru()
    with pytest.raises(ValueError, match=f"^gru: {message}"):
        module.pack(params._replace(**{name: np.zeros(shape)}))


# Recorded calls


def test_of_many_kinds_of_steps_the_last_are_kept() -> None:
    module = generated("gru")
    packed = module.pack(module.init(3, 4))
    for batch in range(1, 5 * KEPT):
        for _ in range(3):
            module.step(np.ones((batch, 3), np.float32), packed, module.zero_state(batch, 4))
    kept = list(packed.recordings)
    assert len(kept) == KEPT
    module.step(np.ones((batch, 3), np.float32), packed, module.zero_state(batch, 4))
    assert list(packed.recordings) == kept


@pytest.mark.parametrize("inner", ["infer", "step", "backward", "pack"])
def test_what_runs_inside_a_recording_has_no_part_in_it(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler or a finaliser may call anything in the middle of a pass."""
    module, x, params, state = gru()
    packed, other = module.pack(params), module.pack(params)
    tape = module.forward(x, params)[2]
    calls = {
        "infer": lambda: module.infer(x + 1, params),
        "step": lambda: module.step(x[2] + 1, other, state),
        "backward": lambda: module.backward(None, tape),
        "pack": lambda: module.pack(params),
    }
    forward_pass = module.forward_pass
    module.step(x[0], packed, state)  # the next one is recorded
    asked = [calls[inner]]

    def interrupted(function: Callable[..., Any], *given: Any) -> Any:
        if asked:
            asked.pop()()
        return function(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "forward_pass", lambda *given: interrupted(forward_pass, *given))
        module.step(x[0], packed, state)
    assert not asked
    for t in range(4):
        assert_same_bits(module.step(x[t], packed, state), module.step(x[t], params, state))
