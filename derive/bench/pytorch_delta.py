"""Delta rules by flash-linear-attention's references in PyTorch, which need no device, with what its layers have around them.

They are what its own tests hold its kernels against: `fla.ops.delta_rule.naive` and `fla.ops.gated_delta_rule.naive`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from ..verify.problem import Problem
from .pytorch import Layer, layer_of, tensor

Rule = Callable[..., tuple[Any, Any]]
"""From q, k, v, beta, the logarithm of the decay, and the state before the first step, `(B, T, H, ·)` and `(B, H, d_k, d_v)`, to output and
state."""

NORM, ROOT = 1e-6, 1e-5  # beneath the roots of the cells' two norms
FLOAT = "torch.float32"


@lru_cache
def reference(rule: str) -> ModuleType:
    """Return the module of a rule's references: by its file, for the package around it imports Triton, which they do not use."""
    found = importlib.util.find_spec("fla")
    assert found is not None and found.submodule_search_locations
    path = Path(next(iter(found.submodule_search_locations)), "ops", rule, "naive.py")
    spec = importlib.util.spec_from_file_location(f"derive_bench_fla_{rule}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stepped(q: Any, k: Any, v: Any, beta: Any, decay: Any, state: Any) -> tuple[Any, Any]:
    """Return a rule's output and final state, step by step; without decay that of the plain delta rule, whose axes lie otherwise."""
    if decay is not None:
        found: tuple[Any, Any] = reference("gated_delta_rule").naive_recurrent_gated_delta_rule(q, k, v, beta, decay, initial_state=state)
        return found
    y, final = reference("delta_rule").delta_rule_recurrence(*(value.transpose(1, 2) for value in (q, k, v, beta)), initial_state=state)
    return y.transpose(1, 2), final


def chunked(q: Any, k: Any, v: Any, beta: Any, decay: Any, state: Any) -> tuple[Any, Any]:
    """Return the gated rule's output and final state, in chunks of 64 steps."""
    found: tuple[Any, Any] = reference("gated_delta_rule").naive_chunk_gated_delta_rule(q, k, v, decay, beta, initial_state=state)
    return found


def deltanet(p: Problem, rule: Rule) -> Layer:
    """Return the layer of `deltanet`, or of `gated_deltanet`, whose rule is another's.

    Raises
    ------
    TypeError
        If the problem is not in float32, which the references compute in whatever they are given.
    """
    torch = importlib.import_module("torch")
    leaves = {name: tensor(value, requires_grad=name in p.differentiable) for name, value in p.arrays.items()}
    if str(leaves["x"].dtype) != FLOAT:
        raise TypeError("its references compute in float32")
    gated = "W_o" in leaves
    silu, softplus = torch.nn.functional.silu, torch.nn.functional.softplus

    def unit(u: Any) -> Any:
        return u * torch.rsqrt(u.square().sum(-1, keepdim=True) + NORM)

    def run(inputs: Sequence[Any]) -> Any:
        x = inputs[0].transpose(0, 1)

        def made(name: str) -> Any:
            weight = leaves[name]
            return x @ weight.T if weight.ndim == 2 else (x @ weight.flatten(0, 1).T).unflatten(-1, weight.shape[:2])

        q, k, v, beta = unit(silu(made("W_q"))), unit(silu(made("W_k"))), silu(made("W_v")), torch.sigmoid(made("w_b"))
        decay = -leaves["A_log"].exp() * softplus(made("w_a") + leaves["b_a"]) if gated else None
        y, _ = rule(q, k, v, beta, decay, leaves["S_prev"].transpose(-1, -2))
        if gated:
            y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + ROOT) * leaves["g_o"] * silu(made("W_g"))
            y = y.flatten(-2) @ leaves["W_o"].T
        return y.transpose(0, 1)

    return layer_of(p.cell, leaves, run)
