"""Modules of second order: double backward, tangents and Hessians times vectors, as people call them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, assert_same_bits, generated, leaves, ordinary
from test_interface import MEMORY, TWINS

from derive.bench.contender import threads_of
from derive.cell import Cell
from derive.cells import REGISTRY, get
from derive.language.errors import CellError
from derive.package import memory
from derive.program import pipeline
from derive.verify.problem import Problem, directions, sample
from derive.verify.second import autograd, grads_of, kernels
from derive.verify.witnesses import arguments, gradients
from generated.runtime.cpu.sketch import sketched

SAMPLE = ("gru", "slstm", "softmax_cross_entropy")
TOLD = Cell("h = tanh(W @ x + U @ (m * h_prev)) * k", name="told", output="h", inputs=("x", "k"), context=("m",), fixed=("m", "k"))
OWN = (MEMORY, TWINS, TOLD)
CELLS = {cell.name: cell for cell in (*map(get, SAMPLE), *OWN)}
T, B = 5, 3
TOO_LARGE = {"ltc"}  # to be compiled to second order, which it is refused for


def made(name: str) -> ModuleType:
    return generated(name) if name in SAMPLE else memory.compile_all(OWN, order=2)[name]


def problem(name: str, dtype: Any = np.float64, steps: int = T) -> Problem:
    return sample(CELLS[name], steps=steps, batch=B, seed=3).cast(dtype)


def taped(name: str, dtype: Any = np.float64, **options: Any) -> tuple[ModuleType, Problem, Any, Any, Any, Any]:
    """Return a module, a problem, a direction, and the tapes of a call with `options`."""
    module, p = made(name), problem(name, dtype)
    given, keywords = arguments(module, p)
    _, _, tape = module.forward(*given, **keywords, **options)
    dfinal = module.State(*(p.dfinal[s] for s in p.cell.states))
    _, tape2 = module.backward(p.dy, tape, dfinal, second=True)
    return module, p, grads_of(module, p, directions(p)), tape, tape2, dfinal


def agrees_with_pytorch(module: ModuleType, p: Problem) -> None:
    u = directions(p)
    got, want = kernels(module, p, u).named(), autograd(p, u).named()
    assert got.keys() == want.keys()
    largest = max(float(np.abs(v).max(initial=0.0)) for v in want.values())
    for key, value in want.items():
        scale = max(float(np.abs(value).max(initial=0.0)), 1e-3 * largest)
        assert float(np.abs(got[key] - value).max(initial=0.0)) <= 1e-10 * scale, key


@pytest.mark.parametrize("name", ordinary(CELLS, {"gru", "slstm", "told"}))
def test_it_is_pytorchs(name: str) -> None:
    agrees_with_pytorch(made(name), problem(name))


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"lengths": np.array([2, 5, 4])}])
@pytest.mark.parametrize("name", ordinary(CELLS, {"gru", "told"}))
def test_it_is_the_same_piece_by_piece(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the loop runs at a time before what follows it does its part: a step, two, or all."""
    addresses = import_module(f"{type(made(name).LAYER).__module__.rpartition('.')[0]}.addresses")
    found = []
    for rows in (1000, B + 1, 1):
        monkeypatch.setattr(addresses, "piece_rows", lambda count, rows=rows: rows)
        addresses.dense.cache_clear()
        module, p, u, tape, tape2, _ = taped(name, **options)
        again = module.backward_backward(u, tape2)
        assert_same_bits(module.backward_backward(u, tape2), again)  # the tapes are as they were
        found.append((module.backward(p.dy, tape), again, module.hvp(u, tape, p.dy)))
    addresses.dense.cache_clear()
    for other in found[1:]:
        assert_close(other, found[0], 1e-14)


def test_an_input_without_influence_has_zeros() -> None:
    """Its gradient is zero, and so are all of the second order."""
    text = "h = h_prev\ns = s_prev + 0.5 * h_prev\na, b = split([x, x], 2)"
    cell = Cell(text, name="idle", output="h", inputs=("x",), shapes={"x": "d", "h": "n", "s": "n"})
    module, p = memory.compile(cell, order=2), sample(cell, steps=3, batch=2, seed=1)
    agrees_with_pytorch(module, p)
    given, keywords = arguments(module, p)
    assert not module.hvp(grads_of(module, p, directions(p)), module.forward(*given, **keywords)[2], p.dy)[1].x.any()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted({*REGISTRY} - TOO_LARGE))
def test_all_cells_are_pytorchs(name: str) -> None:
    agrees_with_pytorch(memory.compile(REGISTRY[name], order=2), sample(REGISTRY[name], steps=4, batch=2, seed=1))


@pytest.mark.parametrize("name", ordinary(("gru", "slstm", "memory"), {"gru"}))
def test_a_hessian_is_the_difference_of_gradients(name: str) -> None:
    module, p, v, tape, _, dfinal = taped(name)
    step, cell = 1e-5, p.cell
    direction = directions(p)

    def moved_by(sign: int) -> dict[str, np.ndarray]:
        moved = p
        for key, value in direction.items():
            moved = moved.at(key, p.arrays[key] + sign * step * value)
        given, keywords = arguments(module, moved)
        return gradients(p, module.backward(p.dy, module.forward(*given, **keywords)[2], dfinal))

    ahead, behind = moved_by(1), moved_by(-1)
    grads, product = module.hvp(v, tape, p.dy, dfinal)
    for key, value in gradients(p, product).items():
        want = (ahead[key] - behind[key]) / (2 * step)
        np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-6 * max(1.0, float(np.abs(want).max())), err_msg=f"{cell.name} {key}")
    assert_close(grads, module.backward(p.dy, tape, dfinal))


@pytest.mark.parametrize("name", ordinary(("gru", "slstm", "memory"), {"gru"}))
def test_a_hessian_is_symmetric(name: str) -> None:
    module, p, v, tape, _, dfinal = taped(name)
    other = grads_of(module, p, directions(p, 7))
    first, second = (gradients(p, module.hvp(w, tape, p.dy, dfinal, curvature=lambda y: 3 * y)[1]) for w in (v, other))
    one, two = (sum(float(np.sum(a[key] * b[key])) for key in a) for a, b in ((first, directions(p, 7)), (second, directions(p))))
    assert abs(one - two) <= 1e-10 * max(abs(one), 1.0)


@pytest.mark.parametrize("name", ["gru"])
def test_float32_is_float64_rounded(name: str) -> None:
    p = problem(name, np.float32)
    u = directions(p)
    got = kernels(made(name), p, u).named()
    want = kernels(made(name), p.cast(np.float64), {key: value.astype(np.float64) for key, value in u.items()}).named()
    assert all(value.dtype == np.float32 for value in got.values())
    largest = max(float(np.abs(v).max()) for v in want.values())
    for key, value in want.items():
        assert float(np.abs(got[key] - value).max()) <= 1e-5 * max(float(np.abs(value).max()), 1e-2 * largest), key


# What the first order takes


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["gru", "slstm"])
def test_sequences_of_unequal_length_are_those_by_themselves(name: str, reverse: bool) -> None:
    module, p = made(name), problem(name)
    u, lengths = directions(p), [3, 5, 1]
    got = kernels(module, p.ragged(lengths), u, lengths=np.array(lengths), reverse=reverse)
    total = {f"{part} {key}": 0.0 for part in ("double backward", "Hessian") for key in p.cell.parameters}
    for b, length in enumerate(lengths):
        alone, direction = _alone(p, b, length), {key: _part(p, key, value, b, length) for key, value in u.items()}
        for key, value in kernels(module, alone, direction, reverse=reverse).named().items():
            if key in total:
                total[key] = total[key] + value
                continue
            over_time = key.split()[-1] in (*p.cell.inputs, "dy", "output")
            found = got.named()[key]
            part = found[:length, b : b + 1] if over_time else found[b : b + 1]
            np.testing.assert_allclose(part, value, rtol=1e-9, atol=1e-10 * max(1.0, float(np.abs(value).max())), err_msg=f"{key} {b}")
    for key, value in total.items():
        scale = float(np.abs(value).max())
        np.testing.assert_allclose(got.named()[key], value, rtol=1e-9, atol=1e-10 * max(1.0, scale), err_msg=key)


def _alone(p: Problem, b: int, length: int) -> Problem:
    arrays = {key: _part(p, key, value, b, length) for key, value in p.arrays.items()}
    return Problem(p.cell, p.sizes, length, 1, arrays, p.dy[:length, b : b + 1], {s: v[b : b + 1] for s, v in p.dfinal.items()})


def _part(p: Problem, key: str, value: np.ndarray, b: int, length: int) -> np.ndarray:
    """Return what one sequence has of an array."""
    if key in p.cell.parameters:
        return value
    return value[:length, b : b + 1] if key in p.cell.inputs else value[b : b + 1]


def test_a_tape_of_states_gives_the_same() -> None:
    p = problem("gru")
    u = directions(p)
    got, want = kernels(made("gru"), p, u, tape="recompute").named(), kernels(made("gru"), p, u).named()
    assert_same_bits(tuple(got.values()), tuple(want.values()))


def test_nothing_is_zero() -> None:
    """A field that is None is a zero of its shape."""
    module, p, _, tape, tape2, dfinal = taped("gru")
    zeros = {key: np.zeros_like(value) for key, value in directions(p).items()}
    for chosen in ("x",), ("W_z", "U_r", "state"):  # of stacked matrices, one part is something
        some = {key: value for key, value in directions(p).items() if key in chosen}
        one, two = grads_of(module, p, some), grads_of(module, p, zeros | some)
        assert_close(module.backward_backward(one, tape2), module.backward_backward(two, tape2))
        assert_close(module.tangent(one, tape), module.tangent(two, tape))
        assert_close(module.hvp(one, tape, p.dy, dfinal), module.hvp(two, tape, p.dy, dfinal))
        empty = one._replace(params=one.params if any(value is not None for value in one.params) else None, state=None)
        assert_same_bits(module.tangent(empty, tape), module.tangent(one, tape))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted({*REGISTRY} - TOO_LARGE))
def test_nothing_is_zero_in_all_cells(name: str) -> None:
    """The same where parameters have nothing, where nothing else has, and for every second field."""
    module, p = memory.compile(REGISTRY[name], order=2), sample(REGISTRY[name], steps=4, batch=2, seed=1)
    given, keywords = arguments(module, p)
    tape = module.forward(*given, **keywords)[2]
    _, tape2 = module.backward(p.dy, tape, second=True)
    direction = directions(p)
    zeros = {key: np.zeros_like(value) for key, value in direction.items()}
    for chosen in (set(direction) - set(p.cell.parameters), set(p.cell.parameters), set(list(direction)[::2])):
        some = {key: value for key, value in direction.items() if key in chosen}
        one, two = grads_of(module, p, some), grads_of(module, p, zeros | some)
        assert_close(module.backward_backward(one, tape2), module.backward_backward(two, tape2))
        assert_close(module.tangent(one, tape), module.tangent(two, tape))
        assert_close(module.hvp(one, tape, p.dy), module.hvp(two, tape, p.dy))


def test_nothing_is_zero_where_every_array_may_be() -> None:
    """A kernel whose arrays all may be nothing takes its constants' dtype of one that is something."""
    cell = Cell("h = h_prev + 1/3 * x\nm = m_prev + mean(z)", name="apart", output="h", inputs=("x", "z"))
    module, p = memory.compile(cell, order=2), sample(cell, steps=3, batch=2, seed=1)
    for dtype in (np.float64, np.float32):
        given, keywords = arguments(module, p.cast(dtype))
        tape = module.forward(*given, **keywords)[2]
        for key in ("x", "z"):
            value = directions(p)[key].astype(dtype)
            y, final = module.tangent(grads_of(module, p, {key: value}), tape)
            np.testing.assert_allclose(y, np.cumsum(value, 0) / 3 if key == "x" else 0 * y, rtol=1e-6)
            np.testing.assert_allclose(final.m, value.mean(axis=2).sum(axis=0) if key == "z" else 0, rtol=1e-6, atol=1e-7)
            assert y.dtype == final.m.dtype == dtype


def test_nothing_is_neither_stored_nor_read() -> None:
    """Where no weight of the inputs has a tangent, there is no array of one, of its panels, or of its product."""
    module, _, v, tape, *_ = taped("gru")
    names = module.tangent_pass.py_func.__code__.co_varnames
    with sketched() as sketch:
        module.tangent(v._replace(params=v.params._replace(W_r=None, W_z=None, W_n=None)), tape)
    ((_, given),) = sketch.works
    nothing = {name for name, array in zip(names, given, strict=False) if array is module.NOTHING}
    assert sum(name.startswith("ddW_") for name in nothing) == 3
    assert {"deltas_7_panels", "deltas_7_x_rows"} <= nothing
    assert not {"deltas_6_panels", "deltas_6_h_prev_rows", "ddh_out_3"} & nothing


def test_where_all_is_nothing_no_pass_runs() -> None:
    module, p, _, tape, tape2, _ = taped("gru")
    nothing = grads_of(module, p, {})
    found = (module.backward_backward(nothing, tape2), module.tangent(nothing, tape), module.hvp(nothing, tape, p.dy)[1])
    like = (module.backward_backward(grads_of(module, p, directions(p)), tape2), module.tangent(grads_of(module, p, directions(p)), tape))
    assert [a.shape for a in leaves(found[:2]).values()] == [a.shape for a in leaves(like).values()]
    assert not any(array.any() for array in leaves(found).values())


def test_a_context_alone() -> None:
    """Its gradient is a sum over steps, as a parameter's is, and may be asked for where no parameter's is."""
    module, p, _, _, tape2, _ = taped("memory")
    some = {key: value for key, value in directions(p).items() if key in p.cell.context}
    zeros = {key: np.zeros_like(value) for key, value in directions(p).items()}
    one, two = grads_of(module, p, some)._replace(params=None), grads_of(module, p, zeros | some)
    assert_close(module.backward_backward(one, tape2), module.backward_backward(two, tape2))


def test_what_is_read_only_compiles_nothing_again() -> None:
    module, _, u, tape, tape2, _ = taped("gru")
    want, passes = module.backward_backward(u, tape2), (module.backward_backward_pass, module.tangent_pass)
    moved = module.tangent(u, tape)
    before = [len(work.overloads) for work in passes]
    for value in (u.x, *u.params, *u.state):
        value.flags.writeable = False
    assert_same_bits((module.backward_backward(u, tape2), module.tangent(u, tape)), (want, moved))
    assert [len(work.overloads) for work in passes] == before


def test_one_step() -> None:
    module, p, _, _, _, _ = taped("gru")
    given, _ = arguments(module, p)
    x, params, state = given
    direction = directions(p)
    v = grads_of(module, p, direction)
    want_y, want_final = module.tangent(v, module.forward(x, params, state)[2])
    carried = v.state
    for t in range(T):
        w = v._replace(x=v.x[t], state=carried)
        y, state, dy, carried = module.step_tangent(x[t], params, state, w)
        np.testing.assert_allclose(dy, want_y[t], rtol=1e-12, atol=1e-12)
    assert_close(carried, want_final)
    np.testing.assert_allclose(y, module.forward(x, params, given[2])[0][-1], rtol=1e-12, atol=1e-12)


def test_the_first_order_is_as_without() -> None:
    """The backward pass that keeps nothing gives the bits of a module of first order, and of one that keeps."""
    p, first, second = problem("gru"), generated("gru"), made("gru")
    found = []
    for module in (first, second):
        given, keywords = arguments(module, p)
        tape = module.forward(*given, **keywords)[2]
        for _ in range(4):  # the last of them as it was recorded
            grads = module.backward(p.dy, tape, module.State(*(p.dfinal[s] for s in p.cell.states)))
            found.append(gradients(p, grads))
    found.append(gradients(p, second.backward(p.dy, tape, second.State(*(p.dfinal[s] for s in p.cell.states)), second=True)[0]))
    for other in found[1:]:
        assert all(np.array_equal(other[key], found[0][key]) for key in other)


def test_threads_and_repetition_change_no_bit(threads_as_before: None) -> None:
    p = sample(CELLS["gru"], sizes={"d": 33, "n": 64}, steps=12, batch=19, seed=2)
    u, module = directions(p), made("gru")
    found = []
    for number in (1, 2, 3, 1):
        threads_of(module).set_threads(number)
        found.append(kernels(module, p, u).named())
    for other in found[1:]:
        assert all(np.array_equal(other[key], found[0][key]) for key in other)


# What is refused


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "a first tape": (lambda m, u, tape, two: m.backward_backward(u, tape), r"tape2 must be a gru.Tape2, which backward\(…, second=True\)"),
    "no record": (lambda m, u, tape, two: m.tangent({}, tape), "gru.tangent: v must be a gru.Grads, got a builtins?.?dict"),
    "a tape of nothing": (lambda m, u, tape, two: m.hvp(u, two, None), "gru.hvp|gru.backward: tape must be a gru.Tape"),
    "a shape": (lambda m, u, tape, two: m.backward_backward(u._replace(x=u.x[1:]), two), r"u.x has shape \(4, 3, 3\), needs \(T, B, d\)"),
    "a dtype": (lambda m, u, tape, two: m.tangent(u._replace(x=u.x.astype("f4")), tape), "v.x is float32, but the tape is float64"),
    "params": (lambda m, u, tape, two: m.tangent(u._replace(params=()), tape), "v.params must be a gru.Params or None, got a"),
    "curvature": (lambda m, u, tape, two: m.hvp(u, tape, None, curvature=lambda y: y[1:]), r"v.dy has shape \(4, 3, 7\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    module, _, u, tape, tape2, _ = taped("gru")
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call(module, u, tape, tape2)


def test_a_module_of_first_order_says_how_to_get_the_second() -> None:
    module = generated("ugrnn")
    y, _, tape = module.forward(np.ones((2, 1, 3), np.float32), module.init(3, 4))
    calls = {
        "backward with second=True": lambda: module.backward(y, tape, second=True),
        "backward_backward": lambda: module.backward_backward(None, None),
        "tangent": lambda: module.tangent(None, tape),
        "hvp": lambda: module.hvp(None, tape, y),
        "step_tangent": lambda: module.step_tangent(None, None, None, None),
    }
    for name, call in calls.items():
        with pytest.raises(NotImplementedError, match=rf"ugrnn\.{name}: this module was generated without second order: .*--order 2"):
            call()


def test_a_cell_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only second order has a limit, and says why."""
    monkeypatch.setattr(pipeline, "LARGEST", 20)
    cell = Cell("h = tanh(W @ x + U @ h_prev + b) * sigmoid(V @ x)", name="large", output="h")
    pipeline.compile_cell(cell)
    message = r"large: to second order, its passes have \d+ operations, and above 20 compiling takes over ten minutes"
    with pytest.raises(CellError, match=message):
        memory.compile(cell, order=2)


def test_orders() -> None:
    for order in (3, 0):
        with pytest.raises(CellError, match=f"order must be 1 or 2, got {order}"):
            memory.compile(get("rnn"), order=order)


def test_a_direction_by_what_is_fixed_is_refused() -> None:
    """It would have no effect: an input that has no gradient has no tangent."""
    module, p, v, tape, tape2, _ = taped("told")
    wrong = v._replace(k=p.arrays["k"])
    for function, of in (("tangent", tape), ("backward_backward", tape2)):
        with pytest.raises(ValueError, match=rf"told.{function}: [uv].k must be None: there is no gradient with respect to it"):
            getattr(module, function)(wrong, of)


@pytest.mark.parametrize("name", ["gru", "slstm"])
def test_products_of_what_is_kept_at_each_step_or_for_all_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, asked = made(name), list[bool]()
    p = sample(CELLS[name], sizes={"d": 6, "n": 11}, steps=6, batch=5, seed=8)  # a size that no other call has: none is recorded
    checked = import_module(f"{module.__package__}.runtime.cpu.checked")
    for options in ({}, {"lengths": np.array([3, 6, 0, 2, 5]), "reverse": True}):
        found = []
        for inline in (True, False):
            monkeypatch.setattr(checked, "step_by_step", lambda *_, inline=inline: asked.append(inline) or inline)
            found.append(tuple(kernels(module, p, directions(p), **options).named().values()))
        assert_same_bits(*found)
    assert min(asked.count(True), asked.count(False)) >= 8  # forward, backward and what follows them, twice
