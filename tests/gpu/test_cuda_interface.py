"""What users see of modules for the device, on the grid simulator: the functions agree with each other, with the CPU and with autograd."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, assert_same_bits, leaves
from device import DTYPES, SimulatedDevice
from pairs import LIMITS, backward, distance, forward, infer, on_simulator, pair, result

from derive.verify.problem import Problem
from derive.verify.witnesses import arguments, autograd, kernel

# One phase and two, scalars, further inputs, contexts, no inputs, no states, neither, indices, sums over features.
NAMES = ("lstm", "gru_v3", "fastrnn", "lmu", "linear", "softmax_cross_entropy", "driven", "free", "constant", "picked")
RECURRENT = ("lstm", "gru_v3", "driven")
NEAR = {"bfloat16": 2e-2, "float16": 2e-2, "tf32": 1e-3}  # float64, relative to the norm


@pytest.fixture
def stepwise() -> Iterator[SimulatedDevice]:
    with on_simulator(LIMITS["stepwise"]) as device:
        yield device


@pytest.fixture(params=LIMITS)
def device(request: pytest.FixtureRequest) -> Iterator[SimulatedDevice]:
    """A device on which loops run step by step, or in one kernel."""
    with on_simulator(LIMITS[request.param]) as found:
        yield found


# Making arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ("gru_v3", "driven", "constant"))
def test_parameters_and_states_are_those_of_the_cpu(stepwise: SimulatedDevice, name: str, dtype: str) -> None:
    """Numbers of 16 bits are those of float32, rounded."""
    it, drawn = pair(name), np.float64 if dtype == "float64" else np.float32
    sizes = dict.fromkeys(it.cell.sizes, 3)
    states = {size: 3 for size in it.cell.sizes if any(size in s.names for state in it.cell.states for s in it.cell.shapes[state])}
    for got, want in (
        (it.device.init(**sizes, seed=4, dtype=dtype), it.host.init(**sizes, seed=4, dtype=drawn)),
        (it.device.zero_state(2, **states, dtype=DTYPES[dtype]), it.host.zero_state(2, **states, dtype=drawn)),
    ):
        assert type(got) is type(want)
        for a, b in zip(got, want, strict=True):
            assert a.dtype == DTYPES[dtype] and a.shape == b.shape
            np.testing.assert_array_equal(a, b.astype(DTYPES[dtype]))


def test_float32_is_what_is_made(stepwise: SimulatedDevice) -> None:
    module = pair("lstm").device
    assert {a.dtype.name for a in (*module.init(2, 3), *module.zero_state(4, 3))} == {"float32"}
    with pytest.raises(ValueError, match="size n must be a positive integer, got 0"):
        module.init(2, 0)
    with pytest.raises(ValueError, match="batch must be a whole number of at least 0, got -1"):
        module.zero_state(-1, 3)


# Ways to run


def stepped(module: ModuleType, problem: Problem, params: Any) -> tuple[np.ndarray, Any]:
    """Return outputs and state after one step after the other."""
    (first, _, state), named = arguments(module, problem)
    named.pop("steps", None)
    outputs = []
    for t in range(problem.steps):
        given = {name: value if name in problem.cell.context else value[t] for name, value in named.items()}
        y, state = module.step(None if first is None else first[t], params, state, **given)
        outputs.append(y)
    return np.stack(outputs), state


@pytest.mark.parametrize("name", NAMES)
def test_all_ways_to_run_agree(device: SimulatedDevice, name: str) -> None:
    it = pair(name)
    problem = it.sample("float64")
    (first, params, state), named = arguments(it.device, problem)
    y, final, _ = forward(it.device, problem)
    packed = it.device.pack(params)
    for got in (
        infer(it.device, problem),
        it.device.infer(first, packed, state, **named),
        it.device.forward(first, packed, state, **named)[:2],
        stepped(it.device, problem, params),
        stepped(it.device, problem, packed),
        infer(it.host, problem),
    ):
        assert_close(got, (y, final), 1e-12)
    assert any("resident" in kernel for kernel in device.launched) == (hasattr(it.device, "FORWARD_STEPS") and device.limits.shared > 0)


@pytest.mark.parametrize("extent", [(3, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_autograd(device: SimulatedDevice, name: str, extent: tuple[int, int]) -> None:
    it = pair(name)
    problem = it.sample("float64", steps=extent[0], batch=extent[1])
    assert distance(result(it.device, problem), autograd(problem)) < 1e-12


@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("name", RECURRENT)
def test_narrow_numbers_are_near(device: SimulatedDevice, name: str, kind: str) -> None:
    it = pair(name)
    problem = it.sample("float32" if kind == "tf32" else kind, size=16)
    got = result(it.device, problem, **({"tf32": True} if kind == "tf32" else {}))
    assert {value.dtype for value in (*got.values.values(), *got.grads.values())} == {problem.dy.dtype}
    assert distance(got, autograd(problem.cast(np.float64))) < NEAR[kind]


# Arguments that may be left out, and arrays without elements


@pytest.mark.parametrize("extent", [(0, 2), (3, 0), pytest.param((0, 0), marks=pytest.mark.exhaustive)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_without_steps_or_sequences(device: SimulatedDevice, name: str, extent: tuple[int, int]) -> None:
    """States go through unchanged, gradients of parameters are zero."""
    it = pair(name)
    problem = it.sample("float64", steps=extent[0], batch=extent[1])
    got, want = result(it.device, problem), kernel(it.host, problem)
    assert_same_bits(tuple(got.values.values()), tuple(want.values.values()))
    assert_same_bits(tuple(got.grads.values()), tuple(want.grads.values()))
    assert not device.launched


@pytest.mark.parametrize("name", RECURRENT)
def test_cotangents_are_zero_where_they_are_left_out(device: SimulatedDevice, name: str) -> None:
    it = pair(name)
    problem = it.sample()
    _, final, tape = forward(it.device, problem)
    zero, dfinal = type(final)(*map(np.zeros_like, final)), type(final)(*(problem.dfinal[state] for state in it.cell.states))
    assert_same_bits(it.device.backward(problem.dy, tape), it.device.backward(problem.dy, tape, zero))
    assert_same_bits(it.device.backward(None, tape, dfinal), it.device.backward(np.zeros_like(problem.dy), tape, dfinal))
    assert not any(value.any() for value in leaves(it.device.backward(None, tape)).values())


@pytest.mark.parametrize("name", ("lstm", "gru_v3", "driven", "softmax_readout"))
def test_gradients_that_are_asked_for_have_the_bits_of_all(device: SimulatedDevice, name: str) -> None:
    it = pair(name)
    problem = it.sample()
    _, _, tape = forward(it.device, problem)
    whole = it.device.backward(problem.dy, tape)
    for only in (("params",), ("state", *problem.inputs), ("params", "state"), ()):
        found = it.device.backward(problem.dy, tape, only=only)
        want = whole._replace(**{known: None for known in whole._fields if known not in only})
        assert [value is None for value in found] == [value is None for value in want]
        assert not only or assert_same_bits(found, want) is None


@pytest.mark.parametrize("name", RECURRENT)
def test_without_a_state_it_starts_from_zero_state(stepwise: SimulatedDevice, name: str) -> None:
    """Zero, or what the cell says."""
    it = pair(name)
    (first, params, _), named = arguments(it.device, it.sample("float32"))
    state = it.device.zero_state(2, **{size: 8 for size in ("n", "k") if size in it.cell.sizes})
    assert_same_bits(it.device.infer(first, params, **named), it.device.infer(first, params, state, **named))


def test_without_inputs_there_are_steps(stepwise: SimulatedDevice) -> None:
    it = pair("free")
    (_, params, state), _ = arguments(it.device, it.sample())
    for steps in (None, -1, 1.5):
        with pytest.raises(ValueError, match=f"free: a cell without inputs needs steps, a number of at least 0, got {steps}"):
            it.device.infer(None, params, state, steps=steps)
    with pytest.raises(ValueError, match="free: a cell without inputs needs state"):
        it.device.infer(None, params, steps=2)


# Memory


@pytest.mark.parametrize("name", ("lstm", "gru_v3", "driven", "softmax_cross_entropy", "softmax_readout"))
def test_a_tape_is_not_altered(device: SimulatedDevice, name: str) -> None:
    it = pair(name)
    problem = it.sample()
    _, _, tape = forward(it.device, problem)
    before = {key: value.copy() for key, value in leaves(tape).items()}
    first, second = backward(it.device, problem, tape), backward(it.device, problem, tape)
    assert_same_bits(first, second)
    for key, value in leaves(tape).items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)


@pytest.mark.parametrize("name", RECURRENT)
def test_results_are_new_arrays(device: SimulatedDevice, name: str) -> None:
    """What is done to them changes neither the arguments nor the tape."""
    it = pair(name)
    problem = it.sample()
    y, final, tape = forward(it.device, problem)
    want, grads = leaves(tape), backward(it.device, problem, tape)
    kept = {key: value.copy() for key, value in want.items()}
    for value in (y, *final, *leaves(grads).values()):
        value[...] = np.nan
    assert all(np.array_equal(value, kept[key]) for key, value in leaves(tape).items())


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda packed: pickle.loads(pickle.dumps(packed))])
def test_a_copy_of_packed_parameters_computes_the_same_bits(device: SimulatedDevice, how: Any) -> None:
    it = pair("lstm")
    (first, params, state), named = arguments(it.device, it.sample("float32"))
    packed = it.device.pack(params)
    want = it.device.infer(first, packed, state, **named)
    assert_same_bits(it.device.infer(first, how(packed), state, **named), want)


@pytest.mark.parametrize("name", ("lstm", "gru_v3", "fastrnn", "driven"))
def test_packed_parameters_are_a_snapshot(device: SimulatedDevice, name: str) -> None:
    it = pair(name)
    (first, params, state), named = arguments(it.device, it.sample("float32"))
    params = type(params)(*map(np.copy, params))
    packed = it.device.pack(params)
    want = it.device.infer(first, packed, state, **named)
    for value in params:
        value += 1
    assert_same_bits(it.device.infer(first, packed, state, **named), want)


def test_a_part_of_packed_parameters_put_in_by_hand_is_refused(stepwise: SimulatedDevice) -> None:
    it = pair("lstm")
    (first, params, state), named = arguments(it.device, it.sample("float32"))
    packed = it.device.pack(params)
    for field in packed._fields:
        with pytest.raises(ValueError, match=rf"^lstm: params\.{field} is not what pack made"):
            it.device.infer(first, packed._replace(**{field: ()}), state, **named)


def test_what_plans_lay_out_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    it = pair("lstm")
    monkeypatch.setattr(sys.modules[it.device.LAYER.__module__.rpartition(".")[0] + ".call"], "LAID", 2)
    with on_simulator(LIMITS["resident"]):
        packed = it.device.pack(it.device.init(8, 8))
        for batch in (1, 2, 3, 5, 9):
            it.device.infer(np.ones((2, batch, 8), np.float32), packed)
        assert 1 <= len(packed.laid) <= 2


def test_arrays_may_lie_anyhow(device: SimulatedDevice) -> None:
    it = pair("driven")
    problem = it.sample()
    lying = {name: np.asfortranarray(value) for name, value in problem.arrays.items()}
    other = Problem(it.cell, problem.sizes, problem.steps, problem.batch, lying, np.asfortranarray(problem.dy), problem.dfinal)
    got, want = result(it.device, other), result(it.device, problem)
    assert_same_bits(tuple(got.grads.values()), tuple(want.grads.values()))


# Indices


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_indices_are_of_any_integers(stepwise: SimulatedDevice, dtype: Any) -> None:
    it = pair("softmax_cross_entropy")
    problem = it.sample()
    assert distance(result(it.device, problem.at("k", problem.arrays["k"].astype(dtype))), result(it.device, problem)) == 0.0


@pytest.mark.parametrize("index", [-1, 8, 2**40])
@pytest.mark.parametrize(("name", "last"), [("softmax_cross_entropy", 1), ("picked", None)], ids=["loss", "state"])
def test_an_index_outside_gives_nan(device: SimulatedDevice, name: str, last: int | None, index: int) -> None:
    """In its own sequence only, and for good where it enters a state: values that lie on the device are not checked."""
    it = pair(name)
    problem = it.sample("float64")
    indices = problem.arrays["k"].copy()
    indices[1, 0] = index
    y, want = infer(it.device, problem.at("k", indices))[0], infer(it.device, problem)[0]
    outside = np.zeros(y.shape, bool)
    outside[1 : last and last + 1, 0] = True
    np.testing.assert_array_equal(np.isnan(y), outside)
    np.testing.assert_array_equal(y[~outside], want[~outside])
