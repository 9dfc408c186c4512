"""Kernels on a real device, ``pytest -m gpu tests/gpu/test_device.py``: beside the CPU, with every kind of number, plan and array.

With ``-n 8 --dist loadgroup`` a cell's tests stay in one process, which compiles its kernels for the CPU once.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import instructions
import numpy as np
import pytest
import witness
from witness import Case, beyond, compared, labels, planned

from derive.cells import REGISTRY
from generated.runtime import threads
from generated.runtime.cuda.current import current
from generated.runtime.cuda.kind import KINDS

# Other versions of other libraries may warn of other things; what a call of ours must not warn of has a test.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]
HANGS = 240.0  # seconds after which a test is over: members that wait for each other wait for ever
VARIANTS = {"stepwise": (None, witness.stepwise), "alone": (64, witness.alone), "spread": (64, witness.spread)}
# Sizes at which the cheapest plan is of few members and of many, of few rows and of many, and at which a group has rows to spare.
BOUNDARIES = ((64, 17), (128, 256), (256, 16), (768, 16))
BOUNDARY_CELLS = ("lstm", "gru", "gru_v3", "mut1", "slstm", "lstm_peephole")
PLANS = 4  # of each size


@pytest.fixture
def device() -> Any:
    """Return the device, or skip the test and say why."""
    try:
        return current()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def guarded(device: Any) -> Iterator[None]:
    """End the process if a kernel hangs, or has left the device in a state that fails every later test."""
    before = threads.get_threads()
    threads.set_threads(1)  # of the CPU's kernels, beside other processes
    faulthandler.dump_traceback_later(HANGS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    threads.set_threads(before)
    try:
        device.xp.cuda.runtime.deviceSynchronize()
    except device.xp.cuda.runtime.CUDARuntimeError as error:
        if "PYTEST_XDIST_WORKER" in os.environ:
            os._exit(1)  # the next worker has a new context
        pytest.exit(f"the device takes no more work: {error}")


def grouped(*cells: str) -> list[Any]:
    return [pytest.param(cell, marks=pytest.mark.xdist_group(cell)) for cell in cells]


def params_of(module: Any, given: Any) -> Any:
    return module.Params(*(given.arrays[name] for name in module.Params._fields))


# Cells, kinds, plans


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", grouped(*REGISTRY))
def test_cells_compute_what_the_cpu_computes(cell: str, kind: str, variant: str) -> None:
    n, choose = VARIANTS[variant]
    case = Case(cell, kind) if n is None else Case(cell, kind, n, steps=6, batch=17)
    with planned(choose) as chosen:
        assert not beyond(case, compared(case)), [witness.label(plan) for plan in chosen]


@pytest.mark.parametrize("size", BOUNDARIES, ids=lambda size: f"n={size[0]},B={size[1]}")
@pytest.mark.parametrize("kind", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("cell", grouped(*BOUNDARY_CELLS))
def test_every_plan_computes_the_same(device: Any, cell: str, kind: str, size: tuple[int, int]) -> None:
    """Each of some plans in turn, from the fewest members to the most, whatever the planner takes for the cheapest."""
    case, failed = Case(cell, kind, size[0], steps=6, batch=size[1]), dict[str, list[str]]()
    names = labels(case, device.limits, PLANS)
    if not names:
        pytest.skip("steps are run one by one at this size")
    for name in names:
        with planned(witness.called(name)):
            if found := beyond(case, compared(case)):
                failed[name] = found
    assert not failed


@pytest.mark.parametrize(("n", "choose"), [(256, witness.spread), (128, witness.alone)], ids=["members", "alone"])
def test_a_thousand_times_the_same_bits(device: Any, n: int, choose: Any) -> None:
    case = Case("lstm", "bfloat16", n, steps=64, batch=16)
    module, given = importlib.import_module("generated.cuda.lstm"), witness.stored(case, device.xp.asarray)
    arguments = given.arrays["x"], params_of(module, given)

    def run() -> list[Any]:
        y, final, tape = module.forward(*arguments)
        grads = module.backward(given.dy, tape)
        return [value.view(device.xp.uint16) for value in (y, *final, grads.x, *grads.params, *grads.state)]

    with planned(choose) as chosen:
        first, differ = run(), device.xp.zeros((), bool)
        for _ in range(1000):
            for a, b in zip(first, run(), strict=True):
                differ |= (a != b).any()
    assert not differ.get()
    assert {plan is not None and plan.members > 1 for plan in chosen} == {choose is witness.spread}


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (5, 0), (1, 1)])
def test_no_steps_and_no_sequences(device: Any, steps: int, batch: int) -> None:
    for case in (Case("lstm", "float32", 64, steps, batch), Case("softmax_cross_entropy", "float32", None, steps, batch)):
        assert not beyond(case, compared(case))


# Arrays of other libraries, streams


def lstm(dtype: str = "float32", n: int = 64) -> tuple[Any, Case]:
    return importlib.import_module("generated.cuda.lstm"), Case("lstm", dtype, n, steps=6, batch=5)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_go_in_and_come_out(device: Any, kind: str) -> None:
    torch, (module, case) = pytest.importorskip("torch"), lstm(kind)
    dtype = getattr(torch, KINDS[kind].stored)

    def made(value: np.ndarray) -> Any:
        return torch.tensor(value.astype(np.float64), dtype=dtype, device="cuda")

    assert not beyond(case, compared(case, made))
    given = witness.stored(case, made)
    params = params_of(module, given)
    y, final, tape = module.forward(given.arrays["x"], params)
    grads = module.backward(given.dy, tape)
    for value in (y, *final, grads.x, *grads.params, *grads.state):
        assert isinstance(value, torch.Tensor) and value.is_cuda and value.dtype == dtype
    assert tape.inputs.x.data.ptr == given.arrays["x"].data_ptr()  # the same memory: nothing is copied
    assert tape.params.U_i.data.ptr == params.U_i.data_ptr()


def test_arrays_of_numba_go_in_and_come_out(device: Any) -> None:
    from numba import cuda

    module, case = lstm()
    assert not beyond(case, compared(case, cuda.to_device))
    given = witness.stored(case, cuda.to_device)
    y, final = module.infer(given.arrays["x"], params_of(module, given))
    assert all(cuda.is_cuda_array(value) and type(value).__module__.startswith("numba") for value in (y, *final))


def test_what_is_not_contiguous_is_read_as_it_is(device: Any) -> None:
    _, case = lstm("bfloat16")

    def apart(value: np.ndarray) -> Any:
        wide = device.xp.zeros((*value.shape[:-1], 2 * value.shape[-1]), value.dtype)
        wide[..., ::2] = device.xp.asarray(value)
        return wide[..., ::2]

    assert not beyond(case, compared(case, apart))


def test_packed_parameters_and_single_steps(device: Any) -> None:
    module, case = lstm()
    given = witness.stored(case, device.xp.asarray)
    x, params = given.arrays["x"], params_of(module, given)
    packed, state = module.pack(params), module.zero_state(case.batch, case.n)
    y, final = module.infer(x, packed)
    for t in range(case.steps):
        out, state = module.step(x[t], packed, state)
        assert float(abs(out - y[t]).max()) < 1e-5
    assert all(float(abs(a - b).max()) < 1e-5 for a, b in zip(state, final, strict=True))


@pytest.mark.parametrize("give", ["current", "torch", "cupy", "address"])
def test_work_is_queued_where_the_caller_works(device: Any, give: str) -> None:
    """The inputs are written late on a stream of its own: kernels that run elsewhere see them before."""
    torch, (module, case) = pytest.importorskip("torch"), lstm()
    given = witness.stored(case, lambda value: torch.tensor(value, device="cuda"))
    params = params_of(module, given)
    late, stream = given.arrays["x"], torch.cuda.Stream()
    want = module.infer(late, params)[0]
    x = torch.zeros_like(late)
    torch.cuda.synchronize()
    foreign = device.xp.cuda.ExternalStream(stream.cuda_stream)
    keyword = {"current": {}, "torch": {"stream": stream}, "cupy": {"stream": foreign}, "address": {"stream": stream.cuda_stream}}[give]
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)  # a tenth of a second
        x.copy_(late)
    with torch.cuda.stream(stream if give == "current" else None):
        y = module.infer(x, params, **keyword)[0]
    stream.synchronize()
    torch.testing.assert_close(y, want)


def test_a_call_warns_of_nothing(device: Any) -> None:
    """Numba, for one, warns of grids of few blocks, which is what small batches are."""
    for choose in (witness.stepwise, witness.alone, witness.spread):
        with planned(choose), warnings.catch_warnings():
            warnings.simplefilter("error")
            compared(Case("lstm", "float32", 64, steps=3, batch=2))


# What is wrong


def wrong() -> dict[str, tuple[type[Exception], str, Callable[..., object]]]:
    """Return calls, by what is wrong about them, with the error and the beginning of its message."""
    return {
        "host": (TypeError, "lstm: x lies in the host's memory", lambda m, x, p: m.forward(x.get(), p)),
        "host parameter": (TypeError, "lstm: params.U_i lies in the host's", lambda m, x, p: m.forward(x, p._replace(U_i=p.U_i.get()))),
        "list": (TypeError, "lstm: x must be an array on the device", lambda m, x, p: m.forward([1.0], p)),
        "mixed": (ValueError, "lstm: .*all arguments need one dtype", lambda m, x, p: m.forward(x.astype(np.float16), p)),
        "integers": (ValueError, "lstm: x must be float32", lambda m, x, p: m.forward(x.astype(int), p)),
        "axes": (ValueError, "lstm: x has shape", lambda m, x, p: m.forward(x[0], p)),
        "width": (ValueError, "lstm: x has shape", lambda m, x, p: m.forward(x[..., :-1], p)),
        "square": (ValueError, "lstm: params.U_i has shape", lambda m, x, p: m.forward(x, p._replace(U_i=p.U_i[:-1]))),
        "record": (ValueError, "lstm: params must be a lstm.Params", lambda m, x, p: m.forward(x, tuple(p))),
        "state": (ValueError, "lstm: state.c has shape", lambda m, x, p: m.forward(x, p, m.zero_state(2, 64))),
        "tf32": (ValueError, "lstm: tf32 is a way to multiply float32", lambda m, x, p: _double(m, x, p)),
        "cotangent": (ValueError, "lstm: dy has shape", lambda m, x, p: m.backward(x[0], m.forward(x, p)[2])),
        "tape": (ValueError, "lstm.backward: tape must be a lstm.Tape of the device", lambda m, x, p: m.backward(x, None)),
        "stream": (TypeError, "stream must be a stream", lambda m, x, p: m.forward(x, p, stream="first")),
    }


def _double(module: Any, x: Any, params: Any) -> object:
    return module.forward(x.astype(float), type(params)(*(value.astype(float) for value in params)), tf32=True)


@pytest.mark.parametrize("what", wrong())
def test_wrong_arguments_are_named(device: Any, what: str) -> None:
    module, case = lstm()
    given = witness.stored(case, device.xp.asarray)
    error, message, call = wrong()[what]
    with pytest.raises(error, match=f"^{message}"):
        call(module, given.arrays["x"], params_of(module, given))


def test_a_tensor_of_the_host_is_refused(device: Any) -> None:
    torch, (module, _) = pytest.importorskip("torch"), lstm()
    with pytest.raises(TypeError, match="lstm: x is a tensor in the host's memory"):
        module.forward(torch.zeros(2, 3, 4), module.init(4, 8))


# Instructions


@pytest.mark.parametrize("kind", instructions.PRODUCTS)
def test_tensor_cores_have_the_layout_of_the_manual(device: Any, kind: str) -> None:
    words, sums = instructions.fragments(kind)
    got = instructions.run(instructions.product(kind), device.xp, 1, 32, words, sums)[1]
    np.testing.assert_allclose(got, instructions.expected(kind, words, sums), rtol=0, atol=instructions.BOUNDS[f"mma {kind}"])


def test_conversions_round_as_the_simulator_does(device: Any) -> None:
    x = instructions.numbers()
    want = instructions.converted(x)
    _, words, values = instructions.run(
        instructions.conversion(), device.xp, -(-x.size // 128), 128, x, np.zeros_like(want[0]), np.zeros_like(want[1])
    )
    found = instructions.worst((words, values), want)
    assert {name: error for name, error in found.items() if error > instructions.BOUNDS.get(name, 0.0)} == {}
