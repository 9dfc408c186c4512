"""Layers with zoneout, recurrent dropout, masks and resets, beside loops over steps that say what each means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import generated.torch as ours
from derive.language.transform import TRANSFORMATIONS
from generated.runtime.common import chosen

T, B, D, N = 6, 3, 4, 5


def rnn(layer: Any, x: Tensor, h: Tensor) -> Tensor:
    return torch.tanh(x @ layer.W_l0.T + h @ layer.U_l0.T + layer.b_l0)


def given(**options: Any) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    return ours.layer("rnn", D, N, dtype=torch.float64, **options), torch.randn(T, B, D, dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
def test_zoneout(training: bool) -> None:
    """An element is kept by its own draw at each step; after training states are the mean of both."""
    layer, x = given(zoneout=0.4)
    layer.train(training)
    torch.manual_seed(5)
    y, (final,) = layer(x)
    torch.manual_seed(5)
    kept = torch.full((T, B, N), 0.4, dtype=torch.float64)
    kept = torch.bernoulli(kept) if training else kept
    h, want = torch.zeros(B, N, dtype=torch.float64), []
    for t in range(T):
        h = kept[t] * h + (1 - kept[t]) * rnn(layer, x[t], h)
        want.append(h)
    torch.testing.assert_close(y, torch.stack(want), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(final[0], h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_recurrent_dropout(training: bool) -> None:
    """One draw a sequence; gradients are those of the loop."""
    layer, x = given(recurrent_dropout=0.25)
    layer.train(training)
    torch.manual_seed(5)
    y = layer(x)[0]
    torch.manual_seed(5)
    mask = torch.bernoulli(torch.full((B, N), 0.75, dtype=torch.float64)) / 0.75 if training else 1
    h, want = torch.zeros(B, N, dtype=torch.float64), []
    for t in range(T):
        h = rnn(layer, x[t], mask * h)
        want.append(h)
    torch.testing.assert_close(y, torch.stack(want), rtol=1e-12, atol=1e-12)
    weights = list(layer.parameters())
    found, expected = (torch.autograd.grad(value.square().sum(), weights) for value in (y, torch.stack(want)))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_masked_steps_in_a_stack() -> None:
    """Both layers leave them out, NaN reaches no gradient, and the last state is that of the last step that counts."""
    torch.manual_seed(0)
    layer = ours.layer("gru", D, N, num_layers=2, batch_first=True, masked=True, dtype=torch.float64)
    x, mask = torch.randn(B, T, D, dtype=torch.float64), torch.rand(B, T) < 0.6
    mask[:, 1] = True
    hidden = x.masked_fill(~mask[..., None], float("nan")).requires_grad_()
    y, (final,) = layer(hidden, mask=mask)
    y.square().sum().backward()
    for b in range(B):
        here = mask[b].nonzero().flatten()
        alone, (end,) = layer(x[b : b + 1, here], mask=torch.ones(1, len(here)))
        torch.testing.assert_close(y[b, here], alone[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(final[:, b], end[:, 0], rtol=1e-12, atol=1e-12)
    assert hidden.grad is not None and hidden.grad.isfinite().all() and not hidden.grad[~mask].any()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_resets() -> None:
    layer, x = given(resettable=True)
    reset = torch.zeros(T, B)
    reset[3] = 1
    y, _ = layer(x, reset=reset)
    halves = [layer(part, reset=torch.zeros(len(part), B))[0] for part in (x[:3], x[3:])]
    torch.testing.assert_close(y, torch.cat(halves), rtol=1e-12, atol=1e-12)


def test_all_together() -> None:
    """What the package does not have is compiled; two draws differ in training, and not after it."""
    torch.manual_seed(0)
    options = {"zoneout": 0.2, "recurrent_dropout": 0.2, "residual": True, "masked": True, "resettable": True}
    layer = ours.layer("rnn", N, N, **options)
    x, told = torch.randn(T, B, N), {"mask": torch.ones(T, B), "reset": torch.zeros(T, B)}
    assert not torch.equal(layer(x, **told)[0], layer(x, **told)[0])
    layer.eval()
    torch.testing.assert_close(layer(x, **told)[0], layer(x, **told)[0], rtol=0, atol=0)
    name = "rnn_recurrent_dropout_zoneout_residual_masked_resettable"
    assert repr(layer) == f"Recurrent({name}, d=5, n=5, zoneout(h=0.2), recurrent_dropout(h=0.2))"


def test_some_states() -> None:
    layer = ours.layer("lstm", D, N, zoneout={"h": 0.5})
    assert layer.noise.zoneout == {"c": 0.0, "h": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zoneout": 1.0}, "zoneout must be a probability below 1, got 1.0"),
        ({"recurrent_dropout": -0.1}, "recurrent_dropout must be a probability below 1, got -0.1"),
        ({"zoneout": {"c": 0.1}}, "zoneout: `c` is none of h"),
    ],
)
def test_what_is_no_probability(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ours.layer("rnn", D, N, **options)


def test_what_cannot_be_made_is_told_how_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(chosen, "COMPILER", "no_such_compiler")
        with pytest.raises(ValueError, match=r"generated has no `mgu_masked`: `derive generate … --with masked` makes it"):
            ours.layer("mgu", D, N, masked=True)
        assert ours.layer("gru", D, N, masked=True).module.__name__ == "generated.gru_masked"
        with pytest.raises(ValueError, match=r"generated has no `ugrnn` of second order: `derive generate … --order 2` makes it"):
            ours.layer("ugrnn", D, N, order=2)
    with pytest.raises(TypeError, match="gru_masked: needs x, mask, got x"):
        ours.layer("gru", D, N, masked=True)(torch.zeros(T, B, D))


def test_the_order_is_the_compilers() -> None:
    assert tuple(TRANSFORMATIONS) == chosen.ORDER


def test_second_order_on_request() -> None:
    """What the package has with it is taken, what it has without is compiled."""
    assert ours.layer("gru", D, N, order=2).module.__name__ == "generated.gru"
    layer, x = ours.layer("ugrnn", 2, 2, order=2, dtype=torch.float64), torch.randn(2, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], x)
