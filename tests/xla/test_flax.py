"""Modules of Flax: what `nnx.RNN` computes of Flax's own cells, any cell of the package, and what Flax does with modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, generated, ordinary, python

jax = pytest.importorskip("jax")
pytest.importorskip("flax")

from flax import nnx  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from derive import Cell  # noqa: E402
from derive.cells import SHIPPED  # noqa: E402
from derive.verify.problem import sample  # noqa: E402
from generated import flax as ours  # noqa: E402
from generated.flax import RNN, Fixed, from_flax, to_flax  # noqa: E402
from generated.runtime.flax import version  # noqa: E402

B, T, D, N = 3, 5, 2, 4
KINDS = (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell)
CHOSEN = {"lstm", "gru_v3", "slstm", "gated_deltanet", "gru_d", "softmax_cross_entropy"}
LENGTHS = np.array([5, 1, 3])
WIDE = np.random.default_rng(0).standard_normal((B, T, D))
X = WIDE.astype(np.float32)
CALLS: list[dict[str, Any]] = [
    {"seq_lengths": LENGTHS},
    {"reverse": True},
    {"reverse": True, "keep_order": True},
    {"reverse": True, "seq_lengths": LENGTHS},
    {"reverse": True, "keep_order": True, "seq_lengths": LENGTHS},
    {"time_major": True},
]


@pytest.fixture
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def cell_of(kind: Any, dtype: Any = jnp.float64, **options: Any) -> Any:
    made = dict.fromkeys(("kernel_init", "recurrent_kernel_init", "bias_init"), nnx.initializers.normal(0.5))
    return kind(D, N, dtype=dtype, param_dtype=dtype, rngs=nnx.Rngs(1), **made, **options)


def close(found: Any, want: Any, tolerance: float) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def same(found: Any, want: Any) -> None:
    assert_same_bits(*(tuple(map(np.asarray, jax.tree.leaves(tree))) for tree in (found, want)))


@nnx.jit
def carried(layer: Any, x: Any, carry: Any = None) -> Any:
    return layer(x, initial_carry=carry, return_carry=True)


@nnx.jit
def gradients(layer: Any) -> Any:
    return nnx.grad(lambda layer: (layer(WIDE) ** 2).sum())(layer)


# Flax's own cells


def within(y: Any, call: dict[str, Any]) -> Any:
    """Return outputs with zeros past the ends, where Flax has what it makes of padding."""
    lengths = call.get("seq_lengths")
    return y if lengths is None else jnp.where((np.arange(T) < lengths[:, None])[..., None], y, 0)


@pytest.mark.parametrize("kind", ordinary(KINDS, KINDS[1:]))
def test_what_flax_computes(kind: Any, wide: None) -> None:
    cell = cell_of(kind)
    theirs, layer = nnx.RNN(cell), from_flax(cell)
    carry, y = carried(theirs, WIDE)
    close(carried(layer, WIDE), (carry, y), 1e-12)
    close(carried(layer, WIDE[::-1], carry), carried(theirs, WIDE[::-1], carry), 1e-12)
    close(layer.initialize_carry((7, D)), cell.initialize_carry((7, D), nnx.Rngs(0)), 0)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_how_flax_is_called(call: dict[str, Any], wide: None) -> None:
    cell = cell_of(nnx.SimpleCell)
    called = nnx.jit(lambda layer: layer(WIDE, return_carry=True, **call))
    carry, y = called(nnx.RNN(cell))
    close(called(from_flax(cell)), (carry, within(y, call)), 1e-12)


@pytest.mark.parametrize("x", [WIDE[0], WIDE[None]], ids=["none", "two"])
def test_any_axes_of_sequences(x: Any, wide: None) -> None:
    cell = cell_of(nnx.SimpleCell)
    close(carried(from_flax(cell), x), carried(nnx.RNN(cell), x), 1e-12)


@pytest.mark.parametrize("kind", ordinary(KINDS, (nnx.LSTMCell, nnx.GRUCell)))
def test_weights_and_gradients_there_and_back(kind: Any, wide: None) -> None:
    cell = cell_of(kind)
    layer = from_flax(nnx.RNN(cell, reverse=True, keep_order=True))
    same(nnx.state(to_flax(layer, kind), nnx.Param), nnx.state(cell, nnx.Param))
    want = gradients(nnx.RNN(cell, reverse=True, keep_order=True))["cell"]
    found = from_flax(cell)  # whose values become gradients
    nnx.update(found, gradients(layer))
    close(nnx.state(to_flax(found, kind), nnx.Param), want, 1e-12)


def test_the_other_lstm_of_flax() -> None:
    layer = RNN("lstm", D, N, rngs=nnx.Rngs(0))
    assert type(to_flax(layer)) is nnx.OptimizedLSTMCell
    same(nnx.state(from_flax(to_flax(layer, nnx.LSTMCell))), nnx.state(layer))


def test_both_directions() -> None:
    cells = [cell_of(nnx.SimpleCell, jnp.float32) for _ in range(2)]
    options = {"seq_lengths": LENGTHS, "return_carry": True}
    called = nnx.jit(lambda layer: layer(X, **options))
    carry, y = called(nnx.Bidirectional(*map(nnx.RNN, cells)))
    close(called(nnx.Bidirectional(*map(from_flax, cells))), (carry, within(y, options)), 1e-6)


# Any cell


@pytest.mark.parametrize("name", ordinary(SHIPPED, CHOSEN))
def test_every_cell(name: str, wide: None) -> None:
    cell, module = SHIPPED[name], generated(name)
    p = sample(cell, steps=T, batch=B, seed=1)
    sizes = dict(p.sizes)
    layer = RNN(name, sizes.pop("d", None), sizes.pop("n", None), **sizes, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    for field in module.Params._fields:
        assert type(getattr(layer, field)) is nnx.Param
        getattr(layer, field)[...] = jnp.asarray(p.arrays[field])
    rows = {field: np.moveaxis(value, 0, 1) for field, value in p.inputs.items()}
    first = rows.pop(next(iter(rows)))
    carry, y = layer(first, initial_carry=tuple(p.states.values()), return_carry=True, **rows, **p.context)
    x, *others = p.inputs.values()
    named = dict(zip(list(p.inputs)[1:], others, strict=True))
    want, final = module.infer(x, module.Params(**p.parameters), module.State(**p.states), **named, **p.context)
    same((np.moveaxis(y, 1, 0), *jax.tree.leaves(carry)), (want, *final))


def test_states_are_named() -> None:
    layer = RNN("slstm", D, N, return_carry=True, rngs=nnx.Rngs(0))
    carry, _ = layer(X)
    assert carry._fields == ("m", "c", "nn", "h") and carry.h.shape == (B, N)
    same(layer.initialize_carry((B, D)), layer.function.zero_state(B, N))


def test_episodes_end_to_end() -> None:
    """The states are cleared before a step at which an episode begins, as a scan over Flax's cell does it."""
    cell = cell_of(nnx.LSTMCell, jnp.float32)
    layer = RNN("lstm_resettable", D, N, time_major=True, return_carry=True, rngs=nnx.Rngs(0))
    plain = from_flax(cell)
    nnx.update(layer, nnx.state(plain))
    x = np.swapaxes(X, 0, 1)
    done = np.random.default_rng(1).random((T, B)) < 0.4
    begin = jax.tree.map(jnp.ones_like, cell.initialize_carry((B, D), nnx.Rngs(0)))

    def step(carry: Any, now: Any) -> Any:
        x, reset = now
        return cell(jax.tree.map(lambda state: jnp.where(reset[:, None], 0, state), carry), x)

    assert done.any() and not done.all()
    close(layer(x, initial_carry=begin, reset=done), jax.lax.scan(step, begin, (x, done)), 1e-6)


# What Flax does with modules


def test_training() -> None:
    optax = pytest.importorskip("optax")
    layer = from_flax(cell_of(nnx.GRUCell, jnp.float32))
    optimizer = nnx.Optimizer(layer, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(layer: Any, optimizer: Any) -> Any:
        loss, grads = nnx.value_and_grad(lambda layer: ((layer(X) - 0.1) ** 2).mean())(layer)
        optimizer.update(layer, grads)
        return loss

    losses = [float(step(layer, optimizer)) for _ in range(10)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.8 * losses[0]
    assert type(layer.b_hn) is Fixed and not layer.b_hn[...].any()
    close(carried(nnx.RNN(to_flax(layer)), X), carried(layer, X), 1e-6)


def test_modules_are_taken_apart_copied_and_made_in_programs() -> None:
    def make(seed: Any = 0) -> Any:
        return RNN("gru", D, N, rngs=nnx.Rngs(seed))

    layer = make()
    want = layer(X)
    same(nnx.merge(*nnx.split(layer))(X), want)
    same(copy.deepcopy(layer)(X), want)
    same(nnx.jit(make)()(X), want)  # its numbers come of the key alone
    assert nnx.eval_shape(make).W_r.shape == (N, D)
    several = nnx.vmap(make)(jax.random.split(jax.random.key(0), 2))
    found = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(several, X)
    one = make()
    nnx.update(one, jax.tree.map(lambda value: value[1], nnx.state(several, nnx.Param)))
    same(found[1], one(X))
    assert not (several.W_r[0] == several.W_r[1]).any()


# What is refused


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: RNN("grru", D, N, rngs=nnx.Rngs(0)), ValueError, "generated has no cell `grru`"),
        (lambda: RNN("gru", D, rngs=nnx.Rngs(0)), TypeError, "gru: needs the sizes d, n, got d"),
        (lambda: RNN("lstmp", D, N, rngs=nnx.Rngs(0)), TypeError, "lstmp: needs the sizes d, n, p, got d, n"),
        (lambda: RNN("gru", D, 0, rngs=nnx.Rngs(0)), ValueError, "gru: size n must be a positive integer, got 0"),
        (lambda: RNN("gru", D, N, fixed=["W"], rngs=nnx.Rngs(0)), ValueError, "gru: fixed must name parameters, W_r, .*, got `W`"),
        (lambda: gru()(X[0, 0]), ValueError, r"gru: x has shape \(2,\), needs \(…, T, d\)"),
        (lambda: gru()(X[..., :1]), ValueError, r"gru: x has shape \(3, 5, 1\), needs \(…, T, d\) = \(3, 5, 2\)"),
        (lambda: gru()(X[None, ..., :1]), ValueError, r"gru: x has shape \(1, 3, 5, 1\), needs \(…, T, d\) = \(1, 3, 5, 2\)"),
        (lambda: gru()(X[0, :, :1]), ValueError, r"gru: x has shape \(5, 1\), needs \(T, d\) = \(5, 2\)"),
        (lambda: gru()(X[..., :1], time_major=True), ValueError, r"gru: x has shape \(3, 5, 1\), needs \(T, …, d\) = \(3, 5, 2\)"),
        (
            lambda: RNN("gru_d", D, N, rngs=nnx.Rngs(0))(X, m=X, e=X[:, 1:]),
            ValueError,
            r"gru_d: e has shape \(3, 4, 2\), needs \(…, T, d\) = \(3, 5, 2\)",
        ),
        (
            lambda: gru()(X[None], initial_carry=np.ones((1, B, N + 1), np.float32)),
            ValueError,
            r"gru: state\.h has shape \(1, 3, 5\), needs \(…, n\) = \(1, 3, 4\)",
        ),
        (
            lambda: gru()(X, seq_lengths=np.ones((B, 1), int)),
            ValueError,
            r"gru: lengths must have the axes \(3,\) of sequences, as x has, and no others, got shape \(3, 1\)",
        ),
        (lambda: gru()(X, initial_carry=(1, 2)), ValueError, "gru: needs 1 states, h, got 2"),
        (
            lambda: gru()(X, initial_carry=np.ones((7, N))),
            ValueError,
            r"gru: state\.h must have the axes \(3,\) of sequences, as x has, got",
        ),
        (lambda: gru()(X, seq_lengths=LENGTHS[:2]), ValueError, r"gru: lengths must have the axes \(3,\) of sequences"),
        (lambda: gru()(X, seq_lengths=LENGTHS + 1), ValueError, r"gru: lengths must lie in 0 … T = 5"),
        (lambda: gru()(X, seq_lengths="abc"), ValueError, "gru: lengths must be an array of numbers, got str"),
        (lambda: gru()(None), ValueError, "gru: x must be an array of numbers, got NoneType"),
        (lambda: gru()(X, time_major="yes"), ValueError, "gru: time_major must be True or False, got 'yes'"),
        (
            lambda: RNN("gru", D, N, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)),
            ValueError,
            "gru: the dtype of parameters must be float32 or float64, got bfloat16",
        ),
        (
            lambda: RNN("gru", D, N, param_dtype=jnp.float64, rngs=nnx.Rngs(0)),
            ValueError,
            "gru: the dtype of parameters is float64, which JAX has with `jax_enable_x64` only",
        ),
        (lambda: gru()(X, z=X), TypeError, "gru: needs x, got x, z"),
        (lambda: from_flax(nnx.LSTMCell), ValueError, "needs one of Flax's cells OptimizedLSTMCell, LSTMCell, .*, got "),
        (
            lambda: from_flax(cell_of(nnx.GRUCell, jnp.float32, gate_fn=nnx.hard_sigmoid)),
            ValueError,
            "GRUCell: gate_fn must be what it is by default",
        ),
        (lambda: from_flax(cell_of(nnx.LSTMCell, jnp.float32, activation_fn=nnx.relu)), ValueError, "LSTMCell: activation_fn must be"),
        (lambda: from_flax(cell_of(nnx.SimpleCell, jnp.float32, residual=True)), ValueError, "SimpleCell: residual must be .*, got True"),
        (
            lambda: from_flax(nnx.GRUCell(D, N, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))),
            ValueError,
            "GRUCell: dtype must be that of its parameters",
        ),
        (lambda: to_flax(RNN("mgu", D, N, rngs=nnx.Rngs(0))), ValueError, "mgu: Flax has no cell of its equations; it has"),
        (lambda: to_flax(gru(), nnx.LSTMCell), ValueError, "gru: Flax has no cell of its equations that is a LSTMCell"),
        (lambda: to_flax(gru(biased=True)), ValueError, "gru: b_hn must be zero, since GRUCell has none"),
    ],
)
def test_errors_name_the_argument(call: Callable[[], Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def gru(*, biased: bool = False) -> Any:
    layer = RNN("gru", D, N, rngs=nnx.Rngs(0))
    layer.b_hn[...] = float(biased)
    return layer


def test_a_parameter_with_the_name_of_an_attribute() -> None:
    cell = Cell("h = tanh(reverse @ x + U @ h_prev)", name="clash", output="h")
    with pytest.raises(ValueError, match="clash: a parameter cannot be named `reverse` here"):
        RNN(cell, D, N, rngs=nnx.Rngs(0))


def test_a_flax_that_was_not_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "TRIED", ((0, 1), (0, 2)))
    with pytest.warns(RuntimeWarning, match=r"Flax [\d.]+ was not tried with this package, which was with Flax from 0\.1 and below 0\.2"):
        version.tell()


def test_who_imports_flax() -> None:
    assert python("import sys, generated.gru, generated.jax, generated.warm; print('flax' in sys.modules)") == "False\n"
    missing = "import sys; sys.modules['flax'] = None\ntry: import generated.flax\nexcept ImportError as error: print(error)"
    assert python(missing) == "these layers need Flax: `pip install 'derive-rnn[flax]'`\n"
    assert "flax" not in dir(__import__("generated.jax", fromlist=["jax"])) and ours.RNN is RNN
