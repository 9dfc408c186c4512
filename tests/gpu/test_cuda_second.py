"""Second order on the device, executed on the grid simulator: against PyTorch's, and at narrow numbers against the CPU's."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, assert_same_bits
from device import using
from mutants import barriers, mutant
from simulator import Deadlock, Race
from test_resident import ALONE, FIRST, SHAPES, SPREAD, TOLERANCE, Forced, Shape, problem

from derive.cells import SECOND, get
from derive.package import memory
from derive.verify.problem import Problem, directions
from derive.verify.second import Second, autograd, grads_of, kernels
from derive.verify.tolerances import magnitude
from derive.verify.witnesses import arguments, gradients
from generated.runtime.cuda import current
from generated.runtime.cuda.kind import KINDS

HARDEST = ("gru_v3", "slstm", "softmax_cross_entropy")
WIDER = 2  # a rounding enters a second derivative by two ways


def module(name: str) -> ModuleType:
    return importlib.import_module(f"generated.cuda.{name}")


def on_device(name: str, shape: Shape | None, given: Problem, u: dict[str, np.ndarray]) -> Second:
    """Return what a cell's kernels compute that are run as a shape says, and see that those that stay on the chip were launched."""
    device, made = Forced(shape), module(name)
    with using(device, current):
        found = kernels(made, given, u, **({"tf32": True} if shape and shape.kind == "tf32" else {}))
    if shape is not None:
        factories = {key.removeprefix("make_") for key in vars(made) if key.startswith("make_") and key.endswith("_resident")}
        launched = {key for key in device.launched if key.endswith("_resident")}
        assert launched == {key for key in factories if "inputs" not in key}
    return found


def worst(name: str, shape: Shape | None) -> float:
    """Return the largest error of second order beside PyTorch's at the same numbers, in float64, relative to each array's norm."""
    given = problem(name, shape)
    u = directions(given, 7)
    found = on_device(name, shape, given, u).named()
    wanted = autograd(given.cast(np.float64), {key: value.astype(np.float64) for key, value in u.items()}).named()
    assert found.keys() == wanted.keys()
    least = max(magnitude(value) for value in wanted.values()) * 1e-3
    errors = {key: magnitude(found[key].astype(np.float64) - want) / max(magnitude(want), least) for key, want in wanted.items()}
    return max(error for key, error in errors.items() if wanted[key].ndim or not KINDS[shape.kind if shape else "float64"].narrow)


def bound(shape: Shape) -> float:
    return TOLERANCE[shape.kind] * (1 if shape.kind == "float64" else WIDER)


@pytest.mark.parametrize("name", HARDEST)
def test_step_by_step(name: str) -> None:
    assert worst(name, None) <= TOLERANCE["float64"]


@pytest.mark.parametrize("only", [("dy",), ("dfinal", "x"), ("params", "state"), ()])
def test_gradients_that_are_asked_for_have_the_bits_of_all(only: tuple[str, ...]) -> None:
    given, made = problem("rnn", None), module("rnn")
    inputs, options = arguments(made, given)
    with using(Forced(None), current):
        _, _, tape = made.forward(*inputs, **options)
        grads, tape2 = made.backward(given.dy, tape, second=True)
        whole, found = made.backward_backward(grads, tape2), made.backward_backward(grads, tape2, only=only)
    want = whole._replace(**{known: None for known in whole._fields if known not in only})
    assert [value is None for value in found] == [value is None for value in want]
    assert not only or assert_same_bits(found, want) is None


@pytest.mark.parametrize(
    ("name", "variant"), [("gru_v3", "alone"), ("gru_v3", "spread"), ("gru_v3", "bfloat16"), ("slstm", "alone"), ("slstm", "spread")]
)
def test_resident(name: str, variant: str) -> None:
    assert worst(name, SHAPES[variant]) <= bound(SHAPES[variant])


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", SHAPES)
@pytest.mark.parametrize("name", SECOND)
def test_every_module_in_every_shape(name: str, variant: str) -> None:
    assert worst(name, SHAPES[variant]) <= bound(SHAPES[variant])


# Mutants: with a barrier taken out, what is emitted must fail.

BARRIERS = [(name, *found) for name in ("gru_v3", "lstm", "slstm") for found in barriers(name) if found[0] not in FIRST]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "link", "number"), BARRIERS)
def test_without_a_barrier_it_fails(name: str, link: str, number: int) -> None:
    made = mutant(name, number)
    assert any(fails(name, made, shape, link) for shape in (ALONE, SPREAD))


def test_without_a_barrier_of_double_backward_it_fails() -> None:
    number = next(number for link, number in barriers("gru_v3") if link == "backward_backward_resident")
    test_without_a_barrier_it_fails("gru_v3", "backward_backward_resident", number)


def fails(name: str, made: ModuleType, shape: Shape, link: str) -> bool:
    """Say whether a module is caught; the link by inputs alone runs where no parameter has a cotangent."""
    try:
        found = computed(name, made, shape, by_inputs="inputs" in link)
    except (Race, Deadlock):
        return True
    wanted = computed(name, module(name), shape, by_inputs="inputs" in link)
    return any(magnitude(found[key] - value) > 1e-9 * max(magnitude(value), 1e-3) for key, value in wanted.items())


@cache
def computed(name: str, made: ModuleType, shape: Shape, *, by_inputs: bool) -> dict[str, np.ndarray]:
    given = problem(name, shape)
    u = {key: value for key, value in directions(given, 7).items() if not by_inputs or key not in given.cell.parameters}
    with using(Forced(shape), current):
        return kernels(made, given, u).named()


def taped(name: str) -> tuple[ModuleType, Problem, Any, Any]:
    made, given = module(name), problem(name, SPREAD)
    positional, named = arguments(made, given)
    tape = made.forward(*positional, **named)[2]
    return made, given, tape, made.backward(given.dy, tape, second=True)[1]


def test_nothing_is_zero() -> None:
    with using(Forced(SPREAD), current):
        made, p, tape, tape2 = taped("gru")
        zeros = {key: np.zeros_like(value) for key, value in directions(p, 7).items()}
        for chosen in ("x",), ():
            some = {key: value for key, value in directions(p, 7).items() if key in chosen}
            one, two = grads_of(made, p, some), grads_of(made, p, zeros | some)
            assert_close(made.backward_backward(one, tape2), made.backward_backward(two, tape2))
            assert_close(made.tangent(one, tape), made.tangent(two, tape))
            assert_close(made.hvp(one, tape, p.dy)[1], made.hvp(two, tape, p.dy)[1])


def test_a_backward_pass_that_keeps_nothing_gives_the_same_bits() -> None:
    with using(Forced(SPREAD), current):
        made, p, tape, _ = taped("gru")
        assert_same_bits(made.backward(p.dy, tape), made.backward(p.dy, tape, second=True)[0])


def test_one_step() -> None:
    with using(Forced(SPREAD), current):
        made, p, tape, _ = taped("gru")
        v = grads_of(made, p, directions(p, 7))
        want, final = made.tangent(v, tape)
        (x, params, state), _ = arguments(made, p)
        carried = v.state
        for t in range(p.steps):
            _, state, dy, carried = made.step_tangent(x[t], params, state, v._replace(x=v.x[t], state=carried))
            np.testing.assert_allclose(dy, want[t], rtol=1e-12, atol=1e-12)
        assert_close(carried, final)


def test_a_cell_in_memory() -> None:
    """A cell with no second order in the package, compiled with it, on the CPU and for devices."""
    cell = get("ugrnn")
    made = memory.compile(cell, cuda=True, order=2)
    place = importlib.import_module(f"{made.__name__.rsplit('.', 2)[0]}.runtime.cuda.current")
    given = problem("ugrnn", SPREAD)
    u = directions(given, 7)
    with using(Forced(SPREAD), place):
        found = kernels(made, given, u).named()
    for key, want in autograd(given, u).named().items():
        np.testing.assert_allclose(found[key], want, rtol=1e-9, atol=1e-10 * max(1.0, float(np.abs(want).max())), err_msg=key)


def test_a_module_without_says_how_to_get_it() -> None:
    made, p = module("ugrnn"), problem("ugrnn", SPREAD)
    with using(Forced(SPREAD), current):
        positional, named = arguments(made, p)
        tape = made.forward(*positional, **named)[2]
        calls = {"backward with second=True": lambda: made.backward(p.dy, tape, second=True), "tangent": lambda: made.tangent(None, tape)}
        for called, call in calls.items():
            with pytest.raises(NotImplementedError, match=rf"ugrnn\.{called}: .*generated without second order: .*--order 2"):
                call()


REFUSED = {
    "a first tape": (lambda m, p, u, tape, two: m.backward_backward(u, tape), r"tape2 must be a gru.Tape2 of the device, which backward"),
    "no record": (lambda m, p, u, tape, two: m.tangent({}, tape), "gru.tangent: v must be a gru.Grads of the device, got a builtins.dict"),
    "a tape of nothing": (lambda m, p, u, tape, two: m.hvp(u, two, p.dy), "gru.hvp: tape must be a gru.Tape of the device"),
    "a shape": (lambda m, p, u, tape, two: m.tangent(u._replace(x=u.x[1:]), tape), r"v.x has shape .*, needs \(T, B, d\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    call, message = REFUSED[case]
    with using(Forced(SPREAD), current):
        made, p, tape, tape2 = taped("gru")
        with pytest.raises(ValueError, match=message):
            call(made, p, grads_of(made, p, gradients(p, made.backward(p.dy, tape))), tape, tape2)
