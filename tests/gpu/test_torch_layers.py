"""PyTorch's layers on a CUDA device: on a simulated one, whose tensors are the CPU's, and on a real one with ``pytest -m gpu``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from device import SimulatedDevice
from pairs import STEPWISE, on_simulator
from pairs import pair as of_a_cell
from torch import func, nn

import generated.torch as ours
from generated.runtime.torch import devices, functions

T, B, D, N = 3, 2, 3, 4
KINDS = ("LSTM", "GRU", "RNN")


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDevice]:
    """A device whose memory is the CPU's: all but where a tensor lies is as on a real one."""
    with monkeypatch.context() as patch, on_simulator(STEPWISE) as device:
        patch.setattr(functions, "is_on_device", lambda values: True)
        patch.setattr(devices.DevicePasses, "array", lambda self, value: value.detach().contiguous().numpy())
        patch.setattr(devices.DevicePasses, "tensor", lambda self, value: torch.from_numpy(value))
        patch.setattr(devices.DevicePasses, "zeros", lambda self, shape, like: np.zeros(shape, like.dtype))
        yield device


def pair(kind: str, device: str = "cpu", dtype: Any = torch.float64, **options: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    theirs = getattr(nn, kind)(D, N, device=device, dtype=dtype, **options)
    own = getattr(ours, kind)(D, N, device=device, dtype=dtype, **options)
    own.load_state_dict(theirs.state_dict())
    return theirs, own


def results(layer: nn.Module, x: torch.Tensor, packed: nn.utils.rnn.PackedSequence | None = None) -> list[torch.Tensor]:
    """Return output, final states, and gradients of a function of all of them; `x` may be the rows of a `PackedSequence`."""
    x = x.detach().requires_grad_()
    y, final = layer(x if packed is None else packed._replace(data=x))
    y = y if packed is None else y.data
    finals = [*final] if isinstance(final, tuple) else [final]
    loss = sum(value.square().sum() for value in (y, *finals))
    return [y, *finals, *torch.autograd.grad(loss, [x, *layer.parameters()])]


def close(found: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> None:
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_runs_the_kernels_for_devices(simulated: SimulatedDevice, kind: str) -> None:
    theirs, own = pair(kind)
    x = torch.randn(T, B, D, dtype=torch.float64)
    close(results(own, x), results(theirs, x), 1e-10)
    assert simulated.launched
    with torch.no_grad():
        torch.testing.assert_close(own(x)[0], theirs(x)[0])


def test_both_ways_and_in_layers(simulated: SimulatedDevice) -> None:
    theirs, own = pair("GRU", num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(B, T, D, dtype=torch.float64)
    close(results(own, x), results(theirs, x), 1e-10)
    assert simulated.launched


def test_double_backward_and_forward_mode(simulated: SimulatedDevice) -> None:
    _, own = pair("RNN", bidirectional=True)
    x = torch.randn(T, B, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: own(x)[0], x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: own(x)[0], x)
    assert simulated.launched


def test_any_cell(simulated: SimulatedDevice) -> None:
    layer = ours.layer("lstm_zoneout", D, N, dtype=torch.float64)
    x = torch.randn(T, B, D, dtype=torch.float64)
    kept = {name: torch.rand(T, B, N, dtype=torch.float64) for name in ("zoneout_c", "zoneout_h")}
    y = layer(x, **kept)[0]
    functions.is_on_device = lambda values: False  # put back by the fixture
    torch.testing.assert_close(y, layer(x, **kept)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
def test_a_cell_of_heads(simulated: SimulatedDevice, both: bool) -> None:
    layer = ours.layer("linear_attention", d=3, H=2, d_k=3, d_v=2, bidirectional=both, dtype=torch.float64)
    x = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)

    def compute() -> list[torch.Tensor]:
        found = []
        for options in ({}, {"lengths": [4, 1, 3]}):
            y, final = layer(x, **options)
            loss = (y**3).sum() + sum((value**3).sum() for value in final)
            found += [y, *final, *torch.autograd.grad(loss, [x, *layer.parameters()])]
        return found

    assert_as_on_the_host(compute)
    assert any(kernel.endswith("_apart") for kernel in simulated.launched) is (simulated.limits.shared > 0)


# Sequences of unequal length


def assert_as_on_the_host(compute: Callable[[], list[torch.Tensor]]) -> None:
    """Compare what devices compute with what the CPU does, from the same random numbers."""
    torch.manual_seed(1)
    found = compute()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functions, "is_on_device", lambda values: False)
        torch.manual_seed(1)
        wanted = compute()
    close(found, wanted, 1e-12)


def twice(y: torch.Tensor, finals: Sequence[torch.Tensor], leaves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return results, their gradients by leaves, and those of the gradients' squares."""
    loss = (y**3).sum() + sum((value**3).sum() for value in finals)
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    bent = sum(grad.square().sum() for grad in grads)
    return [y, *finals, *grads, *torch.autograd.grad(bent, leaves)]


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("kind, options", [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("LSTM", {"proj_size": 2})])
def test_packed_sequences(simulated: SimulatedDevice, kind: str, options: dict[str, Any], starts: bool) -> None:
    _, own = pair(kind, num_layers=2, bidirectional=True, dropout=0.5, **options)
    sequences = [torch.randn(steps, D, dtype=torch.float64, requires_grad=True) for steps in (2, 5, 1, 5)]
    widths = [options.get("proj_size", N), *([N] if kind == "LSTM" else [])]
    states = [torch.randn(4, 4, width, dtype=torch.float64, requires_grad=True) for width in widths if starts]

    def compute() -> list[torch.Tensor]:
        packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
        y, final = own(packed, None if not states else tuple(states) if kind == "LSTM" else states[0])
        assert torch.equal(y.batch_sizes, packed.batch_sizes) and y.data.shape[0] == 13
        return twice(y.data, [*final] if kind == "LSTM" else [final], [*sequences, *states, *own.parameters()])

    assert_as_on_the_host(compute)
    assert simulated.launched


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}])
@pytest.mark.parametrize("lengths", [[2, 0, 4, 2], [3, 5, 5, 3], [5, 5, 5, 5], [0, 0, 0, 0]])
@pytest.mark.parametrize("starts", [False, True])
def test_lengths(simulated: SimulatedDevice, lengths: list[int], options: dict[str, Any], starts: bool) -> None:
    layer = ours.layer("lstm_peephole", D, N, dtype=torch.float64, **options)
    single = not options
    x = torch.randn((5, 4, D) if single else (4, 5, D), dtype=torch.float64, requires_grad=True)
    states = [torch.randn(1 if single else 4, 4, N, dtype=torch.float64, requires_grad=True) for _ in range(2 * starts)]

    def compute() -> list[torch.Tensor]:
        y, final = layer(x, layer.module.State(*states) if states else None, lengths=lengths)
        for value, steps in zip(y.transpose(0, 1) if single else y, lengths, strict=True):
            assert not value[steps:].any() and value[:steps].all()
        return twice(y, final, [x, *states, *layer.parameters()])

    assert_as_on_the_host(compute)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_of_a_cell_with_two_inputs_a_context_and_states_that_do_not_begin_with_zero(
    simulated: SimulatedDevice, bidirectional: bool
) -> None:
    module = of_a_cell("driven").host
    layer = ours.layer(module, d=3, k=2, m=2, n=4, bidirectional=bidirectional, dtype=torch.float64)
    x, z, v = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 3, 3), (4, 3, 2), (3, 2)))

    def compute() -> list[torch.Tensor]:
        y, final = layer(x, lengths=np.array([1, 3, 0]), z=z, v=v)
        loss = (y**3).sum() + sum((value**3).sum() for value in final)
        return [y, *final, *torch.autograd.grad(loss, [x, z, v, *layer.parameters()])]

    assert_as_on_the_host(compute)
    assert simulated.launched


def test_lengths_of_a_cell_without_inputs(simulated: SimulatedDevice) -> None:
    layer = ours.layer(of_a_cell("free").host, n=4, bidirectional=True, dtype=torch.float64)
    start = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)

    def compute() -> list[torch.Tensor]:
        y, final = layer(state=layer.module.State(start), steps=4, lengths=[1, 4, 2])
        return [y, *final, *torch.autograd.grad((y**3).sum() + final[0].sum(), [start, *layer.parameters()])]

    assert_as_on_the_host(compute)


def test_masks_with_lengths(simulated: SimulatedDevice) -> None:
    layer = ours.layer("gru", D, N, num_layers=2, bidirectional=True, masked=True, dtype=torch.float64)
    x, mask = torch.randn(4, 3, D, dtype=torch.float64, requires_grad=True), torch.rand(4, 3) < 0.5

    def compute() -> list[torch.Tensor]:
        y, final = layer(x, mask=mask, lengths=[2, 4, 3])
        return [y, *final, *torch.autograd.grad((y**3).sum() + (final[0] ** 3).sum(), [x, *layer.parameters()])]

    assert_as_on_the_host(compute)


def test_derivatives_of_every_kind_with_lengths(simulated: SimulatedDevice) -> None:
    layer = ours.layer("rnn", 2, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def y(x: torch.Tensor) -> torch.Tensor:
        return layer(x, lengths=[1, 3])[0]

    assert torch.autograd.gradcheck(y, x, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert torch.autograd.gradgradcheck(y, x, check_batched_grad=True)
    loss = lambda x: (y(x) ** 3).sum()  # noqa: E731
    at, several = x.detach(), torch.randn(2, *x.shape, dtype=torch.float64)
    assert_as_on_the_host(
        lambda: [
            func.hessian(loss)(at),
            func.jacfwd(y)(at),
            func.vmap(y)(several),
            func.vmap(func.grad(loss))(several),
            func.jvp(func.grad(loss), (at,), (several[0],))[1],
        ]
    )


def test_what_is_past_an_end_is_not_read(simulated: SimulatedDevice) -> None:
    layer = ours.layer("gru", D, N, bidirectional=True, dtype=torch.float64)
    x = torch.randn(4, 2, D, dtype=torch.float64)
    x[2:, 0] = float("nan")
    x.requires_grad_()
    y, final = layer(x, lengths=[2, 4])
    (y.sum() + final[0].sum()).backward()
    assert y.isfinite().all() and final[0].isfinite().all()
    assert not x.grad[2:, 0].any() and all(value.grad.isfinite().all() for value in (x, *layer.parameters()))


def test_there_is_a_run_for_each_length(simulated: SimulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, ...]] = []
    infer = devices.DevicePasses.infer
    monkeypatch.setattr(devices.DevicePasses, "infer", lambda self, values: (ran.append(values[0].shape[:2]), infer(self, values))[1])
    layer, x = ours.layer("gru", D, N), torch.randn(6, 4, D)
    with torch.inference_mode():
        layer(x, lengths=[2, 5, 0, 5])
        assert ran == [(2, 3), (3, 2)]
        layer(x, lengths=[6, 6, 6, 6])
    assert ran[2:] == [(6, 4)]


@pytest.mark.parametrize(
    "lengths, others, message",
    [
        ([1, 2], {}, r"gru: lengths must be whole numbers of shape \(B,\) = \(3,\), got int64 of shape \(2,\)"),
        ([1, 2, 5], {}, "gru: lengths must lie in 0 … T = 4, got 1 … 5"),
        ([1.0, 2.0, 3.0], {}, "gru: lengths must be whole numbers"),
        ([1, 2, 3], {"state": torch.zeros(1, 5, N)}, r"gru: state.h has shape \(5, 4\), needs \(B, n\) = \(3, 4\)"),
    ],
)
def test_lengths_that_are_wrong_are_refused_as_on_the_host(
    simulated: SimulatedDevice, lengths: Any, others: dict[str, torch.Tensor], message: str
) -> None:
    layer = ours.layer("gru", D, N)
    state = layer.module.State(others["state"]) if others else None
    for on in (True, False):
        functions.is_on_device = lambda values, on=on: on  # put back by the fixture
        with pytest.raises(ValueError, match=message):
            layer(torch.zeros(4, 3, D), state, lengths=lengths)


def test_rows_that_a_packed_sequence_says_too_many_of_are_refused(simulated: SimulatedDevice) -> None:
    _, own = pair("GRU")
    packed = nn.utils.rnn.PackedSequence(torch.zeros(4, D, dtype=torch.float64), torch.tensor([2, 1]))
    for on in (True, False):
        functions.is_on_device = lambda values, on=on: on  # put back by the fixture
        with pytest.raises(ValueError, match=r"gru_torch: x has shape \(4, 3\), needs \(rows, d\) .*3"):
            own(packed)


def test_lengths_in_compiled_code_are_left_to_what_is_not_compiled(simulated: SimulatedDevice) -> None:
    layer, x = ours.layer("gru", D, N), torch.randn(4, 3, D)
    with pytest.raises(Exception, match="sequences of unequal length are not taken in compiled code"):
        torch.compile(lambda x: layer(x, lengths=[1, 4, 2])[0], backend="eager", fullgraph=True)(x)


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_unequal_lengths_on_a_device(kind: str) -> None:
    """What cuDNN gives for a `PackedSequence`, and what the CPU gives for lengths."""
    theirs, own = pair(kind, "cuda", num_layers=2, bidirectional=True)
    sequences = [torch.randn(steps, D, device="cuda", dtype=torch.float64) for steps in (2, 5, 1, 5)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    close(results(own, packed.data, packed), results(theirs, packed.data, packed), 1e-10)
    layer, x = ours.layer(kind.lower(), D, N, bidirectional=True, dtype=torch.float64), torch.randn(T, B, D, dtype=torch.float64)
    want = layer(x, lengths=[1, 3])
    found = layer.cuda()(x.cuda(), lengths=[1, 3])
    close([value.cpu() for value in (found[0], *found[1])], [want[0], *want[1]], 1e-10)


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_device(kind: str) -> None:
    """In each precision what cuDNN gives; on a stream that is not the default one; twice differentiable."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-3), (torch.bfloat16, 5e-2)):
        theirs, own = pair(kind, "cuda", dtype, num_layers=2, bidirectional=True)
        x = torch.randn(T, B, D, device="cuda", dtype=dtype)
        with torch.cuda.stream(torch.cuda.Stream()):
            found = results(own, x)
            torch.cuda.current_stream().synchronize()
        close(found, results(theirs, x), tolerance)
        assert all(value.is_cuda and value.dtype == dtype for value in found)
    _, own = pair(kind, "cuda")
    x = torch.randn(T, B, D, device="cuda", dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: own(x)[0], x)
    with torch.autocast("cuda", torch.bfloat16):
        assert own.float()(x.float())[0].dtype == torch.bfloat16
