"""FSDP2 with our layers: parameters lie in parts with all processes, and are whole only while a layer runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("torch.distributed.fsdp")
from helpers import workers

from generated.torch import LSTM, layer


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    found = workers.start("sharded", tmp_path)
    for kind, shared in found.items():
        network = workers.Small(kind)
        losses = list(workers.steps(network, workers.sequences()))
        torch.testing.assert_close(shared.pop("losses"), losses, rtol=1e-12, atol=1e-12)
        first, *_ = network.parameters()
        assert shared.pop("part") == [-(-len(first) // 2), *first.shape[1:]]
        torch.testing.assert_close(shared, {key: value.detach() for key, value in network.named_parameters()}, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_of_a_parameter_can_be_freed(dtype: torch.dtype) -> None:
    """After `Tensor.numpy` it cannot, and FSDP2 fails: it frees it after every pass."""
    lstm = LSTM(3, 5, dtype=dtype)
    lstm(torch.ones(4, 2, 3, dtype=dtype))[0].sum().backward()
    assert all(value.untyped_storage().resizable() for value in lstm.parameters())


def test_a_parameter_that_lies_otherwise_in_memory() -> None:
    gru = layer("gru", 3, 5, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    want = gru(x)[0]
    with torch.no_grad():
        gru.U_r_l0 = torch.nn.Parameter(gru.U_r_l0.T.contiguous().T)
        gru.W_z_l0 = torch.nn.Parameter(torch.stack([gru.W_z_l0, gru.W_z_l0], -1)[..., 1])
    assert not gru.U_r_l0.is_contiguous() and not gru.W_z_l0.is_contiguous()
    torch.testing.assert_close(gru(x)[0], want, rtol=1e-14, atol=1e-14)
