"""PyTorch's layers on a CUDA device: on a simulated one, whose tensors are the CPU's, and on a real one with ``pytest -m gpu``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from device import SimulatedDevice
from pairs import STEPWISE, on_simulator
from torch import nn

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


def results(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return output, final states, and gradients of a function of all of them."""
    x = x.detach().requires_grad_()
    y, final = layer(x)
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


def test_lengths_are_refused(simulated: SimulatedDevice) -> None:
    _, own = pair("LSTM")
    packed = nn.utils.rnn.pack_sequence([torch.randn(steps, D, dtype=torch.float64) for steps in (3, 1)])
    with pytest.raises(ValueError, match="lstm_torch: on a CUDA device all sequences have one length: no lengths, and no PackedSequence"):
        own(packed)


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
