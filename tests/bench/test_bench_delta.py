"""Layers of delta rules around another package's rule: what is around it is ours, and the rule is called as it is written."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from derive.bench import pytorch, pytorch_delta
from derive.bench.peers import NO_LAYER, NOT_INSTALLED, PEERS
from derive.cells import REGISTRY
from derive.verify.problem import Problem, sample
from derive.verify.witnesses import autograd

SIZES = {"d": 5, "H": 2, "d_k": 3, "d_v": 4}
there = pytest.mark.skipif(importlib.util.find_spec("fla") is None, reason="needs flash-linear-attention")


def drawn(name: str) -> Problem:
    """Return a problem whose loss is of the outputs alone, as the bench has it."""
    p = sample(REGISTRY[name], sizes=SIZES, steps=7, batch=3)
    return replace(p, dfinal={state: np.zeros_like(value) for state, value in p.dfinal.items()})


def rule(q: Any, k: Any, v: Any, beta: Any, decay: Any, state: Any) -> Any:
    """As `pytorch_delta.Rule` says, written anew."""
    assert q.shape == k.shape == (3, 7, 2, 3) and v.shape == (3, 7, 2, 4) and beta.shape == (3, 7, 2) and state.shape == (3, 2, 3, 4)
    outputs = []
    for t in range(q.shape[1]):
        state = state if decay is None else state * decay[:, t].exp()[..., None, None]
        error = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * error)
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) / q.shape[-1] ** 0.5)
    return torch.stack(outputs, 1), state


def agrees(p: Problem, rule: pytorch_delta.Rule) -> None:
    """Hold a layer's output and gradients against those of the cell."""
    given, want = p.cast(np.float32), autograd(p)
    contender = pytorch.contender(given, pytorch_delta.deltanet(given, rule))
    np.testing.assert_allclose(contender.infer(), want.values["output"], rtol=1e-4, atol=1e-6)
    grads = contender.gradients(contender.train())
    assert {*grads} == {*p.differentiable}
    for name, value in grads.items():
        np.testing.assert_allclose(value, want.grads[name], rtol=1e-3, atol=1e-5 * np.abs(want.grads[name]).max(), err_msg=name)


@pytest.mark.parametrize("name", ["deltanet", "gated_deltanet"])
def test_what_is_around_a_rule(name: str) -> None:
    agrees(drawn(name), rule)


@there
@pytest.mark.parametrize(("name", "rule"), [("deltanet", "stepped"), ("gated_deltanet", "stepped"), ("gated_deltanet", "chunked")])
def test_the_references(name: str, rule: str) -> None:
    agrees(drawn(name), getattr(pytorch_delta, rule))


def test_the_references_are_called_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(q, k, v, beta, g, initial_state):
        return rule(q, k, v, beta, g, initial_state)

    def chunks(q, k, v, g, beta, initial_state):
        return rule(q, k, v, beta, g, initial_state)

    def plain(q, k, v, beta, initial_state):
        y, state = rule(*(value.transpose(1, 2) for value in (q, k, v, beta)), None, initial_state)
        return y.transpose(1, 2), state

    modules = {
        "gated_delta_rule": SimpleNamespace(naive_recurrent_gated_delta_rule=gated, naive_chunk_gated_delta_rule=chunks),
        "delta_rule": SimpleNamespace(delta_rule_recurrence=plain),
    }
    monkeypatch.setattr(pytorch_delta, "reference", modules.get)
    agrees(drawn("deltanet"), pytorch_delta.stepped)
    for of in (pytorch_delta.stepped, pytorch_delta.chunked):
        agrees(drawn("gated_deltanet"), of)


def test_only_in_float32() -> None:
    with pytest.raises(TypeError, match="its references compute in float32"):
        pytorch_delta.deltanet(drawn("deltanet"), rule)


def test_which_cells_they_have() -> None:
    absent = partial(PEERS["fla"].absence, operations=10)
    found = PEERS["fla"].installed
    assert absent(REGISTRY["gated_deltanet"]) == ("" if found else NOT_INSTALLED)
    assert absent(REGISTRY["gla"]) == (NO_LAYER if found else NOT_INSTALLED)
    assert not PEERS["fla"].usual and PEERS["fla-chunk"].cells == ("gated_deltanet",)
