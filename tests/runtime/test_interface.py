"""The interface of generated modules: its names, its shapes, the memory it accepts, and what it refuses."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, generated, leaves, package

from derive import CellError
from derive.cell import Cell
from derive.cells import REGISTRY
from derive.package import contents
from derive.verify.problem import Problem, sample
from derive.verify.report import check, table
from derive.verify.witnesses import arguments, kernel

T, B, D, N = 4, 2, 3, 5
MEMORY = Cell(
    """
    u = e_x @ x + e_h @ h_prev + e_m @ m_prev
    m = A @ m_prev + K * u
    s = 0.5 * s_prev + alpha * u
    h = tanh(W @ x + U @ h_prev + M @ m + V @ v + s * b)
    """,
    name="memory",
    output="h",
    context=("v",),
    fixed=("A",),
    shapes={"e_x": "d", "e_h": "n", "e_m": "q", "m": "q", "v": "k", "alpha": "", "K": "q"},
    init={"b": 0.5, "U": "orthogonal", "W": "glorot", "A": "eye", "e_x": "zeros", "e_h": "ones", "M": "normal"},
)
FREE = Cell("h = tanh(U @ h_prev + b)", name="free", output="h", inputs=())
DRIVEN = Cell("h = tanh(U @ h_prev + V @ v)", name="driven", output="h", inputs=(), context=("v",))
SKIP = Cell("h = x + tanh(U @ h_prev)", name="skip", output="h")
TWINS = Cell("h = tanh(x + z + U @ h_prev + b + c)", name="twins", output="h", inputs=("x", "z"), shapes={"x": "n", "z": "n"})
AWKWARD = Cell(
    """
    T = tanh(W @ y + B @ T_prev + np * n_prev + first + params)
    n = sigmoid(row @ LAYER + t @ T_prev + state) * n_prev + Params * seq
    j = T * n + call + real * count + dtype * saved_prev
    saved = j + kernel * range + dy * min
    y_out = saved * self + dfinal * T_prev
    """,
    name="awkward",
    output="y_out",
    inputs=("y", "LAYER", "Params"),
    shapes={"LAYER": "T", "Params": "n", "dfinal": "n", "first": "n"},
)
CELLS = (MEMORY, FREE, DRIVEN, SKIP, TWINS, AWKWARD)


def own(cell: Cell) -> ModuleType:
    return package(*CELLS)[cell.name]


def of_gru() -> Problem:
    return sample(REGISTRY["gru"], sizes={"d": D, "n": N}, steps=T, batch=B)


def gru(dtype: Any = np.float64) -> tuple[ModuleType, np.ndarray, Any, Any]:
    """Return the module, x, parameters and an initial state."""
    module = generated("gru")
    x, params, state = arguments(module, of_gru().cast(dtype))[0]
    return module, x, params, state


# Names and signatures


def names(function: Callable[..., Any]) -> list[str]:
    """Return the arguments; those that are keyword-only with a star."""
    parameters = inspect.signature(function).parameters.values()
    return ["*" * (p.kind is p.KEYWORD_ONLY) + p.name + ("=" if p.default is not p.empty else "") for p in parameters]


OPTIONS = ["*lengths=", "*reverse="]


def test_signatures() -> None:
    module = generated("gru")
    assert names(module.init) == ["d", "n", "seed=", "dtype="]
    assert names(module.zero_state) == ["batch", "n", "dtype="]
    assert names(module.spec) == ["T", "B", "d", "n"]
    assert names(module.forward) == ["x", "params", "state=", *OPTIONS, "*tape="]
    assert names(module.infer) == ["x", "params", "state=", *OPTIONS]
    assert names(module.step) == ["x", "params", "state=", "*out="]
    assert names(module.backward) == ["dy", "tape", "dfinal=", "*second=", "*only="]
    assert names(module.backward_backward) == ["u", "tape2", "*only="]
    assert names(module.tangent) == ["v", "tape"]
    assert names(module.hvp) == ["v", "tape", "dy", "dfinal=", "*curvature="]
    assert names(module.step_tangent) == ["x", "params", "state", "v"]


def test_signatures_of_further_inputs_and_sizes() -> None:
    module = own(MEMORY)
    assert names(module.forward) == ["x", "params", "state=", "*v", *OPTIONS, "*tape="]
    assert names(module.init) == ["d", "n", "k", "q", "seed=", "dtype="]
    assert names(module.zero_state) == ["batch", "n", "q", "dtype="]
    assert "*steps" in names(own(FREE).forward) and names(own(FREE).init) == ["n", "seed=", "dtype="]
    loss = generated("softmax_cross_entropy")
    assert names(loss.forward)[:4] == ["a", "params", "state=", "*k"]
    assert names(loss.init) == ["d", "seed=", "dtype="]


@pytest.mark.parametrize("name", REGISTRY)
def test_records_have_the_names_of_the_equations(name: str) -> None:
    cell, module = REGISTRY[name], generated(name)
    assert module.Params._fields == cell.parameters
    assert module.State._fields == cell.states
    assert module.Inputs._fields == (*cell.inputs, *cell.context)
    assert module.Grads._fields == (*cell.inputs, *cell.context, "params", "state")
    assert module.Tape._fields[:4] == ("inputs", "params", "state", "saved")


@pytest.mark.parametrize("cell", [*REGISTRY.values(), MEMORY], ids=lambda cell: cell.name)
def test_spec_has_the_real_shapes(cell: Cell) -> None:
    module = own(cell) if cell in CELLS else generated(cell.name)
    p = sample(cell, steps=T, batch=B)
    spec = module.spec(T, B, **p.sizes)
    first, *others = (*cell.inputs, *cell.context)
    params = module.init(**p.sizes, dtype=np.float64)
    state = module.zero_state(B, **{s: p.sizes[s] for s in names_of_sizes(module)}, dtype=np.float64)
    assert {k: v.shape for k, v in params._asdict().items()} == spec["params"]
    assert {k: v.shape for k, v in state._asdict().items()} == spec["state"]
    assert {k: p.arrays[k].shape for k in cell.inputs} == spec["inputs"]
    y, final, tape = module.forward(p.arrays[first], params, state, **{k: p.arrays[k] for k in others})
    assert spec["output"] == {"y": y.shape}
    assert {k: v.shape for k, v in final._asdict().items()} == spec["state"]
    assert {k: v.shape for k, v in tape.saved._asdict().items()} == spec["saved"]
    grads = module.backward(None, tape)
    for k, value in grads.params._asdict().items():
        assert value is None if k in cell.fixed else value.shape == spec["params"][k]
    for k in (*cell.inputs, *cell.context):
        given = {**spec["inputs"], **spec["context"]}
        assert getattr(grads, k) is None if k in cell.without_gradient else getattr(grads, k).shape == given[k]


def names_of_sizes(module: ModuleType) -> list[str]:
    return [name for name in inspect.signature(module.zero_state).parameters if name not in ("batch", "dtype")]


def test_gradients_by_integers_and_fixed_parameters_are_none() -> None:
    loss = generated("softmax_cross_entropy")
    a, k = np.ones((T, B, D)), np.zeros((T, B), int)
    grads = loss.backward(None, loss.forward(a, loss.Params(), k=k)[2])
    assert grads.k is None and grads.a.shape == a.shape and grads.params == () and grads.state == ()
    module, p = own(MEMORY), sample(MEMORY)
    tape = module.forward(p.arrays["x"], module.Params(**p.parameters), v=p.arrays["v"])[2]
    grads = module.backward(None, tape)
    assert [k for k, value in grads.params._asdict().items() if value is None] == ["A"]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_gradients(cell: Cell) -> None:
    report = check(cell, module=own(cell), float32=cell is MEMORY)
    assert report.ok, table([report])


@pytest.mark.exhaustive
@pytest.mark.parametrize("cell", CELLS[1:], ids=lambda cell: cell.name)
def test_gradients_in_float32(cell: Cell) -> None:
    report = check(cell, module=own(cell))
    assert report.ok, table([report])


def test_equal_gradients_are_two_arrays() -> None:
    grads = kernel(own(TWINS), sample(TWINS)).grads
    assert_same_bits((grads["x"], grads["b"]), (grads["z"], grads["c"]))
    assert not np.shares_memory(grads["b"], grads["c"]) and not np.shares_memory(grads["x"], grads["z"])


@pytest.mark.parametrize("name", ["params", "state", "steps", "out", "lengths"])
def test_an_input_that_is_named_as_an_argument_is_refused(name: str) -> None:
    with pytest.raises(CellError, match=f"an input cannot be named `{name}`"):
        contents.files([Cell(f"h = tanh(W @ {name} + U @ h_prev)", name="refused", output="h", inputs=(name,))])


@pytest.mark.parametrize("size", ["batch", "seed", "dtype"])
def test_a_size_that_is_named_as_an_argument_is_refused(size: str) -> None:
    with pytest.raises(CellError, match=f"a size cannot be named `{size}`"):
        contents.files([Cell("h = tanh(W @ x + U @ h_prev)", name="refused", output="h", shapes={"h": size})])


# Initial values


def test_init_follows_the_rules() -> None:
    p = own(MEMORY).init(D, N, k=2, q=6, seed=3, dtype=np.float64)
    assert (p.b == 0.5).all() and not p.e_x.any() and (p.e_h == 1).all()
    np.testing.assert_array_equal(p.A, np.eye(6))
    np.testing.assert_allclose(p.U @ p.U.T, np.eye(N), atol=1e-14)
    bound = (6 / (N + D)) ** 0.5
    assert np.abs(p.W).max() <= bound and np.abs(p.W).max() > bound / 2
    assert np.abs(p.M).max() > 1  # normal: not bounded by 1 / √q
    assert np.abs(p.V).max() <= 2**-0.5
    assert p.alpha.shape == ()


def test_init_depends_on_the_seed_alone() -> None:
    module = generated("lstm")
    assert_same_bits(module.init(D, N, seed=1), module.init(D, N, seed=1))
    assert not np.array_equal(module.init(D, N, seed=1).W_i, module.init(D, N, seed=2).W_i)
    assert (module.init(D, N).b_f == 1).all()
    for dtype in (np.float32, np.float64):
        assert {value.dtype for value in module.init(D, N, dtype=dtype)} == {np.dtype(dtype)}
        assert {value.dtype for value in module.zero_state(B, N, dtype=dtype)} == {np.dtype(dtype)}


def test_a_scalar_parameter_may_be_a_number_of_numpy() -> None:
    """Arithmetic on an array without axes gives one: what an optimiser hands back."""
    module, p = own(MEMORY), sample(MEMORY)
    params, state = module.Params(**p.parameters), module.State(**p.states)
    number = params._replace(alpha=np.float64(params.alpha))
    array = params._replace(alpha=np.array(params.alpha))
    given = {"v": p.arrays["v"]}
    assert_same_bits(module.forward(p.arrays["x"], number, state, **given)[0], module.forward(p.arrays["x"], array, state, **given)[0])


def test_equations_that_make_sizes_equal() -> None:
    module = own(SKIP)
    assert module.init(4, 4).U.shape == (4, 4)
    with pytest.raises(ValueError, match=r"skip: its equations need d = n, got d = 3 and n = 4"):
        module.init(3, 4)


# Cells without inputs


def test_a_cell_without_inputs() -> None:
    module = own(FREE)
    params, state = module.init(N, dtype=np.float64), module.State(np.ones((B, N)))
    y, final, tape = module.forward(None, params, state, steps=T)
    assert y.shape == (T, B, N)
    for t in range(T):
        y_t, state = module.step(None, params, state)
        np.testing.assert_allclose(y_t, y[t], rtol=1e-14)
    assert_same_bits(module.infer(None, params, module.State(np.ones((B, N))), steps=T), (y, final))
    assert module.backward(None, tape, final)._fields == ("params", "state")


@pytest.mark.parametrize("steps", [-1, 2.5, "3", True])
def test_the_number_of_steps_is_checked(steps: Any) -> None:
    module = own(FREE)
    with pytest.raises(ValueError, match="free: a cell without inputs needs steps, a number of at least 0"):
        module.forward(None, module.init(N), module.zero_state(B, N), steps=steps)


def test_a_batch_of_unknown_size_is_refused() -> None:
    module = own(FREE)
    with pytest.raises(ValueError, match="needs state, which tells the batch size"):
        module.forward(None, module.init(N), steps=2)


# Memory


def reversed_strides(a: np.ndarray) -> np.ndarray:
    return np.flip(np.flip(a).copy())


def every_second(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a: np.ndarray) -> np.ndarray:
    view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


@pytest.mark.parametrize("form", [np.asfortranarray, reversed_strides, every_second, read_only, unaligned], ids=lambda f: f.__name__)
def test_memory_of_any_form(form: Callable[[np.ndarray], np.ndarray]) -> None:
    module, x, params, state = gru()
    dy, dfinal = of_gru().dy, module.State(**of_gru().dfinal)
    y, final, tape = module.forward(x, params, state)
    want = (y, final, module.backward(dy, tape, dfinal), module.infer(x, params, state), module.step(x[0], params, state))
    x, params, state = form(x), module.Params(*map(form, params)), module.State(*map(form, state))
    assert form is not read_only or not x.flags.writeable
    y, final, tape = module.forward(x, params, state)
    grads = module.backward(form(dy), tape, module.State(*map(form, dfinal)))
    assert_same_bits((y, final, grads, module.infer(x, params, state), module.step(x[0], params, state)), want)
    assert all(value.flags.writeable for value in leaves((y, final, grads)).values())


def compiled(module: ModuleType) -> dict[str, int]:
    """Return for how many types the functions of a module and of its runtime have been compiled."""
    package = module.__name__.rpartition(".")[0]
    modules = [module, *(m for name, m in sys.modules.items() if name.startswith(f"{package}.runtime"))]
    return {f"{m.__name__}.{k}": len(v.signatures) for m in modules for k, v in vars(m).items() if hasattr(v, "signatures")}


@pytest.mark.parametrize("form", [read_only, unaligned], ids=lambda f: f.__name__)
def test_no_kernel_is_compiled_for_other_memory(form: Callable[[np.ndarray], np.ndarray]) -> None:
    """Neither for arrays that must not be written to, nor for those that lie at an odd address."""
    module, p = own(MEMORY), sample(MEMORY, sizes=dict.fromkeys(("d", "n", "k", "q"), 3), steps=T, batch=B)
    (x, params, state), named = arguments(module, p)
    v = named["v"]

    def run(of: Callable[[np.ndarray], np.ndarray]) -> Any:
        given, own_state, context = module.Params(*map(of, params)), module.State(*map(of, state)), of(v)
        found: list[Any] = []
        for options in ({}, {"lengths": np.array([2, 4])}, {"tape": "recompute"}):
            y, final, tape = module.forward(of(x), given, own_state, v=context, **options)
            tape = tape if options else tape._replace(saved=type(tape.saved)(*map(of, tape.saved)))
            found += [y, final, module.backward(of(y), tape, type(final)(*map(of, final)))]
        return (*found, module.step(of(x[0]), module.pack(given), own_state, v=context))

    want, before = run(np.copy), compiled(module)
    assert sum(before.values()) > 0
    assert_same_bits(run(form), want)
    assert compiled(module) == before


def test_a_read_only_array_stays_read_only() -> None:
    module, x, params, state = gru()
    x, params, state = read_only(x), module.Params(*map(read_only, params)), module.State(*map(read_only, state))
    y, final, tape = module.forward(x, params, state)
    grads, packed = module.backward(y, tape), module.pack(params)
    given = (x, *params, *state)
    for value in (y, *final, *leaves(tape).values(), *leaves(grads).values(), *packed.params, *packed.weights):
        assert not value.flags.writeable or not any(np.shares_memory(value, other) for other in given)


def test_batch_first_data_is_a_view() -> None:
    module, x, params, state = gru()
    batch_first = np.ascontiguousarray(x.swapaxes(0, 1))
    assert_same_bits(module.forward(batch_first.swapaxes(0, 1), params, state)[0], module.forward(x, params, state)[0])


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, ">i4"])
def test_indices_of_any_integer_type(kind: Any) -> None:
    loss = generated("softmax_cross_entropy")
    a = sample(REGISTRY["softmax_cross_entropy"], sizes={"d": D}, steps=T, batch=B).arrays["a"]
    k = np.array([[0, 1], [2, 2], [1, 0], [0, 2]])
    assert_same_bits(loss.forward(a, loss.Params(), k=k.astype(kind))[0], loss.forward(a, loss.Params(), k=k)[0])


def test_out_is_written() -> None:
    module, x, params, state = gru()
    rows = np.zeros((B, 2 * N))
    y, _ = module.step(x[0], params, state, out=rows[:, ::2])
    assert np.shares_memory(y, rows)
    np.testing.assert_array_equal(rows[:, ::2], module.forward(x, params, state)[0][0])
    assert not rows[:, 1::2].any()


# What is refused


def bad(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    return np.zeros(shape, dtype)


Change = Callable[[Any, dict[str, Any]], dict[str, Any]]
FORWARD: dict[str, tuple[Change, str]] = {
    "x of rank 2": (lambda m, a: {"x": bad((T, D))}, r"x has shape (4, 3), needs (T, B, d)"),
    "x of no rank": (lambda m, a: {"x": bad(())}, r"x has shape (), needs (T, B, d)"),
    "x too wide": (lambda m, a: {"x": bad((T, B, 9))}, r"x has shape (4, 2, 9), needs (T, B, d) = (4, 2, 3)"),
    "x a list": (lambda m, a: {"x": [[[1.0]]]}, r"x must be a NumPy array, got list"),
    "x missing": (lambda m, a: {"x": None}, r"x must be a NumPy array, got NoneType"),
    "x of integers": (lambda m, a: {"x": bad((T, B, D), int)}, r"x must be float32 or float64, got int64"),
    "x of half precision": (lambda m, a: {"x": bad((T, B, D), np.float16)}, r"x must be float32 or float64, got float16"),
    "x complex": (lambda m, a: {"x": bad((T, B, D), complex)}, r"x must be float32 or float64, got complex128"),
    "x in the other byte order": (lambda m, a: {"x": bad((T, B, D), ">f8")}, r"x must be float32 or float64, got >f8"),
    "x of another dtype": (lambda m, a: {"x": bad((T, B, D), np.float32)}, r"params.W_r is float64, but x is float32"),
    "a matrix transposed": (
        lambda m, a: {"params": a["params"]._replace(W_n=bad((D, N)))},
        r"params.W_n has shape (3, 5), needs (n, d) = (5, 3)",
    ),
    "a matrix of rank 1": (
        lambda m, a: {"params": a["params"]._replace(U_z=bad((N,)))},
        r"params.U_z has shape (5,), needs (n, n) = (5, 5)",
    ),
    "a bias too long": (lambda m, a: {"params": a["params"]._replace(b_hn=bad((9,)))}, r"params.b_hn has shape (9,), needs (n,) = (5,)"),
    "a parameter of another dtype": (
        lambda m, a: {"params": a["params"]._replace(b_in=bad((N,), np.float32))},
        r"params.b_in is float32, but x is float64",
    ),
    "parameters of another cell": (
        lambda m, a: {"params": generated("lstm").init(D, N, dtype=np.float64)},
        r"params must be a gru.Params with fields ('W_r',",
    ),
    "parameters as a dict": (lambda m, a: {"params": a["params"]._asdict()}, r"params must be a gru.Params"),
    "parameters as a tuple": (lambda m, a: {"params": tuple(a["params"])}, r"params must be a gru.Params"),
    "a state of another batch": (lambda m, a: {"state": m.State(bad((7, N)))}, r"state.h has shape (7, 5), needs (B, n) = (2, 5)"),
    "a state too wide": (lambda m, a: {"state": m.State(bad((B, 6)))}, r"state.h has shape (2, 6), needs (B, n) = (2, 5)"),
    "a state as an array": (lambda m, a: {"state": bad((B, N))}, r"state must be a gru.State with fields ('h',), got ndarray"),
    "a state of another cell": (lambda m, a: {"state": generated("lstm").zero_state(B, N)}, r"state must be a gru.State"),
}


@pytest.mark.parametrize("case", FORWARD)
@pytest.mark.parametrize("function", ["forward", "infer"])
def test_forward_refuses(function: str, case: str) -> None:
    module, x, params, state = gru()
    change, message = FORWARD[case]
    arguments = {"x": x, "params": params, "state": state}
    with pytest.raises(ValueError, match=f"^gru: .*{re.escape(message)}"):
        getattr(module, function)(**{**arguments, **change(module, arguments)})


@pytest.mark.parametrize("tape", ["none", None])
def test_forward_refuses_other_tapes(tape: Any) -> None:
    module, x, params, _ = gru()
    with pytest.raises(ValueError, match='gru: tape must be "full", "recompute" or "auto", got'):
        module.forward(x, params, tape=tape)


STEP: dict[str, tuple[dict[str, Any], str]] = {
    "a sequence": ({"x": bad((T, B, D))}, r"x has shape (4, 2, 3), needs (B, d)"),
    "a list": ({"x": [[1.0, 2.0, 3.0]]}, r"x must be a NumPy array, got list"),
    "nothing": ({"x": None}, r"x must be a NumPy array, got NoneType"),
    "out of another shape": ({"out": bad((B, 4))}, r"out has shape (2, 4), needs (B, n) = (2, 5)"),
    "out of another dtype": ({"out": bad((B, N), np.float32)}, r"out must be an array of float64, got float32"),
    "out a list": ({"out": [0.0]}, r"out must be an array of float64, got list"),
}


@pytest.mark.parametrize("case", STEP)
def test_step_refuses(case: str) -> None:
    module, x, params, state = gru()
    change, message = STEP[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        module.step(**{"x": x[0], "params": params, "state": state, **change})


BACKWARD: dict[str, tuple[Change, str]] = {
    "dy of another length": (lambda m, a: {"dy": bad((T + 1, B, N))}, r"dy has shape (5, 2, 5), needs (T, B, n) = (4, 2, 5)"),
    "dy of another width": (lambda m, a: {"dy": bad((T, B, D))}, r"dy has shape (4, 2, 3), needs (T, B, n) = (4, 2, 5)"),
    "dy of another dtype": (lambda m, a: {"dy": bad((T, B, N), np.float32)}, r"dy is float32, but the tape is float64"),
    "dy a list": (lambda m, a: {"dy": [1.0]}, r"dy must be a NumPy array, got list"),
    "dfinal of another batch": (lambda m, a: {"dfinal": m.State(bad((3, N)))}, r"dfinal.h has shape (3, 5), needs (B, n) = (2, 5)"),
    "dfinal of another dtype": (lambda m, a: {"dfinal": m.State(bad((B, N), np.float32))}, r"dfinal.h is float32, but the tape is float64"),
    "dfinal as an array": (lambda m, a: {"dfinal": bad((B, N))}, r"dfinal must be a gru.State"),
    "no tape": (lambda m, a: {"tape": None}, r"tape must be a gru.Tape, got "),
    "the tape of another cell": (lambda m, a: {"tape": other_tape()}, r"tape must be a gru.Tape, got "),
    "a tape with the values of another run": (
        lambda m, a: {"tape": a["tape"]._replace(saved=m.forward(bad((9, B, D)), a["tape"].params)[2].saved)},
        r"tape.saved.h has shape (10, 2, 5), needs (T + 1, B, n) = (5, 2, 5)",
    ),
}


def other_tape() -> Any:
    lstm = generated("lstm")
    return lstm.forward(bad((T, B, D)), lstm.init(D, N, dtype=np.float64))[2]


@pytest.mark.parametrize("case", BACKWARD)
def test_backward_refuses(case: str) -> None:
    module, x, params, state = gru()
    change, message = BACKWARD[case]
    arguments = {"dy": bad((T, B, N)), "tape": module.forward(x, params, state)[2]}
    with pytest.raises(ValueError, match=f"^gru.*{re.escape(message)}"):
        module.backward(**{**arguments, **change(module, arguments)})


INDICES: dict[str, tuple[Any, str]] = {
    "too large": (np.full((T, B), D), r"k must lie in 0 … 2, got 3 … 3"),
    "negative": (np.full((T, B), -1), r"k must lie in 0 … 2, got -1 … -1"),
    "floating": (np.zeros((T, B)), r"k must hold integers, got float64"),
    "boolean": (np.zeros((T, B), bool), r"k must hold integers, got bool"),
    "one-hot": (np.zeros((T, B, D), int), r"k has shape (4, 2, 3), needs (T, B)"),
    "of another batch": (np.zeros((T, 3), int), r"k has shape (4, 3), needs (T, B) = (4, 2)"),
    "a list": ([0, 1], r"k must be a NumPy array, got list"),
}


@pytest.mark.parametrize("case", INDICES)
def test_indices_are_checked(case: str) -> None:
    loss, (k, message) = generated("softmax_cross_entropy"), INDICES[case]
    with pytest.raises(ValueError, match=f"^softmax_cross_entropy: {re.escape(message)}"):
        loss.forward(bad((T, B, D)), loss.Params(), k=k)


def test_context_is_checked() -> None:
    module, p = own(MEMORY), sample(MEMORY, steps=T, batch=B)
    params = module.Params(**p.parameters)
    with pytest.raises(ValueError, match=re.escape("memory: v has shape (3, 5), needs (B, k) = (2, 5)")):
        module.forward(p.arrays["x"], params, v=bad((3, 5)))
    with pytest.raises(ValueError, match=re.escape("memory: v has shape (4, 2, 5), needs (B, k) = (2, 5)")):
        module.forward(p.arrays["x"], params, v=bad((T, B, 5)))


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None])
def test_sizes_are_checked(size: Any) -> None:
    with pytest.raises(ValueError, match="gru: size n must be a positive integer"):
        generated("gru").init(D, size)


@pytest.mark.parametrize("dtype", [int, np.float16, complex, None, "bfloat16", "foo", "torch.float16", ">f4", "f4,f4", {}, object()])
def test_dtypes_are_checked(dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"gru.init: dtype must be float32 or float64"):
        generated("gru").init(D, N, dtype=dtype)
    with pytest.raises(ValueError, match=r"gru.zero_state: dtype must be float32 or float64"):
        generated("gru").zero_state(B, N, dtype=dtype)


@pytest.mark.parametrize(("dtype", "want"), [(float, "float64"), ("f4", "float32"), (np.float32, "float32"), ("=f8", "float64")])
def test_dtypes_as_numpy_takes_them(dtype: Any, want: str) -> None:
    module = generated("lstm")
    assert {a.dtype.name for a in (*module.init(3, 4, dtype=dtype), *module.zero_state(2, 4, dtype=dtype))} == {want}


def test_dtypes_of_torch() -> None:
    torch, module = pytest.importorskip("torch"), generated("lstm")
    assert module.init(3, 4, dtype=torch.float32).b_i.dtype == np.float32
    assert module.zero_state(2, 4, dtype=torch.float64).c.dtype == np.float64
    for dtype in (torch.bfloat16, torch.int64):
        with pytest.raises(ValueError, match=f"dtype must be float32 or float64, got {dtype}"):
            module.init(3, 4, dtype=dtype)
