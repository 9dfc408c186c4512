"""The table of what works in `docs/pytorch.md`: each row is run, and the page says what came of it.

`python tests/pytorch/test_what_works.py` writes the table anew.
"""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, func, nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.autograd import functional as autograd
from torch.utils.checkpoint import checkpoint

import generated.torch as ours

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pytorch.md"
TABLE = re.compile(r"(<!-- works -->\n)(.*?)(<!-- /works -->)", re.DOTALL)
T, B, D, N = 3, 2, 2, 3
REFUSED = (NotImplementedError, RuntimeError)


def forward(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: layer(x)[0]


def loss(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: layer(x)[0].pow(3).sum()


def by_backward(layer: nn.Module, x: Tensor) -> None:
    seen: list[Tensor] = []
    next(layer.parameters()).register_hook(seen.append)
    with torch.autograd.detect_anomaly(check_nan=True):
        loss(layer)(x.requires_grad_()).backward()
    assert len(seen) == 1 and all(parameter.grad is not None for parameter in layer.parameters())


def by_checkpoint(layer: nn.Module, x: Tensor) -> None:
    for reentrant in (False, True):
        checkpoint(forward(layer), x.requires_grad_(), use_reentrant=reentrant).sum().backward()


def without(layer: nn.Module, x: Tensor) -> None:
    with torch.inference_mode():
        assert layer(x)[0].is_inference()


def copied(layer: nn.Module, x: Tensor) -> None:
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x)[0], layer(x)[0], rtol=0, atol=0)


def reparametrised(layer: nn.Module, x: Tensor) -> None:
    made = copy.deepcopy(layer)
    name = max((key for key, value in made.named_parameters() if value.dim() == 2), key=len)
    nn.utils.parametrizations.weight_norm(made, name)
    loss(made)(x).backward()


def checked(layer: nn.Module, x: Tensor) -> None:
    assert gradcheck(forward(layer), x.requires_grad_(), check_batched_grad=True)


def checked_forward(layer: nn.Module, x: Tensor) -> None:
    assert gradcheck(forward(layer), x.requires_grad_(), check_forward_ad=True, check_backward_ad=False, check_batched_forward_grad=True)


def checked_twice(layer: nn.Module, x: Tensor) -> None:
    assert gradgradcheck(forward(layer), x.requires_grad_(), check_batched_grad=True)


def penalty(layer: nn.Module, x: Tensor) -> None:
    (grad,) = torch.autograd.grad(loss(layer)(x.requires_grad_()), x, create_graph=True)
    grad.square().sum().backward()


def products(layer: nn.Module, x: Tensor) -> None:
    for product in (autograd.hvp, autograd.vhp):
        product(loss(layer), x, torch.ones_like(x))
    autograd.hessian(loss(layer), x)


def third(layer: nn.Module, x: Tensor) -> None:
    found = loss(layer)(x.requires_grad_())
    for _ in range(3):
        (found,) = torch.autograd.grad(found.sum(), x, create_graph=True)


def dual_of_dual(layer: nn.Module, x: Tensor) -> None:
    func.jvp(lambda x: func.jvp(forward(layer), (x,), (x,))[1], (x,), (x,))


def dual(layer: nn.Module, x: Tensor) -> None:
    func.jvp(forward(layer), (x,), (x,)), func.jacfwd(forward(layer))(x)
    with forward_ad.dual_level():
        assert forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x))[0]).tangent is not None


def each_sample(layer: nn.Module, x: Tensor) -> None:
    weights = dict(layer.named_parameters())

    def alone(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return func.functional_call(layer, weights, (x[:, None],))[0].pow(3).sum()  # type: ignore[no-any-return]

    found = func.vmap(func.grad(alone), (None, 1))(weights, x)
    assert all(value.shape[0] == B for value in found.values())


def ensemble(layer: nn.Module, x: Tensor) -> None:
    weights = {name: torch.stack([value, 2 * value]) for name, value in layer.named_parameters()}
    func.vmap(lambda weights: func.functional_call(layer, weights, (x,))[0])(weights)


def compiled(layer: nn.Module, x: Tensor) -> None:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.compile(forward(layer), fullgraph=True)(x.requires_grad_()).sum().backward()


def exported(layer: nn.Module, x: Tensor) -> None:
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.export.export(copy.deepcopy(layer).eval(), (x,))


def compiled_jvp(layer: nn.Module, x: Tensor) -> None:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.compile(lambda x: func.jvp(forward(layer), (x,), (x,))[1], fullgraph=True)(x)


WAYS: dict[str, Callable[[nn.Module, Tensor], None]] = {
    "`backward`, hooks, anomaly mode": by_backward,
    "`checkpoint`, of both kinds": by_checkpoint,
    "`inference_mode`": without,
    "`deepcopy`, `pickle`": copied,
    "`parametrize`": reparametrised,
    "`gradcheck`, gradients in batches": checked,
    "`torch.func.{grad, vjp, jacrev}`": lambda layer, x: (func.grad(loss(layer))(x), func.jacrev(forward(layer))(x)),
    "`vmap`": lambda layer, x: func.vmap(forward(layer))(torch.stack([x, 2 * x])),
    "`vmap` over weights": ensemble,
    "gradients of each sample": each_sample,
    "`torch.compile(fullgraph=True)`, there and back": compiled,
    "`torch.export`": exported,
    "forward mode: `jvp`, `jacfwd`, dual numbers": dual,
    "`gradcheck` of forward mode, in batches": checked_forward,
    "`create_graph=True`": penalty,
    "`gradgradcheck`, gradients in batches": checked_twice,
    "`torch.autograd.functional.{hvp, vhp, hessian}`": products,
    "`torch.func.hessian`": lambda layer, x: func.hessian(loss(layer))(x),
    "`jvp` of `grad`": lambda layer, x: func.jvp(func.grad(loss(layer)), (x,), (x,)),
    "`jacrev` of `jacfwd`": lambda layer, x: func.jacrev(func.jacfwd(forward(layer)))(x),
    "forward mode in compiled code": compiled_jvp,
    "forward mode of forward mode": dual_of_dual,
    "a third derivative": third,
}
"""What may be asked of a layer, as a caller would."""


def outcome(layer: nn.Module, way: Callable[[nn.Module, Tensor], None]) -> str:
    """Return what comes of it: done, or refused in words of ours or of PyTorch's."""
    torch.manual_seed(0)
    for parameter in layer.parameters():
        parameter.grad = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            way(layer, torch.randn(T, B, D, dtype=torch.float64))
        except REFUSED as error:
            assert re.search(r"third derivative|forward mode|without second order", str(error)), error
            return "refused"
    return "yes"


def table() -> str:
    torch.manual_seed(0)
    cell, replayed = (ours.layer("ugrnn", D, N, dtype=torch.float64, replay=replay) for replay in (False, True))
    layers = (ours.RNN(D, N, dtype=torch.float64), cell, replayed)
    rows = ["| asked for | `RNN`, `LSTM`, `GRU`, cells with second order | cells without | with `replay=True` |", "|---|---|---|---|"]
    rows += [f"| {name} | {' | '.join(outcome(layer, way) for layer in layers)} |" for name, way in WAYS.items()]
    return "\n".join(rows) + "\n"


def test_the_page_says_what_works() -> None:
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None and found[2] == table()


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table() + found[3], text), encoding="utf-8")
