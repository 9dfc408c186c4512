"""Steps that are done often on packed parameters: the bits of the ordinary way, or the ordinary way itself."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import HARD, assert_same_bits, at_once, generated, leaves, locked, ordinary
from test_interface import CELLS, own
from test_packed import ALTERED
from test_replay import B
from test_streaming import step_inputs

from derive.cells import REGISTRY
from derive.verify.problem import sample
from generated.runtime.cpu import entry
from generated.runtime.cpu.quick import OFTEN
from generated.runtime.cpu.threads import get_threads, set_threads

ENOUGH = OFTEN + 2
D, N = 3, 4


class Steps:
    """Steps of one module, as many as it takes."""

    def __init__(self, module: ModuleType, cell: Any, dtype: Any) -> None:
        self.module, problem = module, sample(cell, steps=ENOUGH, batch=B, seed=1).cast(dtype)
        self.cell, self.given = cell, {**problem.inputs, **problem.context}
        self.params, self.state = module.Params(**problem.parameters), module.State(**problem.states)
        self.packed = module.pack(self.params)

    def at(self, t: int, packed: Any) -> Any:
        first, given = step_inputs(self, t)  # type: ignore[arg-type]
        return self.module.step(first, packed, self.state, **given)


def quick(packed: Any) -> bool:
    """Say whether some step is done the quick way."""
    return bool(packed.quickly._idle)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ordinary(REGISTRY, HARD))
def test_other_values_give_the_bits_of_the_ordinary_way(name: str, dtype: Any) -> None:
    steps = Steps(generated(name), REGISTRY[name], dtype)
    for t in range(ENOUGH - 1):
        steps.at(t, steps.packed)
    layer = steps.module.LAYER
    assert quick(steps.packed) == (not layer.indices and all(len(axes) == 1 for axes in (layer.output, *layer.state.values())))
    assert_same_bits(steps.at(ENOUGH - 1, steps.packed), steps.at(ENOUGH - 1, steps.module.pack(steps.params)))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_so_do_awkward_cells(cell: Any) -> None:
    steps = Steps(own(cell), cell, np.float64)
    for t in range(ENOUGH - 1):
        steps.at(t, steps.packed)
    assert_same_bits(steps.at(ENOUGH - 1, steps.packed), steps.at(ENOUGH - 1, steps.module.pack(steps.params)))


def lstm(batch: int = 2, dtype: Any = np.float32) -> tuple[ModuleType, np.ndarray, Any, Any]:
    """Return a module, an input, packed parameters whose step is quick, and a state."""
    module, rng = generated("lstm"), np.random.default_rng(0)
    x, packed = rng.standard_normal((batch, D)).astype(dtype), module.pack(module.init(D, N, dtype=dtype))
    state = module.State(*(rng.standard_normal((batch, N)).astype(dtype) for _ in range(2)))
    for _ in range(ENOUGH):
        module.step(x, packed, state)
    assert quick(packed)
    return module, x, packed, state


def _strided(array: np.ndarray) -> np.ndarray:
    return np.repeat(array, 2, axis=-1)[..., ::2]


def _unaligned(array: np.ndarray) -> np.ndarray:
    view = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


class Array(np.ndarray):
    """A class of its own."""


OTHERS: dict[str, Callable[[np.ndarray], Any]] = {
    "strides": _strided,
    "columns first": np.asfortranarray,
    "not to be written": locked,
    "not aligned": _unaligned,
    "a list": np.ndarray.tolist,
    "a class of its own": lambda array: array.view(Array),
    "the other order of bytes": lambda array: array.astype(array.dtype.newbyteorder()),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("which", ["x", "state"])
def test_arrays_of_another_kind_go_the_ordinary_way(which: str, other: str) -> None:
    module, x, packed, state = lstm()
    make, fresh = OTHERS[other], module.pack(packed.params)
    given = (make(x), state) if which == "x" else (x, state._replace(h=make(state.h)))
    assert _of(module, given, packed) == _of(module, given, fresh)
    assert_same_bits(module.step(x, packed, state), module.step(x, fresh, state))
    assert quick(packed)


def _of(module: ModuleType, given: tuple[Any, Any], packed: Any) -> Any:
    """Return the bits of a step, or the words in which it is refused."""
    try:
        return [array.tobytes() for array in leaves(module.step(given[0], packed, given[1])).values()]
    except ValueError as error:
        return str(error)


def test_other_shapes_dtypes_and_no_state() -> None:
    module, x, packed, state = lstm()
    fresh = module.pack(packed.params)
    assert_same_bits(module.step(x, packed), module.step(x, fresh))
    assert_same_bits(module.step(x[:1], packed, module.zero_state(1, N)), module.step(x[:1], fresh, module.zero_state(1, N)))
    for bad, message in (
        ((x[:, :2], state), "x has shape"),
        ((x, module.zero_state(1, N)), "has shape"),
        ((x.astype(float), state), "float64"),
    ):
        with pytest.raises(ValueError, match=message):
            module.step(bad[0], packed, bad[1])
    assert_same_bits(module.step(x, packed, state), module.step(x, fresh, state))


def test_results_have_memory_of_their_own() -> None:
    module, x, packed, state = lstm()
    found = [module.step(x, packed, state) for _ in range(4)]
    every = [array for result in found for array in leaves(result).values()]
    for k, array in enumerate(every):
        assert not any(np.shares_memory(array, other) for other in [*every[k + 1 :], x, *state, *packed.params, *packed.weights])
    want = [array.copy() for array in leaves(found[0]).values()]
    for array in every:
        array[...] = np.nan
    assert_same_bits(tuple(leaves(module.step(x, packed, state)).values()), tuple(want))


def test_arguments_may_be_one_array() -> None:
    module, x, packed, state = lstm()
    one, two = module.State(state.c, state.c), module.State(state.c, state.c.copy())
    assert_same_bits(module.step(x, packed, one), module.step(x, module.pack(packed.params), two))


@pytest.mark.parametrize("what", ALTERED)
def test_a_part_put_in_by_hand_is_refused_or_not_read(what: str) -> None:
    module, x, packed, state = lstm()
    if what == "params":
        bad = packed._replace(params=packed.params._replace(b_i=packed.params.b_i[1:]))
    else:
        bad = packed._replace(**ALTERED[what](packed))
    refused = r"lstm: params\.\w+ is not what pack made"
    if bad.params is packed.params and bad.weights is packed.weights and bad.quickly is packed.quickly:
        assert_same_bits(module.step(x, bad, state), module.step(x, packed, state))
        return
    with pytest.raises(ValueError, match=refused):
        module.step(x, bad, state)


def test_what_another_module_packed_is_refused() -> None:
    _, x, packed, state = lstm()
    with pytest.raises(ValueError, match="packed for another module"):
        generated("gru").step(x, packed, state)


def test_threads_are_asked_as_they_are_set_now() -> None:
    module, x, packed, state = lstm()
    want, before = module.step(x, packed, state), packed.quickly._idle[0]
    threads = get_threads()
    set_threads(threads + 1)
    try:
        for _ in range(ENOUGH):
            assert_same_bits(module.step(x, packed, state), want)
        assert packed.quickly._idle[0].divided != before.divided
    finally:
        set_threads(threads)


def test_threads_that_step_at_once() -> None:
    module, x, packed, state = lstm(batch=8)
    values = [x * k for k in range(1, 5)]
    want, wrong = [module.step(value, module.pack(packed.params), state) for value in values], list[int]()

    def many(k: int) -> None:
        for _ in range(300):
            y, after = module.step(values[k], packed, state)
            if not (np.array_equal(y, want[k][0]) and all(map(np.array_equal, after, want[k][1]))):
                wrong.append(k)

    at_once(many)
    assert not wrong


def test_kinds_that_come_in_turns_are_not_made_again_and_again() -> None:
    module, x, packed, state = lstm()
    (first,) = packed.quickly._idle
    for _ in range(3 * ENOUGH):
        module.step(x, packed, state)
        module.step(x[:1], packed, module.zero_state(1, N))
    assert packed.quickly._idle[0] is first
    for _ in range(ENOUGH):
        module.step(x[:1], packed, module.zero_state(1, N))
    assert packed.quickly._idle[0] is not first


def test_an_entry_is_for_arrays_and_whole_numbers() -> None:
    """A function that takes anything else is not entered so."""
    given = np.zeros(2)

    @entry.compiled
    def scaled(parts, how, factor, out):  # type: ignore[no-untyped-def]
        out[0] = parts + how * factor

    scaled(1, 2, 3, given)
    scaled(1, 2, 0.5, given)
    made = entry.Entry.of(scaled, (1, 2, 3, given[1:]), [given])
    assert made is not None and entry.Entry.of(scaled, (1, 2, 0.5, given), [given]) is None
    other = np.zeros(2)
    assert made.enter(made.block, other) and other.tolist() == [0, 7]
    assert not made.enter(made.block, np.zeros(3))
    with pytest.raises(TypeError, match="No matching definition"):
        made.enter(made.block, np.zeros(2, np.float32))
