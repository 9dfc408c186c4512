"""A layer of any cell: what its module computes, differentiated by PyTorch, in layers one above the other."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_same_bits, generated, ordinary
from torch import nn

import generated.torch as ours
from derive import Cell
from derive.cells import REGISTRY
from derive.verify.problem import sample
from derive.verify.witnesses import arguments

T, B = 4, 3
CHOSEN = {"lstm_peephole", "slstm", "lmu", "softmax_cross_entropy", "rhn", "linear"}


def given(problem: Any) -> tuple[Any, dict[str, Any]]:
    """Return the first input and all others of a problem, as tensors, and the steps of a cell without inputs."""
    names = [*problem.cell.inputs, *problem.cell.context]
    tensors = {name: torch.from_numpy(problem.arrays[name]) for name in names}
    for name in problem.differentiable:
        if name in tensors:
            tensors[name].requires_grad_()
    first = tensors.pop(names[0]) if problem.cell.inputs else None
    return first, tensors if problem.cell.inputs else {**tensors, "steps": problem.steps}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, np.array([2, 4, 3])])
@pytest.mark.parametrize("name", ordinary(REGISTRY, CHOSEN))
def test_every_cell(name: str, lengths: Any, reverse: bool) -> None:
    cell, module = REGISTRY[name], generated(name)
    problem = sample(cell, steps=T, batch=B, seed=1)
    if not cell.inputs and lengths is not None:
        pytest.skip("steps say how long sequences are")
    layer = ours.layer(name, **{size: problem.sizes[size] for size in module.LAYER.sizes}, bidirectional=reverse, dtype=torch.float64)
    suffix = "_l0_reverse" if reverse else "_l0"
    with torch.no_grad():
        for parameter, value in problem.parameters.items():
            getattr(layer, f"{parameter}{suffix}").copy_(torch.from_numpy(value))
    x, others = given(problem)
    zeros = [torch.from_numpy(np.stack([value] * (1 + reverse))) for value in problem.states.values()]
    y, final = layer(x, module.State(*zeros), lengths=lengths, **others)
    arrays, options = arguments(module, problem)
    want, want_final, tape = module.forward(*arrays, **options, lengths=lengths, reverse=reverse)
    width = want.shape[-1]
    got = y[..., -width:] if want.ndim == y.ndim and reverse else y
    assert all(np.array_equal(a[-1].detach().numpy(), b) for a, b in zip(final, want_final, strict=True))
    if reverse and want.ndim == 2:
        return
    assert_same_bits((got.detach().numpy(),), (want,))
    dy = np.random.default_rng(0).standard_normal(want.shape)
    leaves = [getattr(layer, f"{parameter}{suffix}") for parameter in problem.parameters]
    found = torch.autograd.grad((got * torch.from_numpy(dy)).sum(), leaves, allow_unused=True) if leaves else ()
    grads = module.backward(dy, tape).params
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(found, grads, strict=True))


def test_layers_above_each_other() -> None:
    layer = ours.layer("lstm_peephole", 3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=torch.float64)
    x = torch.randn(B, T, 3, dtype=torch.float64)
    y, final = layer(x)
    assert y.shape == (B, T, 8) and final[0].shape == (4, B, 4)
    module = generated("lstm_peephole")

    def alone(x: np.ndarray, place: str, *, reverse: bool) -> np.ndarray:
        params = module.Params(*[getattr(layer, f"{name}{place}").detach().numpy() for name in module.Params._fields])
        return module.infer(x, params, reverse=reverse)[0]

    want = x.transpose(0, 1).contiguous().numpy()
    for k in range(2):
        want = np.concatenate([alone(want, f"_l{k}", reverse=False), alone(want, f"_l{k}_reverse", reverse=True)], -1)
    assert_same_bits((y.transpose(0, 1).contiguous().detach().numpy(),), (want,))


def test_the_same_seed_gives_the_same_weights() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(ours.layer("slstm", 3, 4).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert made[0]["b_f_l0"].dtype == torch.float32


def test_copies_pickles_and_words() -> None:
    layer = ours.layer("lstm_peephole", 3, n=4, num_layers=2)
    x = torch.randn(T, B, 3)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(copied(x), layer(x), rtol=0, atol=0)
    assert repr(layer) == "Recurrent(lstm_peephole, d=3, n=4, num_layers=2)"
    assert isinstance(layer, nn.Module) and sum(p.numel() for p in layer.parameters()) == 4 * (4 * 3 + 16 + 4) + 12 + 4 * (32 + 4) + 12


def test_a_cell_of_ones_own() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev) - h_prev / 2", name="odd", output="h")
    layer = ours.layer(cell, 3, 4, dtype=torch.float64)
    x = torch.randn(T, B, 3, dtype=torch.float64)
    h, want = torch.zeros(B, 4, dtype=torch.float64), []
    for t in range(T):
        h = torch.tanh(x[t] @ layer.W_l0.T + h @ layer.U_l0.T) - h / 2
        want.append(h)
    torch.testing.assert_close(layer(x)[0], torch.stack(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ours.layer("lstmm", 3, 4), "generated has no cell `lstmm`"),
        (lambda: ours.layer("lstm", 3), "lstm: needs the sizes d, n, got 3"),
        (lambda: ours.layer("lstm", 3, 4, m=5), "lstm: needs the sizes d, n, got 3, 4, m=5"),
        (lambda: ours.layer(3, 3, 4), "needs the name of a cell, a generated module, or a derive.Cell, got int"),
        (lambda: ours.layer("softmax_cross_entropy", 3, num_layers=2), "a cell with one input alone can have layers above the first"),
        (lambda: ours.layer("lstm", 3, 4)(torch.zeros(T, B, 3), k=torch.zeros(1)), "lstm: needs x, got x, k"),
        (lambda: ours.layer("lstm", 3, 4)(torch.zeros(T, B, 5)), r"lstm: x has shape \(4, 3, 5\), needs"),
        (lambda: ours.layer("lstm", 3, 4)(torch.zeros(T, B, 3), lengths=[1, 2]), "lengths must be whole numbers of shape"),
        (lambda: ours.layer("lstm", 3, 4)(torch.zeros(T, B, 3, dtype=torch.float64)), "need one dtype"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()
