"""Small calls done again as they were recorded: the same bits as the ordinary way, on whatever values, and in memory of their own."""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import combinations
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import HARD, ROOT, assert_same_bits, at_once, generated, leaves, locked, ordinary
from test_interface import CELLS, gru, own

from derive.cells import REGISTRY
from derive.runtime.cpu import spans
from derive.verify.problem import sample
from derive.verify.witnesses import arguments
from generated.runtime.cpu import call, checked, memory, replay
from generated.runtime.cpu.room import ALONE, Room
from generated.runtime.cpu.threads import division, set_threads
from generated.runtime.cpu.trace import Trace

T, B = 6, 3
TIMES = 4  # the first call goes the ordinary way, the second is recorded, and all after that are done again


def passes(module: ModuleType, name: str, seed: int, dtype: Any) -> dict[str, Any]:
    """Return what all passes of a module give at random values."""
    cell = REGISTRY.get(name) or next(cell for cell in CELLS if cell.name == name)
    p = sample(cell, steps=T, batch=B, seed=seed).cast(dtype)
    given, keywords = arguments(module, p)
    y, final, tape = module.forward(*given, **keywords)
    dfinal = module.State(*(p.dfinal[name] for name in cell.states))
    found = {"forward": (y, final, tape), "backward": module.backward(p.dy, tape, dfinal), "infer": module.infer(*given, **keywords)}
    found["without cotangents"] = module.backward(None, tape)
    if cell.inputs:
        found["from the cell's own state"] = module.forward(*given[:2], **keywords)
    return found


def forget(module: ModuleType) -> None:
    """Let the next call go the ordinary way."""
    module.LAYER.recordings._idle.clear()


def recorded(recordings: Any) -> int:
    """Return how many kinds of calls have a recording."""
    return sum(bool(found) for found in recordings._idle.values())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ordinary(REGISTRY, HARD))
def test_on_other_values_it_gives_the_bits_of_the_ordinary_way(name: str, dtype: Any) -> None:
    module = generated(name)
    forget(module)
    last: dict[str, Any] = {}
    for seed in range(TIMES):
        before, last = last, passes(module, name, seed, dtype)
    got = last
    assert recorded(module.LAYER.recordings) == len(got)
    assert not any(np.shares_memory(a, b) for a in leaves(tuple(before.values())).values() for b in leaves(tuple(got.values())).values())
    forget(module)
    for way, want in passes(module, name, TIMES - 1, dtype).items():
        assert_same_bits(got[way], want)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_so_it_does_for_awkward_cells(cell: Any) -> None:
    module = own(cell)
    forget(module)
    for seed in range(TIMES):
        got = passes(module, cell.name, seed, np.float64)
    forget(module)
    for way, want in passes(module, cell.name, TIMES - 1, np.float64).items():
        assert_same_bits(got[way], want)


def test_a_call_that_is_recorded_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its recording: the ordinary way only notes what there is to do."""
    module, done = generated("lstm"), list[str]()
    run, again = call.Call.run, replay.Recording._run
    monkeypatch.setattr(call.Call, "run", lambda self, *given: (done.append("ordinary"), run(self, *given)))
    monkeypatch.setattr(replay.Recording, "_run", lambda self, *given: (done.append("recorded"), again(self, *given)))
    forget(module)
    p = sample(REGISTRY["lstm"], steps=3, batch=2, seed=0)
    given, keywords = arguments(module, p)
    seen = list[set[str]]()
    for _ in range(3):
        done.clear()
        module.infer(*given, **keywords)
        seen.append(set(done))
    assert seen == [{"ordinary"}, {"recorded"}, {"recorded"}] and len(done) == 1


ALLOWED = {
    "empty",
    "panel_room",
    "workspace",
    "spike_room",
    "rows.before",
    "call.run",
    "_weights",
    "Saved",
    "SavedBackward",
    "State",
    "Params",
    "Grads",
}
ALLOWED |= {"part_room", "some"}  # which of the values are nothing is a part of a call's kind
RECORDED = {"_forward", "_weights", "_backward", "_backward_backward", "_backward_backward_inputs", "_through", "_tangent"}
RECORDED |= {"_along", "_hessian"}


def test_between_compiled_functions_only_shapes_matter() -> None:
    """What a pass computed of its arguments in Python would stay what it was for the values that were recorded."""
    for path in sorted((ROOT / "generated").glob("*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef) or function.name not in RECORDED:
                continue
            calls = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
            other = {name for name in calls - ALLOWED if not name.endswith(".reshape") and name != "np.asarray"}
            constants = [node for node in ast.walk(function) if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.asarray"]
            assert not other, f"{path.name}: {other}"
            assert all(ast.unparse(node.args[0]).endswith("_CONSTANT") for node in constants), path.name
            arithmetic = [node for node in ast.walk(function) if isinstance(node, ast.BinOp) and "params." in ast.unparse(node)]
            assert not arithmetic, f"{path.name}: {ast.unparse(arithmetic[0])}"


# Memory


def test_each_result_has_memory_of_its_own() -> None:
    module, x, params, state = gru()
    forget(module)
    found = []
    for _ in range(TIMES):
        y, final, tape = module.forward(x, params, state)
        grads = module.backward(np.ones_like(y), tape)
        found.append({**leaves((y, final, tape.saved)), **{f"grads{k}": v for k, v in leaves(grads).items()}})
    every = [array for results in found for array in results.values()]
    for results in found:
        assert_same_bits(tuple(results.values()), tuple(found[0].values()))
    for k, array in enumerate(every):
        assert not any(np.may_share_memory(array, other) and np.shares_memory(array, other) for other in every[k + 1 :])


def test_a_result_that_is_overwritten_changes_no_other() -> None:
    module, x, params, _ = gru()
    forget(module)
    want = [module.forward(x, params) for _ in range(TIMES)][-1]
    want = (want[0].copy(), want[2].state[0].copy())
    y, final, tape = module.forward(x, params)
    for array in leaves((y, final, tape.saved, tape.state)).values():
        array[...] = np.nan
    y, _, tape = module.forward(x, params)
    assert_same_bits((y, tape.state[0]), want)


def test_the_tape_has_the_arguments_themselves() -> None:
    module, x, params, state = gru()
    for _ in range(TIMES):
        tape = module.forward(x, params, state)[2]
        assert tape.inputs.x is x and tape.params is not None and tape.state[0] is state[0]
        assert all(a is b for a, b in zip(tape.params, params, strict=True))


@pytest.mark.parametrize("which", ["x", "params", "state", "all"])
def test_arrays_that_may_not_be_written_to_are_recorded_too(which: str) -> None:
    module, x, params, state = gru()
    want = passed(module, x, params, state)
    forget(module)
    x = locked(x) if which in ("x", "all") else x
    params = type(params)(*map(locked, params)) if which in ("params", "all") else params
    state = type(state)(*map(locked, state)) if which in ("state", "all") else state
    for _ in range(TIMES):
        found = passed(module, x, params, state)
        assert_same_bits(found, want)
        tape = found[2]
        assert tape.inputs.x is x and tape.state[0] is state[0] and all(a is b for a, b in zip(tape.params, params, strict=True))
        assert all(array.flags.writeable for array in leaves((found[0], found[1], tape.saved, found[3])).values())
    assert recorded(module.LAYER.recordings) == 2


def passed(module: ModuleType, x: np.ndarray, params: Any, state: Any) -> Any:
    """Return what forward and backward give."""
    y, final, tape = module.forward(x, params, state)
    return y, final, tape, module.backward(np.ones_like(y), tape)


def test_arguments_may_be_one_array() -> None:
    """Recorded where two arguments are one array, and done again where they are not; and the other way."""
    module = generated("lstm")
    params, x = module.init(4, 4, seed=1, dtype=np.float64), np.random.default_rng(0).standard_normal((T, 4, 4))
    zero, other = np.zeros((4, 4)), np.ones((4, 4))
    one, two = module.State(zero, zero), module.State(zero, other)
    for first, then in ((one, two), (two, one)):
        forget(module)
        want = module.infer(x, params, then)
        for _ in range(2):
            module.infer(x, params, first)
        assert_same_bits(module.infer(x, params, then), want)


def test_a_recording_keeps_no_argument_alive() -> None:
    module, x, params, state = gru()
    forget(module)
    for _ in range(TIMES):
        module.forward(x, params, state)
    (recording,) = next(found for found in module.LAYER.recordings._idle.values() if found)
    for array in (x, *params, *state):
        assert not any(isinstance(stays, np.ndarray) and np.shares_memory(stays, array) for stays in recording._stay)


# What is recorded


def test_of_many_kinds_the_last_are_kept() -> None:
    module, _, params, _ = gru()
    forget(module)
    for steps in range(1, 3 * replay.KEPT):
        module.infer(np.ones((steps, 2, params.W_r.shape[1])), params)
    assert len(module.LAYER.recordings) == replay.KEPT and not recorded(module.LAYER.recordings)
    steps = [shapes for _, _, *shapes in module.LAYER.recordings]
    module.infer(np.ones((3 * replay.KEPT - 1, 2, params.W_r.shape[1])), params)
    assert [shapes for _, _, *shapes in module.LAYER.recordings] == steps


def test_large_calls_are_not_recorded() -> None:
    module = generated("gru")
    forget(module)
    params, x = module.init(64, 64, seed=0), np.ones((130, 2048, 64), np.float32)
    assert x.nbytes > replay.RECORDED
    for _ in range(TIMES):
        module.infer(x, params)
    assert not recorded(module.LAYER.recordings)


def large(module: ModuleType, seed: int = 0) -> tuple[np.ndarray, Any]:
    """Return an input and parameters of which a call wakes threads, and works in more than a recording keeps."""
    return np.random.default_rng(seed).standard_normal((100, 6, 64), dtype=np.float32), module.init(64, 192, seed=seed)


def differentiated(module: ModuleType, x: np.ndarray, params: Any) -> Any:
    y, final, tape = module.forward(x, params)
    return y, final, tape.saved, module.backward(np.ones_like(y), tape), module.infer(x, params)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("threads", [1, 2])
def test_calls_that_wake_threads_are_recorded(name: str, threads: int, threads_as_before: None) -> None:
    module = generated(name)
    set_threads(threads)
    forget(module)
    for seed in range(TIMES):
        x, params = large(module, seed)
        got = differentiated(module, x, params)
    every = [recording for found in module.LAYER.recordings._idle.values() for recording in found]
    assert len(every) == 3 and all(not recording.light and recording.divided == division(False) for recording in every)
    assert all(sum(piece.nbytes for piece in recording._room.new()) > replay.STAYS > recording.size for recording in every)
    forget(module)
    assert_same_bits(got, differentiated(module, x, params))


def twice(module: ModuleType, seed: int, *, params: bool = True) -> tuple[Any, ...]:
    """Return what the passes of second order give at random values, along a direction that may leave the parameters alone."""
    cell = REGISTRY[module.LAYER.name]
    p, q = (sample(cell, steps=T, batch=B, seed=k) for k in (seed, seed + 100))
    (x, weights, state), _ = arguments(module, p)
    y, _, tape = module.forward(x, weights, state)
    grads, tape2 = module.backward(p.dy, tape, second=True)
    (x, weights, state), _ = arguments(module, q)
    along = module.Grads(x, weights if params else None, state)
    second = module.backward_backward(along, tape2)
    products = [module.hvp(along, tape, p.dy, curvature=bent) for bent in (None, np.negative)]
    return y, grads, tape2.saved, tape2.dy, second, module.tangent(along, tape), tuple(products)


@pytest.mark.parametrize("params", [True, False])
@pytest.mark.parametrize("name", ["lstm", "gru_v3"])
def test_so_it_does_to_second_order(name: str, params: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = generated(name)
    forget(module)
    for seed in range(TIMES):
        got = twice(module, seed, params=params)
    assert (
        recorded(module.LAYER.recordings) == 7
    )  # forward, backward, its backward, tangent, and of hvp along, hessian with and without curvature
    monkeypatch.setattr(replay, "RECORDED", 0)
    forget(module)
    want = twice(module, TIMES - 1, params=params)
    assert_same_bits(got, want)
    assert recorded(module.LAYER.recordings) == 0


def test_a_tape_of_second_order_has_what_it_was_given() -> None:
    module, x, params, state = gru()
    for k in range(TIMES):
        dy = np.full((*x.shape[:2], params.U_r.shape[0]), float(k))
        tape = module.forward(x, params, state)[2]
        tape2 = module.backward(dy, tape, second=True)[1]
        assert tape2.dy is dy and tape2.tape.inputs.x is x and tape2.tape.state[0] is state[0]
        assert all(a is b for a, b in zip(tape2.tape.saved, tape.saved, strict=True))


def test_what_a_call_works_in_is_given_back() -> None:
    module = generated("lstm")
    x, params = large(module)
    forget(module)
    for _ in range(TIMES):
        module.infer(x, params)
    (recording,) = next(found for found in module.LAYER.recordings._idle.values() if found)
    room, pool = recording._room.new()[0].nbytes, memory._pool
    before = pool.idle
    assert before >= room
    kept = [module.infer(x, params) for _ in range(TIMES)]
    assert before - pool.idle < sum(array.nbytes for array in leaves(tuple(kept)).values()) * 1.2 + room


def test_the_threads_that_run_it_are_asked_each_time(monkeypatch: pytest.MonkeyPatch, threads_as_before: None) -> None:
    """PyTorch's are awake, or they are not: a call is divided otherwise, and has a recording of its own."""
    module = generated("lstm")
    x, params = large(module)
    set_threads(2)
    forget(module)
    want = module.infer(x, params)
    for how in [(2, 1), (4, 2)] * TIMES:  # LIGHT: in parts, on whoever is awake
        asked = (lambda light, how=how: (2, 1) if light else how) if how[1] == 1 else division
        monkeypatch.setattr(checked, "division", asked)
        monkeypatch.setattr(replay, "division", asked)
        assert_same_bits(module.infer(x, params), want)
    (found,) = module.LAYER.recordings._idle.values()
    assert sorted(recording.divided for recording in found) == sorted([(2, 1), division(False)])


def test_a_call_in_the_middle_of_another_is_not_recorded() -> None:
    """As when a collection runs one."""
    module, x, params, state = gru()
    want, made = module.infer(x, params, state), Trace()
    assert_same_bits(made.of(lambda trace: module.infer(x, params, state)), want)
    assert made.call is None and not made.works and memory.SKETCH.get() is None


def test_what_no_function_works_in_together_has_the_same_memory() -> None:
    """Five arrays, the first and the last function that works in each, and the memory of all."""
    spans = [(0, 0), (0, 2), (1, 1), (2, 3), (3, 3)]
    arrays = [np.empty(size, np.uint8) for size in (300, 100, 200, 640, 64)]
    room = Room(arrays, spans)
    (whole,) = room.new()
    found = room.within([whole])
    assert whole.nbytes == 1088 < 1408 and [array.nbytes for array in found] == [array.nbytes for array in arrays]
    assert all((array.ctypes.data - whole.ctypes.data) % memory.ALIGNMENT == 0 for array in found)
    for (a, one), (b, other) in combinations(zip(spans, found, strict=True), 2):
        together = a[0] <= b[1] and b[0] <= a[1]
        assert not (together and np.shares_memory(one, other))


def test_a_large_array_has_memory_of_its_own() -> None:
    """Which a later one has too, if it is no larger; the small ones lie together."""
    spans = [(0, 1), (0, 0), (1, 1), (1, 2), (2, 2)]
    sizes = [ALONE, 64, ALONE + 5, 2 * ALONE, ALONE - 64]
    arrays = [np.empty(size, np.uint8) for size in sizes]
    made = Room(arrays, spans)
    pieces = made.new()
    found = made.within(pieces)
    lies = [next(k for k, piece in enumerate(pieces) if np.shares_memory(array, piece)) for array in found]
    assert lies == [0, 1, 2, 3, 1] and [piece.nbytes for piece in pieces] == [ALONE, ALONE - 64, ALONE + 64, 2 * ALONE]
    later = Room([arrays[2], arrays[0]], [(0, 1), (2, 3)])
    (whole,) = later.new()
    assert all(np.shares_memory(array, whole) for array in later.within([whole]))


# Entered otherwise, once it has been done often


@pytest.mark.parametrize("name", ["lstm", "gru_v3", "lstm_layernorm"])
def test_entered_otherwise_it_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = generated(name)
    monkeypatch.setattr(replay, "OFTEN", 2)
    forget(module)
    last: dict[str, Any] = {}
    for seed in range(TIMES + 2):
        before, last = last, passes(module, name, seed, np.float64)
    every = [recording for found in module.LAYER.recordings._idle.values() for recording in found or ()]
    assert every and all(len(recording._entries) == len(recording._works) for recording in every)
    assert not any(np.shares_memory(a, b) for a in leaves(tuple(before.values())).values() for b in leaves(tuple(last.values())).values())
    forget(module)
    for way, want in passes(module, name, TIMES + 1, np.float64).items():
        assert_same_bits(last[way], want)


def test_so_it_does_on_arrays_that_may_not_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x, params, state = gru()
    want = passed(module, x, params, state)
    monkeypatch.setattr(replay, "OFTEN", 2)
    forget(module)
    x, params = locked(x), type(params)(*map(locked, params))
    for _ in range(TIMES + 2):
        assert_same_bits(passed(module, x, params, state), want)


@pytest.mark.parametrize("how", [lambda a: np.asfortranarray(a), lambda a: a[:, ::-1][:, ::-1][:, :, ::-1][:, :, ::-1], np.ndarray.tolist])
def test_other_memory_goes_the_ordinary_way(how: Callable[[np.ndarray], Any]) -> None:
    module, x, params, state = gru()
    want = module.infer(x, params, state)
    for _ in range(TIMES):
        if isinstance(how(x), list):
            with pytest.raises(ValueError, match="x must be a NumPy array, got list"):
                module.infer(how(x), params, state)
        else:
            assert_same_bits(module.infer(how(x), params, state), want)


def test_the_number_of_threads_is_asked_each_time(threads_as_before: None) -> None:
    module, x, params, state = gru()
    want = module.infer(x, params, state)
    for threads in (1, 2, 4, 2, 1):
        set_threads(threads)
        for _ in range(TIMES):
            assert_same_bits(module.infer(x, params, state), want)


@pytest.mark.parametrize("bad", [3, -1])
def test_indices_are_checked_each_time(bad: int) -> None:
    loss = generated("softmax_cross_entropy")
    a, k = np.zeros((T, B, 3)), np.zeros((T, B), np.int64)
    forget(loss)
    for _ in range(TIMES):
        loss.forward(a, loss.Params(), k=k)
    assert recorded(loss.LAYER.recordings)
    k[2, 1] = bad
    for _ in range(TIMES):
        with pytest.raises(ValueError, match=f"k must lie in 0 … 2, got .*{bad}"):
            loss.forward(a, loss.Params(), k=k)


@pytest.mark.parametrize("kind", [np.int8, np.uint64])
def test_indices_of_another_type_are_converted_each_time(kind: Any) -> None:
    loss = generated("softmax_cross_entropy")
    a = sample(REGISTRY["softmax_cross_entropy"], sizes={"d": 3}, steps=T, batch=B).arrays["a"]
    draws = [np.random.default_rng(seed).integers(0, 3, (T, B)) for seed in range(TIMES)]
    for k in draws:
        assert_same_bits(loss.infer(a, loss.Params(), k=k.astype(kind)), loss.infer(a, loss.Params(), k=k))


def test_shapes_are_still_checked() -> None:
    module, x, params, state = gru()
    for _ in range(TIMES):
        module.infer(x, params, state)
        with pytest.raises(ValueError, match=r"gru: params\.U_r has shape"):
            module.infer(x, params._replace(U_r=params.U_r[1:]), state)


def test_threads_have_recordings_of_their_own() -> None:
    module, x, params, state = gru()
    values = [x * k for k in range(1, 5)]
    want = [module.forward(value, params, state) for value in values]
    wrong: list[int] = []

    def many(k: int) -> None:
        for _ in range(200):
            y, final, _ = module.forward(values[k], params, state)
            if not (np.array_equal(y, want[k][0]) and all(map(np.array_equal, final, want[k][1]))):
                wrong.append(k)

    at_once(many)
    assert not wrong


def test_memory_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x, params, state = gru()
    want = [module.forward(x, params, state) for _ in range(TIMES)][-1]
    empty, left = np.empty, [0]

    def failing(*given: Any, **options: Any) -> np.ndarray:
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError
        return empty(*given, **options)

    for k in range(1, 6):
        for _ in range(2):
            module.forward(x, params, state)
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", failing)
            left[0] = k
            with pytest.raises(MemoryError):
                module.forward(x, params, state)
        assert_same_bits(module.forward(x, params, state), want)


# Views


def test_views_of_any_form_are_made_again() -> None:
    base, other = np.arange(24.0).reshape(6, 4), np.arange(24.0, 48.0).reshape(6, 4)
    for cut in (lambda a: a, lambda a: a.reshape(2, 3, 4), lambda a: a[1:3], lambda a: a[:, 1:3], lambda a: a[::2], lambda a: a[2]):
        view = spans.view_of(base, cut(base))
        np.testing.assert_array_equal(other if view is None else view(other), cut(other))
