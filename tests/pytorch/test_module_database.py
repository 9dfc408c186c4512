"""Our layers on the samples that PyTorch keeps of its own, and on what it keeps of errors: its database of modules."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from conftest import ordinary
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

import generated.torch as ours

DTYPES = (torch.float64, torch.float32)
KINDS = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])


class Sample(NamedTuple):
    """Our layer and PyTorch's, of the same weights, arguments of their `forward`, and what the results are to be, if it is known."""

    own: nn.Module
    theirs: nn.Module
    given: tuple[Any, ...]
    reference: Callable[..., Any] | None

    def run(self) -> Any:
        return self.own(*self.given)


def information(kind: str) -> Any:
    """Return what PyTorch's database has of a layer."""
    pytest.importorskip("expecttest", reason="PyTorch's database of modules needs it")
    from torch.testing._internal.common_modules import module_db

    return next(info for info in module_db if info.module_cls is getattr(nn, kind))


def samples(kind: str, dtype: torch.dtype = torch.float64, *, requires_grad: bool = False, packed: bool = False) -> Iterator[Sample]:
    info = information(kind)
    options = {"with_packed_sequence": True} if packed else {}
    for made in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=requires_grad, training=True, **options):
        own, theirs = (_layer(module, kind, made.constructor_input).to(dtype) for module in (ours, nn))
        own.load_state_dict(theirs.state_dict())
        assert not made.forward_input.kwargs
        yield Sample(own, theirs, made.forward_input.args, made.reference_fn)


def _layer(module: Any, kind: str, given: Any, **options: Any) -> Any:
    return getattr(module, kind)(*given.args, **{**given.kwargs, **options})


def assert_close(got: Any, want: Any) -> None:
    """Compare tensors in whatever they lie, as closely as PyTorch's tests do."""
    assert len(tree_leaves(got)) == len(tree_leaves(want))
    for a, b in zip(tree_leaves(got), tree_leaves(want), strict=True):
        torch.testing.assert_close(a, b)


def check(of: Callable[..., bool], sample: Sample) -> None:
    """Check derivatives by arguments and by weights."""
    flat, form = tree_flatten((sample.given, dict(sample.own.named_parameters())))

    def run(*values: Any) -> list[Any]:
        given, weights = tree_unflatten(values, form)
        return tree_leaves(torch.func.functional_call(sample.own, weights, given))

    assert of(run, flat)


@every_kind
@every_dtype
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")  # PyTorch's own, in float32
def test_results(kind: str, dtype: torch.dtype) -> None:
    count = 0
    for sample in samples(kind, dtype):
        got = sample.run()
        assert_close(got, sample.theirs(*sample.given))
        assert sample.reference is not None
        assert_close(got, sample.reference(sample.own, *sample.given))
        count += 1
    assert count >= 2


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
@every_dtype
def test_packed_sequences(kind: str, dtype: torch.dtype) -> None:
    packed = [sample for sample in samples(kind, dtype, packed=True) if isinstance(sample.given[0], nn.utils.rnn.PackedSequence)]
    assert packed
    for sample in packed:
        assert_close(sample.run(), sample.theirs(*sample.given))


@every_kind
def test_copies(kind: str) -> None:
    """What is made of a layer by `torch.save` and `deepcopy` is the same layer; it reads as PyTorch's, and takes its weights."""
    for sample in samples(kind):
        file = io.BytesIO()
        torch.save(sample.own, file)
        file.seek(0)
        want = sample.run()
        for copied in (torch.load(file, weights_only=False), copy.deepcopy(sample.own)):
            assert type(copied) is type(sample.own)
            assert_close(copied(*sample.given), want)
        assert repr(sample.own) == repr(sample.theirs)
        assert list(sample.own.state_dict()) == list(sample.theirs.state_dict())


@every_kind
@every_dtype
def test_keywords_of_factories(kind: str, dtype: torch.dtype) -> None:
    info = information(kind)
    for made in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=True):
        layer = _layer(ours, kind, made.constructor_input, device="cpu", dtype=dtype)
        assert {(value.dtype, value.device.type) for value in layer.parameters()} == {(dtype, "cpu")}
        empty = _layer(ours, kind, made.constructor_input, device="meta", dtype=dtype)
        assert {(value.dtype, value.device.type) for value in empty.parameters()} == {(dtype, "meta")}


@every_kind
@every_dtype
def test_memory_that_is_not_contiguous(kind: str, dtype: torch.dtype) -> None:
    def loosened(value: torch.Tensor) -> torch.Tensor:
        return value.detach().repeat_interleave(2, dim=-1)[..., ::2].requires_grad_()

    for sample in samples(kind, dtype, requires_grad=True):
        found = []
        for given in (sample.given, tree_map(loosened, sample.given)):
            results = tree_leaves(sample.own(*given))
            for cotangents in ([value.detach().cos() for value in results], [loosened(value.detach().cos()) for value in results]):
                wanted = [*tree_leaves(given), *sample.own.parameters()]
                found.append([*results, *torch.autograd.grad(results, wanted, cotangents, retain_graph=True)])
        for other in found[1:]:
            assert_close(other, found[0])


@every_kind
@every_dtype
def test_memory_of_results(kind: str, dtype: torch.dtype) -> None:
    for sample in samples(kind, dtype):
        sample.own.to(memory_format=torch.contiguous_format)
        assert all(value.is_contiguous() for value in tree_leaves(sample.run()))


@every_kind
def test_training_alters_nothing(kind: str) -> None:
    """It alters dropout only, which the database has none of; and cells do not ask for it."""
    for sample in samples(kind):
        want = sample.own.train()(*sample.given)
        assert_close(sample.own.eval()(*sample.given), want)
        if "Cell" in kind:
            del sample.own.training
            assert_close(sample.run(), want)


def _picked(kind: str, *, every: bool, projected: bool = False) -> list[Sample]:
    """Return the samples with gradients, those that project their output or those that do not: all, or the first and the last."""
    found = [sample for sample in samples(kind, requires_grad=True) if bool(getattr(sample.own, "proj_size", 0)) == projected]
    return found if every else [found[0], found[-1]]


every_extent = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["two", "all"])
FORWARD = partial(gradcheck, check_forward_ad=True)


@pytest.mark.parametrize("kind", ordinary(KINDS, {"RNN", "RNNCell"}))
@every_extent
@pytest.mark.parametrize("of", [gradcheck, FORWARD], ids=["reverse", "forward"])
def test_derivatives(kind: str, every: bool, of: Callable[..., bool]) -> None:
    """Along random directions, as PyTorch's tests do."""
    for sample in _picked(kind, every=every):
        check(partial(of, fast_mode=True), sample)


@pytest.mark.exhaustive  # of second order there is more in test_autograd
@every_kind
@every_extent
def test_second_derivatives(kind: str, every: bool) -> None:
    for sample in _picked(kind, every=every):
        check(partial(gradgradcheck, fast_mode=True), sample)


@pytest.mark.exhaustive
def test_derivatives_of_projections() -> None:
    for sample in _picked("LSTM", every=True, projected=True):
        for of in (gradcheck, FORWARD, gradgradcheck):
            check(partial(of, fast_mode=True), sample)


@every_kind
@every_dtype
def test_errors(kind: str, dtype: torch.dtype) -> None:
    """What PyTorch says that it refuses is refused in its words."""
    from torch.testing._internal.common_modules import ModuleErrorEnum

    info = information(kind)
    wrong = info.module_error_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=True)
    assert wrong
    for case in wrong:
        made = case.module_error_input
        with pytest.raises(case.error_type, match=case.error_regex):
            layer = _layer(ours, kind, made.constructor_input)
            assert case.error_on is not ModuleErrorEnum.CONSTRUCTION_ERROR, "a layer was made"
            layer.to(dtype)(*made.forward_input.args, **made.forward_input.kwargs)
