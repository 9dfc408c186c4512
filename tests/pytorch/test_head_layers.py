"""PyTorch layers of cells with heads, and with matrices as states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ordinary

from derive.cells import REGISTRY
from derive.verify.problem import Problem, sample
from derive.verify.witnesses import autograd
from generated.torch import layer

CELLS = {
    "gated_deltanet": {"d": 5, "H": 2, "d_k": 3, "d_v": 4},
    "mlstm": {"d": 5, "H": 2, "d_k": 3, "d_v": 4},
    "mamba": {"d": 5, "n": 4, "m": 3, "r": 2},
}
CELLS |= {"flash_lstm": {"n": 4, "H": 2}, "fast_weights": {"d": 3, "n": 4}}
every_cell = pytest.mark.parametrize("name", ordinary(CELLS, {"gated_deltanet"}))


def made(name: str) -> tuple[torch.nn.Module, Problem]:
    """Return a layer with the parameters of a problem."""
    found, p = layer(name, **CELLS[name], dtype=torch.float64), sample(REGISTRY[name], sizes=CELLS[name], steps=4, batch=3)
    with torch.no_grad():
        for key, value in found.named_parameters():
            value.copy_(torch.tensor(p.arrays[key.removesuffix("_l0")]))
    return found, p


@every_cell
def test_gradients_against_autograd(name: str) -> None:
    found, p = made(name)
    x = torch.tensor(p.arrays["x"], requires_grad=True)
    state = tuple(torch.tensor(value, requires_grad=True) for value in p.states.values())
    y, final = found(x, tuple(value[None] for value in state))
    loss = (y * torch.tensor(p.dy)).sum()
    loss += sum((value * torch.tensor(p.dfinal[s])).sum() for s, value in zip(p.cell.states, final, strict=True))
    loss.backward()
    want = autograd(p)
    np.testing.assert_allclose(y.detach(), want.values["output"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(x.grad, want.grads["x"], rtol=1e-9, atol=1e-11)
    for s, value in zip(p.cell.states, state, strict=True):
        np.testing.assert_allclose(value.grad, want.grads[f"{s}_prev"], rtol=1e-9, atol=1e-11, err_msg=s)
    for key, value in found.named_parameters():
        np.testing.assert_allclose(value.grad, want.grads[key.removesuffix("_l0")], rtol=1e-9, atol=1e-11, err_msg=key)


def test_lengths_and_per_sample_gradients() -> None:
    found, p = made("gated_deltanet")
    x = torch.tensor(p.arrays["x"])
    y, _ = found(x, lengths=[4, 2, 0])
    assert torch.equal(y[:2, 1], found(x[:2, 1:2])[0][:, 0]) and not y[2:, 1].any() and not y[:, 2].any()
    weights = dict(found.named_parameters())

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(found, weights, (x[:, None],))[0].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 1))(weights, x)
    found(x)[0].square().sum().backward()
    for key, value in weights.items():
        torch.testing.assert_close(each[key].sum(0), value.grad, rtol=1e-9, atol=1e-11)


def test_layers_read_the_heads_side_by_side() -> None:
    torch.manual_seed(0)
    stack = layer("deltanet", d=5, H=2, d_k=3, d_v=4, num_layers=2, dtype=torch.float64)
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    y, final = stack(x)
    assert y.shape == (4, 3, 2, 4) and final.S.shape == (2, 3, 2, 4, 3) and stack.W_q_l1.shape == (2, 3, 8)
    alone = layer("deltanet", d=8, H=2, d_k=3, d_v=4, dtype=torch.float64)
    first = layer("deltanet", d=5, H=2, d_k=3, d_v=4, dtype=torch.float64)
    first.load_state_dict({key: value for key, value in stack.state_dict().items() if key.endswith("_l0")})
    alone.load_state_dict({key.replace("_l1", "_l0"): value for key, value in stack.state_dict().items() if key.endswith("_l1")})
    torch.testing.assert_close(alone(first(x)[0].flatten(2))[0], y)
