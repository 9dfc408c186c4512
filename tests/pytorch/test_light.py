"""Light calls on tensors that are done again by their addresses: the same bits as by arrays, whoever calls, and whatever lies between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import at_once
from torch import Tensor, func, nn
from torch.utils._pytree import tree_map

import generated.torch as ours
from generated.runtime.cpu import openmp
from generated.runtime.torch import light

T, B, D, N = 4, 2, 3, 5
ENOUGH = 3
Results = list[Tensor | None]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "OFTEN", ENOUGH)
    monkeypatch.setattr(light, "_kinds", {})


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each call that comes to where it may be done so, whether it was."""
    seen, ordinary, known = list[bool](), light.done, light.known

    def watched(*given: Any) -> Any:
        found = ordinary(*given)
        seen.append(found is not None)
        return found

    def watched_if_known(*given: Any) -> Any:  # one that is not known comes to `done` afterwards
        found = known(*given)
        seen.extend([True] if found is not None else [])
        return found

    monkeypatch.setattr(light, "done", watched)
    monkeypatch.setattr(light, "known", watched_if_known)
    return seen


def from_arrays(call: Callable[[], Results]) -> Results:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("done", "known"):
            patch.setattr(light, name, lambda *given: None)
        return call()


def assert_same(got: Results, want: Results) -> None:
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        assert a is None or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "RNN": lambda: ours.RNN(D, N, bias=False, dtype=torch.float64),
    "LSTM": lambda: ours.LSTM(D, N, num_layers=2, dtype=torch.float64),
    "LSTM, projected": lambda: ours.LSTM(D, N, proj_size=2, dtype=torch.float64),
    "GRU": lambda: ours.GRU(D, N, dtype=torch.float64),
    "GRU, both ways": lambda: ours.GRU(D, N, bidirectional=True, num_layers=2, batch_first=True, dtype=torch.float64),
    "lstm_peephole": lambda: ours.layer("lstm_peephole", D, N, dtype=torch.float64),
    "gru_d": lambda: ours.layer("gru_d", D, N, dtype=torch.float64),
}


def given(layer: Any, batch: int = B, steps: int = T) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return random inputs of a layer."""
    names = [*layer.module.LAYER.inputs, *layer.module.LAYER.context] if hasattr(layer, "module") else ["x"]
    spec = layer.module.spec(steps, batch, D, N) if hasattr(layer, "module") else {"inputs": {"x": (steps, batch, D)}}
    shapes = {**spec["inputs"], **spec.get("context", {})}
    first, *others = (torch.rand(shapes[name], dtype=torch.float64, requires_grad=True) for name in names)
    return [first], dict(zip(names[1:], others, strict=True))


WAYS: dict[str, Callable[[Any, Any, Any], Results]] = {}


def way(function: Callable[[Any, Any, Any], Results]) -> Callable[[Any, Any, Any], Results]:
    WAYS[function.__name__] = function
    return function


def flat(found: Any) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else [value for part in found for value in flat(part)]


@way
def infer(layer: Any, x: Any, others: Any) -> Results:
    with torch.no_grad():
        return [*flat(layer(*x, **others))]


@way
def all_gradients(layer: Any, x: Any, others: Any) -> Results:
    found = flat(layer(*x, **others))
    loss = sum((value.sin().sum() for value in found), torch.zeros(()))
    return [*found, *torch.autograd.grad(loss, [*x, *others.values(), *layer.parameters()], allow_unused=True)]


@way
def of_the_output(layer: Any, x: Any, others: Any) -> Results:
    y, *_ = flat(layer(*x, **others))
    return [*torch.autograd.grad(y.square().sum(), [*layer.parameters()], allow_unused=True)]


@way
def of_a_final_state(layer: Any, x: Any, others: Any) -> Results:
    _, last, *_ = flat(layer(*x, **others))
    return [*torch.autograd.grad(last.square().sum(), [*x, *layer.parameters()], allow_unused=True)]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_it_has_the_bits_of_arrays(name: str, how: str, done: list[bool]) -> None:
    torch.manual_seed(1)
    layer = LAYERS[name]()
    for _ in range(2 * ENOUGH + 2):  # new numbers, in other memory, each time
        at = given(layer)
        got = WAYS[how](layer, *at)
        assert_same(got, from_arrays(partial(WAYS[how], layer, *at)))
    assert not any(done[:ENOUGH]) and all(done[-2:])


@pytest.mark.parametrize("how", WAYS)
def test_large_results_and_memory_to_work_in_come_from_the_pool(how: str, done: list[bool]) -> None:
    """Weights whose panels no recording keeps, and gradients of as many numbers; each call's are its own."""
    layer, found = ours.LSTM(D, 136, dtype=torch.float64), list[tuple[Results, Results]]()
    for _ in range(2 * ENOUGH):
        x = [torch.rand(1, 1, D, dtype=torch.float64, requires_grad=True)]
        found.append((WAYS[how](layer, x, {}), from_arrays(partial(WAYS[how], layer, x, {}))))
    room = [
        one for kind in light._kinds.values() for lit in kind.idle for one in (make() for _, make in lit._made) if one.dtype == torch.uint8
    ]
    assert done[-1] and room
    for got, want in found:
        assert_same(got, want)


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """PyTorch has two threads: whether they are awake, and how many parts there are for each, is told here."""
    before, told = torch.get_num_threads(), {"awake": True, "parts": 1}
    torch.set_num_threads(2)
    monkeypatch.setattr(openmp._Team, "awake", lambda team: told["awake"])
    monkeypatch.setattr(openmp._Team, "parts", lambda team: told["parts"])
    yield told
    torch.set_num_threads(before)


def heavy() -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return so much input that a pass asks for other threads."""
    return [torch.rand(40, 20, D, dtype=torch.float64, requires_grad=True)], {}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("awake", [False, True])
def test_what_asks_other_threads_is_done_so_too(how: str, awake: bool, team: dict[str, Any], done: list[bool]) -> None:
    layer, team["awake"] = ours.LSTM(D, 65, dtype=torch.float64), awake
    for _ in range(2 * ENOUGH + 2):
        at = heavy()
        assert_same(WAYS[how](layer, *at), from_arrays(partial(WAYS[how], layer, *at)))
    assert done[-1] and not any(lit._recording.light for kind in light._kinds.values() for lit in kind.idle)


def test_it_is_learnt_for_each_division_among_threads(team: dict[str, Any], done: list[bool]) -> None:
    layer = ours.LSTM(D, 65, dtype=torch.float64)
    x, want = heavy(), None
    for told in ({"awake": True, "parts": 1}, {"awake": True, "parts": 2}, {"awake": False}) * 2:
        team |= told
        for _ in range(8 * ENOUGH):
            got = infer(layer, *x)
            assert_same(got, got if want is None else want)
            want = got
        assert done[-1], told
    ((kind,),) = [light._kinds.values()]
    assert sorted(lit._recording.divided for lit in kind.idle) == [(2, openmp.WAKING), (2, 2), (4, 2)]


def test_memory_to_work_in_begins_at_a_cache_line_however_little_it_is() -> None:
    make = light._maker(((100,), np.dtype(np.uint8)), aligned=True)
    kept = [make() for _ in range(50)]
    assert all(value.data_ptr() % 64 == 0 for value in kept)


def test_sizes_in_turns(done: list[bool]) -> None:
    layer = LAYERS["LSTM"]()
    for _ in range(2 * ENOUGH):
        for batch, steps in ((1, T), (B, T), (B, 1), (3, 2)):
            at = given(layer, batch, steps)
            assert_same(all_gradients(layer, *at), from_arrays(lambda at=at: all_gradients(layer, *at)))  # type: ignore[misc]
    assert all(done[-16:])


def states() -> tuple[Tensor, Tensor]:
    return torch.rand(1, B, N, dtype=torch.float64), torch.rand(1, B, N, dtype=torch.float64)


def test_states_that_were_one_tensor_may_be_two(done: list[bool]) -> None:
    layer, x = ours.LSTM(D, N, dtype=torch.float64), torch.rand(T, B, D, dtype=torch.float64)

    def call(h: Tensor, c: Tensor) -> Results:
        with torch.no_grad():
            return flat(layer(x, (h, c)))

    one, two = states()
    for _ in range(ENOUGH + 1):
        call(one, one)
    assert_same(call(one, two), from_arrays(lambda: call(one, two)))
    assert_same(call(two, one), from_arrays(lambda: call(two, one)))
    assert all(done[-2:])


def test_what_lies_in_another_way(done: list[bool]) -> None:
    layer, x = ours.GRU(D, N, dtype=torch.float64), torch.rand(T, B, D, dtype=torch.float64)
    mirrored = torch._neg_view(x)
    assert mirrored.is_neg() and mirrored.is_contiguous()
    others = [x.transpose(0, 1).contiguous().transpose(0, 1), torch.cat([x, x])[::2], x.expand(T, B, D)[:, :1].expand(T, B, D)]
    for _ in range(ENOUGH + 1):
        infer(layer, [x], {})
    for other in others:
        assert_same(infer(layer, [other], {}), from_arrays(lambda other=other: infer(layer, [other], {})))  # type: ignore[misc]
        assert done[-1] and not other.is_contiguous()
    with pytest.raises(RuntimeError, match="negative bit"):
        infer(layer, [mirrored], {})
    assert_same(infer(layer, [x[1:].clone()], {}), from_arrays(lambda: infer(layer, [x[1:].clone()], {})))


class Marked(Tensor):
    """A subclass, as packages have them."""


@pytest.mark.parametrize(
    "around", [lambda: torch.device("meta"), lambda: torch.autograd.detect_anomaly(check_nan=True)], ids=["meta", "anomaly"]
)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_what_a_program_has_set(around: Any, done: list[bool]) -> None:
    layer = LAYERS["RNN"]()
    for _ in range(ENOUGH + 1):
        at = given(layer)
        want = from_arrays(lambda at=at: of_the_output(layer, *at))  # type: ignore[misc]
        of_the_output(layer, *at)
    with around():
        assert_same(of_the_output(layer, *at), want)
    assert done[-2:] == [True, True]
    marked = at[0][0].detach().as_subclass(Marked)
    assert_same([value.as_subclass(Tensor) for value in flat(layer(marked))], from_arrays(lambda: flat(layer(*at[0]))))
    assert done[-1] is False


def test_weights_that_stay_are_no_hindrance(done: list[bool]) -> None:
    layer = LAYERS["GRU"]()
    with ours.packed(layer):
        for _ in range(ENOUGH + 2):
            at = given(layer)
            assert_same(infer(layer, *at), from_arrays(lambda at=at: infer(layer, *at)))  # type: ignore[misc]
    assert done[-1]
    layer.weight_hh_l0.data.mul_(2)  # a light call reads them as they are
    want = from_arrays(lambda: infer(layer, *at))
    with ours.packed(layer):
        assert_same(infer(layer, *at), want)


def test_transformations_go_their_own_way() -> None:
    layer, x = LAYERS["GRU"](), torch.rand(T, B, D, dtype=torch.float64)
    weights = dict(layer.named_parameters())

    def loss(x: Tensor) -> Any:
        return func.functional_call(layer, weights, (x,))[0].square().sum()

    for _ in range(2 * ENOUGH):
        leaf = x.clone().requires_grad_()
        (want,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(func.grad(loss)(x), want, rtol=1e-12, atol=1e-12)
    several = func.vmap(func.grad(loss))(torch.stack([x, x, 2 * x]))
    torch.testing.assert_close(several[1], want, rtol=1e-12, atol=1e-12)
    _, tangent = func.jvp(loss, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, want.sum(), rtol=1e-12, atol=1e-12)
    y = layer(leaf := x.clone().requires_grad_())[0]
    batched = torch.autograd.grad(y, leaf, torch.stack([2 * y.detach(), y.detach()]), is_grads_batched=True)[0]
    torch.testing.assert_close(batched[0], want, rtol=1e-12, atol=1e-12)


def test_threads_at_once() -> None:
    layer = LAYERS["LSTM"]()
    cases = [given(layer) for _ in range(4)]
    want = [from_arrays(lambda at=at: all_gradients(layer, *at)) for at in cases]  # type: ignore[misc]
    failed = list[int]()

    def work(k: int) -> None:
        for _ in range(60):
            try:
                assert_same(all_gradients(layer, *cases[k]), want[k])
            except AssertionError:
                failed.append(k)

    at_once(work)
    assert not failed


def test_what_cannot_be_learnt_is_tried_again_later(done: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, learn = LAYERS["RNN"](), light.Light.of
    tried = list[int]()

    def of(*given: Any) -> Any:
        tried.append(len(done))
        return learn(*given) if len(tried) == 3 else None

    monkeypatch.setattr(light.Light, "of", of)
    for _ in range(4 * ENOUGH + 3):
        infer(layer, *given(layer))
    assert tried == [ENOUGH, 2 * ENOUGH, 4 * ENOUGH] and done[-2:] == [True, True]


def test_so_many_kinds_are_remembered(done: list[bool]) -> None:
    layer = LAYERS["RNN"]()
    for _ in range(ENOUGH + 1):
        infer(layer, *given(layer))
    for steps in range(1, light.KEPT + 9):
        infer(layer, *given(layer, steps=steps + T))
    infer(layer, *given(layer))
    assert done[-1] and len(light._kinds) == light.KEPT


def test_a_tensor_without_memory_is_not_entered() -> None:
    layer = LAYERS["RNN"]()
    for _ in range(ENOUGH + 1):
        infer(layer, *given(layer))
    ((kind,),) = [[kind.idle[0] for kind in light._kinds.values()]]
    tensors = [*given(layer)[0], *layer.parameters()]
    assert kind(tensors) is not None
    assert kind([torch.empty(0), *tensors[1:]]) is None


def test_an_empty_batch_is_never_done_so(done: list[bool]) -> None:
    layer = LAYERS["GRU"]()
    for _ in range(2 * ENOUGH):
        with torch.no_grad():
            y, _ = layer(torch.empty(T, 0, D, dtype=torch.float64))
        assert y.shape == (T, 0, N)
    assert not any(done)


def test_a_module_that_looks_up_rows_checks_its_indices(done: list[bool]) -> None:
    loss = ours.layer("softmax_cross_entropy", 3, dtype=torch.float64)
    a, k = torch.rand(T, B, 3, dtype=torch.float64), torch.ones(T, B, dtype=torch.int64)
    for _ in range(2 * ENOUGH):
        loss(a, k=k)
    with pytest.raises(ValueError, match="k"):
        loss(a, k=k + 2)
    assert not any(done)


# Single steps


CELLS = ("RNNCell", "GRUCell", "LSTMCell")
every_cell = pytest.mark.parametrize("kind", CELLS)


def cell(kind: str, d: int = D, **options: Any) -> Any:
    torch.manual_seed(1)
    return getattr(ours, kind)(d, N, **{"dtype": torch.float64, **options})


def before(kind: str, *batch: int) -> Any:
    """Return random states before a step."""
    h, c = torch.rand(2, *batch, N, dtype=torch.float64, requires_grad=True).unbind()
    return (h, c) if kind == "LSTMCell" else h


def steps(own: Any, x: Tensor, hx: Any) -> Results:
    """Return the states after a step without a graph, and with one; gradients of those, and their own."""
    leaves = [x, *own.parameters(), *([] if hx is None else flat(hx))]
    with torch.no_grad():
        found = flat(own(x, hx))
    after = flat(own(x, hx))
    once = torch.autograd.grad(after[-1].square().sum(), leaves, retain_graph=True)
    first = torch.autograd.grad(sum((value.sin().sum() for value in after), torch.zeros(())), leaves, create_graph=True)
    return [*found, *after, *once, *first, *torch.autograd.grad(first[0].square().sum(), leaves)]


@every_cell
@pytest.mark.parametrize("bias", [True, False], ids=["", "no bias"])
@pytest.mark.parametrize("batch", [(), (B,)], ids=["alone", "batch"])
@pytest.mark.parametrize("starts", [True, False], ids=["", "no states"])
def test_a_step_has_the_bits_of_arrays(kind: str, bias: bool, batch: tuple[int, ...], starts: bool, done: list[bool]) -> None:
    own = cell(kind, bias=bias)
    for _ in range(2 * ENOUGH + 2):
        x, hx = torch.rand(*batch, D, dtype=torch.float64, requires_grad=True), before(kind, *batch) if starts else None
        assert_same(steps(own, x, hx), from_arrays(lambda x=x, hx=hx: steps(own, x, hx)))  # type: ignore[misc]
    assert not any(done[:ENOUGH]) and all(done[-4:])


def learnt(kind: str) -> tuple[Any, Tensor, Any]:
    """Return a cell whose step is known, with and without a graph, and what it was given."""
    own, x, hx = cell(kind, N), torch.rand(B, N, dtype=torch.float64, requires_grad=True), before(kind, B)
    for _ in range(ENOUGH + 1):
        steps(own, x, hx)
    return own, x, hx


def doubled(weight: nn.Parameter) -> None:
    with torch.no_grad():
        weight.mul_(2)


def lying_otherwise(weight: nn.Parameter) -> None:
    rows, columns = weight.shape
    weight.data = weight.data.as_strided((rows, columns), (1, rows))  # the same memory, with other axes


ALTERED: dict[str, Callable[[Any], Any]] = {
    "written": lambda own: doubled(own.weight_hh),
    "written through data": lambda own: own.weight_hh.data.mul_(2),
    "other memory": lambda own: setattr(own.weight_hh, "data", own.weight_hh.data * 2),
    "lying otherwise": lambda own: lying_otherwise(own.weight_hh),
    "another parameter": lambda own: setattr(own, "weight_hh", nn.Parameter(torch.rand_like(own.weight_hh))),
    "computed": lambda own: nn.utils.parametrizations.weight_norm(own, "weight_hh"),
    "without gradients": lambda own: own.requires_grad_(False).weight_ih.requires_grad_(),
}


@every_cell
@pytest.mark.parametrize("how", ALTERED)
def test_a_step_reads_weights_as_they_are(kind: str, how: str) -> None:
    own, x, hx = learnt(kind)
    ALTERED[how](own)
    theirs = getattr(nn, kind)(N, N, dtype=torch.float64)
    theirs.load_state_dict({name: getattr(own, name).detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")})
    with torch.no_grad():
        torch.testing.assert_close(flat(own(x, hx)), flat(theirs(x, hx)), rtol=1e-12, atol=1e-12)
    found, want = (torch.autograd.grad(flat(layer(x, hx))[0].square().sum(), [x, layer.weight_ih]) for layer in (own, theirs))
    torch.testing.assert_close(found, want, rtol=1e-11, atol=1e-12)


@every_cell
def test_another_step_is_seen(kind: str, done: list[bool]) -> None:
    own, x, hx = learnt(kind)
    want = flat(own(x, hx))
    for _ in range(2 * ENOUGH):
        with pytest.raises(RuntimeError, match=f"input has inconsistent input_size: got {N + 1} expected {N}"):
            own(torch.zeros(B, N + 1, dtype=torch.float64), hx)
    with pytest.raises(ValueError, match="float32"):
        own(x.float(), hx)
    with torch.inference_mode():
        assert_same(flat(own(x, hx)), want)
    assert done[-1]
    (tangent,) = func.vmap(func.grad(lambda x: flat(own(x, hx))[0].square().sum()))(x[None])
    torch.testing.assert_close(tangent, torch.autograd.grad(want[0].square().sum(), x)[0], rtol=1e-12, atol=1e-12)
    own.float()
    x, hx = tree_map(lambda value: value.detach().float(), (x, hx))
    with torch.no_grad():
        for _ in range(2 * ENOUGH):
            torch.testing.assert_close([value.double() for value in flat(own(x, hx))], want, rtol=1e-5, atol=1e-6)
        assert done[-1]
        with torch.autocast("cpu", torch.bfloat16):
            assert flat(own(x, hx))[0].dtype == (torch.bfloat16 if own.lowered else torch.float32)
