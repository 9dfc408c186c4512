"""The classical cells against PyTorch's own layers: outputs, final states and every gradient.

An implementation that shares nothing with this project: it checks the equations, not only their derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from conftest import generated

from derive.cells import REGISTRY
from derive.verify.problem import Scales, sample

T, B, D, N = 9, 4, 5, 11
Arrays = Mapping[str, np.ndarray]

# By rows of PyTorch's stacked matrices: what the parts are called here, as (W, U, b of the input, b of the state).
# PyTorch keeps two biases a gate. Where only their sum counts, there is one here; None is PyTorch's second.
ROWS: dict[str, list[tuple[str, str, str, str | None]]] = {
    "rnn": [("W", "U", "b", None)],
    "rnn_relu": [("W", "U", "b", None)],
    "lstm": [(f"W_{g}", f"U_{g}", f"b_{g}", None) for g in "ifgo"],
    "gru": [("W_r", "U_r", "b_r", None), ("W_z", "U_z", "b_z", None), ("W_n", "U_n", "b_in", "b_hn")],
}


def layer(name: str) -> torch.nn.RNNBase:
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    if name in kinds:
        return kinds[name](D, N, dtype=torch.float64)
    return torch.nn.RNN(D, N, nonlinearity="relu" if name == "rnn_relu" else "tanh", dtype=torch.float64)


def parts(name: str, stacked: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return, by our names, the parts of PyTorch's stacked arrays."""
    found: dict[str, np.ndarray] = {}
    chunks = {key: value.detach().numpy().reshape(len(ROWS[name]), N, -1) for key, value in stacked.items()}
    for k, (w, u, b, b_state) in enumerate(ROWS[name]):
        found[w], found[u] = chunks["weight_ih_l0"][k], chunks["weight_hh_l0"][k]
        found[b] = chunks["bias_ih_l0"][k, :, 0]
        if b_state is not None:
            found[b_state] = chunks["bias_hh_l0"][k, :, 0]
    return found


def second_biases(name: str, stacked: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return PyTorch's second bias of each gate that has one here."""
    rows = stacked["bias_hh_l0"].detach().numpy().reshape(len(ROWS[name]), N)
    return {b: rows[k] for k, (_, _, b, b_state) in enumerate(ROWS[name]) if b_state is None}


def close(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.shape == want.shape, what
    assert np.abs(got - want).max() <= 1e-10 * np.abs(want).max(), what


@pytest.mark.parametrize("name", ROWS)
def test_layer_is_that_of_pytorch(name: str) -> None:
    torch.manual_seed(1)
    reference, module = layer(name), generated(name)
    stacked = dict(reference.named_parameters())
    ours = parts(name, stacked)
    for b, second in second_biases(name, stacked).items():
        ours[b] = ours[b] + second
    params = module.Params(**{key: np.ascontiguousarray(value) for key, value in ours.items()})
    p = sample(REGISTRY[name], sizes={"d": D, "n": N}, steps=T, batch=B, scales=Scales(states=1.0))
    x, state, dy, dfinal = p.arrays["x"], p.states, p.dy, p.dfinal

    y, final, tape = module.forward(x, params, module.State(**state))
    grads = module.backward(dy, tape, module.State(**dfinal))

    leaf = {s: torch.tensor(value[None], requires_grad=True) for s, value in state.items()}
    x_leaf = torch.tensor(x, requires_grad=True)
    want, last = reference(x_leaf, (leaf["h"], leaf["c"]) if name == "lstm" else leaf["h"])
    lasts = dict(zip(("h", "c"), last if name == "lstm" else (last,), strict=False))
    loss = (want * torch.tensor(dy)).sum() + sum((lasts[s][0] * torch.tensor(value)).sum() for s, value in dfinal.items())
    loss.backward()

    close(y, want.detach().numpy(), "y")
    for s in state:
        close(getattr(final, s), lasts[s][0].detach().numpy(), f"final {s}")
        close(getattr(grads.state, s), leaf[s].grad[0].numpy(), f"initial {s}")
    close(grads.x, x_leaf.grad.numpy(), "x")
    stacked_grads = {key: value.grad for key, value in stacked.items()}
    expected = parts(name, stacked_grads)
    assert expected.keys() == set(module.Params._fields)
    for key, value in expected.items():
        close(getattr(grads.params, key), value, key)
    for key, value in second_biases(name, stacked_grads).items():  # of a sum, both parts have the sum's gradient
        close(getattr(grads.params, key), value, f"second bias of {key}")
