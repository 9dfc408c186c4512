"""Layers of Equinox: what its own cells compute, and one call of the kernels for all sequences that `vmap` maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, ordinary, python

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")

from jax import numpy as jnp  # noqa: E402

from derive import Cell  # noqa: E402
from generated.equinox import RNN, from_equinox, to_equinox  # noqa: E402
from generated.runtime.equinox import version  # noqa: E402

B, T, D, N = 3, 5, 2, 4
WIDE = np.random.default_rng(0).standard_normal((B, T, D))
X = WIDE.astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def same(found: Any, want: Any) -> None:
    assert_same_bits(*(tuple(map(np.asarray, jax.tree.leaves(tree))) for tree in (found, want)))


def scanned(cell: Any, x: Any) -> tuple[Any, Any]:
    """Run a cell of Equinox over a sequence; return all its states."""
    zero = jnp.zeros(N, x.dtype)

    def step(state: Any, x: Any) -> Any:
        after = cell(x, state)
        return after, after

    return jax.lax.scan(step, (zero, zero) if isinstance(cell, eqx.nn.LSTMCell) else zero, x)[::-1]


CASES = [(kind, use_bias) for kind in (eqx.nn.LSTMCell, eqx.nn.GRUCell) for use_bias in (True, False)]


@pytest.mark.parametrize(("kind", "use_bias"), ordinary(CASES, {(eqx.nn.LSTMCell, False), (eqx.nn.GRUCell, True)}))
def test_what_equinox_computes(kind: Any, use_bias: bool, wide: None) -> None:
    cell = kind(D, N, use_bias=use_bias, key=KEY)
    layer = from_equinox(cell)

    def theirs(cell: Any) -> Any:
        outputs, _ = scanned(cell, jnp.asarray(WIDE[0]))
        return outputs[0] if kind is eqx.nn.LSTMCell else outputs

    y, final = eqx.filter_jit(layer)(WIDE[0])
    np.testing.assert_allclose(y, jax.jit(theirs)(cell), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(final.h, y[-1])
    found = jax.jit(jax.grad(lambda layer: (layer(WIDE[0])[0] ** 2).sum()))(layer)
    want = jax.jit(jax.grad(lambda cell: (theirs(cell) ** 2).sum()))(cell)
    for a, b in zip(jax.tree.leaves(to_equinox(found)), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    same(to_equinox(layer), cell)


def test_mapped_sequences_are_one_call() -> None:
    layer = RNN("gru", D, N, key=KEY)
    x = jnp.asarray(X)
    y, final = jax.vmap(layer)(x)
    want, want_final = layer.function(jnp.swapaxes(x, 0, 1), layer.params)
    same((jnp.swapaxes(y, 0, 1), final), (want, want_final))
    text = jax.jit(jax.vmap(lambda x: layer(x)[0])).lower(x).as_text()
    assert len(re.findall(r"custom_call @derive", text)) == 1 and "while" not in text
    same(layer(x), (y, final))  # axes of sequences may be there too
    lengths = np.array([5, 0, 2])
    y, final = jax.vmap(lambda x, n: layer(x, length=n, reverse=True))(x, lengths)
    want, want_final = layer.function(jnp.swapaxes(x, 0, 1), layer.params, lengths=lengths, reverse=True)
    same((jnp.swapaxes(y, 0, 1), final), (want, want_final))


def test_states_and_other_inputs() -> None:
    layer = RNN("lstm_resettable", D, N, key=KEY)
    begin, reset = layer.function.State(jnp.ones(N), jnp.ones(N)), np.array([False, False, True, False, False])
    (y, final), (again, last) = layer(X[0], begin, reset=reset), layer(X[0, 2:], reset=reset[3:].repeat(2)[:3])
    same((y[2:], final), (again, last))
    before, _ = layer(X[0], tuple(begin), reset=reset)
    same(before, y)


def test_a_cell_of_ones_own_in_a_program() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev) - h_prev / 2", name="own", output="h")
    layer = eqx.filter_jit(lambda key: RNN(cell, D, N, key=key))(KEY)
    same(layer.params, RNN(cell, D, N, key=KEY).params)
    y, _ = eqx.filter_jit(lambda layer, x: layer(x))(layer, X[0])
    same(y, layer(X[0])[0])
    assert layer.input_size == D and layer.hidden_size == N and layer.params.W.dtype == jnp.float32


def test_float64_where_jax_has_it(wide: None) -> None:
    assert RNN("gru", D, N, key=KEY).params.W_r.dtype == jnp.float64


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: RNN("grru", D, N, key=KEY), ValueError, "generated has no cell `grru`"),
        (lambda: RNN("gru", D, key=KEY), TypeError, "gru: needs the sizes d, n, got d"),
        (lambda: RNN("gru", D, N, m=2, key=KEY), TypeError, "gru: needs the sizes d, n, got d, m, n"),
        (lambda: RNN("gru", D, N, key=KEY)(X[0, 0]), ValueError, r"gru: x has shape \(2,\), needs \(…, T, d\)"),
        (lambda: RNN("gru", D, N, key=KEY)(X[0, :, :1]), ValueError, r"gru: x has shape \(5, 1\), needs \(T, d\) = \(5, 2\)"),
        (
            lambda: RNN("gru", D, N, key=KEY)(X[0], (np.ones(N + 1, np.float32),)),
            ValueError,
            r"gru: state\.h has shape \(5,\), needs \(n,\) = \(4,\)",
        ),
        (lambda: RNN("gru", D, N, key=KEY)(X[0], length=6), ValueError, "gru: lengths must lie in 0 … T = 5"),
        (lambda: from_equinox(eqx.nn.Linear(D, N, key=KEY)), ValueError, "needs one of Equinox's cells LSTMCell, GRUCell, got Linear"),
        (lambda: to_equinox(RNN("mgu", D, N, key=KEY)), ValueError, "mgu: Equinox has no cell of its equations; it has those of lstm"),
    ],
)
def test_errors_name_the_argument(call: Callable[[], Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_an_equinox_that_was_not_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "TRIED", ((0, 1), (0, 2)))
    with pytest.warns(RuntimeWarning, match=r"Equinox [\d.]+ was not tried with this package"):
        version.tell()


def test_who_imports_equinox() -> None:
    missing = "import sys, generated.jax\nassert 'equinox' not in sys.modules\nsys.modules['equinox'] = None\n"
    missing += "try: import generated.equinox\nexcept ImportError as error: print(error)"
    assert python(missing) == "these layers need Equinox: `pip install 'derive-rnn[equinox]'`\n"
