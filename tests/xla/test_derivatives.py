"""All that JAX differentiates and maps, beside what it makes of the cell's own text under `lax.scan`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import generated, ordinary

jax = pytest.importorskip("jax")

from helpers.scans import called, leaves_of, scanned, weighted  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from derive.cells import SECOND, SHIPPED  # noqa: E402
from derive.verify.problem import sample  # noqa: E402
from generated.jax import function  # noqa: E402

T, B, D, N = 4, 2, 2, 3
CHOSEN = {"lstm"}
random = np.random.default_rng(0)
rnn = generated("rnn")


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def close(found: Any, want: Any) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), found, want)


def drawn(*lead: int) -> Any:
    """Return an input, parameters and a state of the RNN."""
    params = rnn.Params(*[random.standard_normal((*lead, *value.shape)) for value in rnn.init(D, N)])
    return random.standard_normal((*lead, T, B, D)), params, rnn.State(random.standard_normal((*lead, B, N)))


def bent(f: Any) -> Callable[..., Any]:
    """Return a loss that is not linear in output and state."""

    def loss(x: Any, params: Any, state: Any) -> Any:
        y, final = f(x, params, state)
        return (y**3).sum() + jnp.sin(final.h).sum()

    return loss


def along(f: Any) -> Callable[..., Any]:
    """Return the derivative of the loss along `MOVED`."""
    return lambda *at: jax.jvp(bent(f), at, MOVED)[1]


def blocks(f: Any) -> Callable[..., Any]:
    """Return a sequence in blocks, by a scan around the cell."""

    def run(x: Any, params: Any, state: Any) -> Any:
        def block(state: Any, x: Any) -> Any:
            y, state = f(x, params, state)
            return state, y

        final, y = jax.lax.scan(block, state, x.reshape(2, T // 2, B, D))
        return y.reshape(T, B, N), final

    return run


def of_input(f: Any, at: Any) -> Any:
    return partial(_swapped, f, *at[1:]), at[0]


def _swapped(f: Any, params: Any, state: Any, x: Any) -> Any:
    return f(x, params, state)


AT, MOVED, TWO = drawn(), drawn(), drawn(2)
EVERY = (0, 1, 2)
ASKED: dict[str, Callable[[Any], Any]] = {
    "jvp": lambda f: jax.jvp(f, AT, MOVED),
    "jvp by an input": lambda f: jax.jvp(of_input(f, AT)[0], (AT[0],), (MOVED[0],)),
    "linearize": lambda f: jax.linearize(f, *AT)[1](*MOVED),
    "grad by an input": lambda f: jax.grad(bent(f))(*AT),
    "grad by parameters": lambda f: jax.grad(bent(f), 1)(*AT),
    "grad by states": lambda f: jax.grad(bent(f), 2)(*AT),
    "linear_transpose": lambda f: jax.linear_transpose(jax.linearize(of_input(f, AT)[0], AT[0])[1], AT[0])(f(*AT)),
    "jacfwd": lambda f: jax.jacfwd(f, EVERY)(*AT),
    "jacrev": lambda f: jax.jacrev(f, EVERY)(*AT),
    "jvp of grad": lambda f: jax.jvp(jax.grad(bent(f), EVERY), AT, MOVED)[1],
    "grad of jvp": lambda f: jax.grad(along(f), EVERY)(*AT),
    "grad of grad": lambda f: jax.grad(
        lambda *at: sum(map(jnp.vdot, jax.tree.leaves(jax.grad(bent(f), EVERY)(*at)), jax.tree.leaves(MOVED))), EVERY
    )(*AT),
    "hessian by inputs": lambda f: jax.hessian(bent(f))(*AT),
    "hessian by states": lambda f: jax.hessian(bent(f), 2)(*AT),
    "jacrev of jacrev": lambda f: jax.jacrev(jax.jacrev(bent(f)))(*AT),
    "jacrev of jacfwd": lambda f: jax.jacrev(jax.jacfwd(bent(f)))(*AT),
    "vmap": lambda f: jax.vmap(f)(*TWO),
    "vmap over inputs": lambda f: jax.vmap(f, (2, None, None))(np.moveaxis(TWO[0], 0, 2), *AT[1:]),
    "vmap over parameters": lambda f: jax.vmap(f, (None, 0, None))(AT[0], TWO[1], AT[2]),
    "gradients of each sample": lambda f: jax.vmap(jax.grad(bent(f), 1), (0, None, 0))(TWO[0], AT[1], TWO[2]),
    "gradients by each sample": lambda f: jax.vmap(jax.grad(bent(f), 0), (0, None, 0))(TWO[0], AT[1], TWO[2]),
    "grad of vmap": lambda f: jax.grad(lambda params: jax.vmap(bent(f), (0, None, 0))(TWO[0], params, TWO[2]).sum())(AT[1]),
    "scan around it": lambda f: blocks(f)(*AT),
    "grad of scan": lambda f: jax.grad(bent(blocks(f)), EVERY)(*AT),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(bent(f)), EVERY)(*AT),
    "checkpoint in scan": lambda f: jax.grad(bent(blocks(jax.checkpoint(f))), EVERY)(*AT),
    "jvp of grad of scan": lambda f: jax.jvp(jax.grad(bent(blocks(f)), EVERY), AT, MOVED)[1],
}


@pytest.mark.parametrize("asked", ASKED)
def test_all_that_may_be_asked(asked: str) -> None:
    found, want = (jax.jit(partial(ASKED[asked], f))() for f in (function("rnn"), scanned(SHIPPED["rnn"], rnn)))
    close(found, want)


@pytest.mark.parametrize("name", ordinary(SECOND, CHOSEN))
def test_second_order_of_cells(name: str) -> None:
    """The Hessian times a direction, in three ways."""
    module, p = generated(name), sample(SHIPPED[name], steps=3, batch=2, seed=1)
    at = leaves_of(p)
    v = {name: random.standard_normal(value.shape) for name, value in at.items()}

    def products(f: Any) -> Any:
        def loss(leaves: Any) -> Any:
            return jnp.sin(weighted(called(f, p, module, leaves), p))

        def slope(leaves: Any) -> Any:
            return sum(jnp.vdot(grad, v[name]) for name, grad in jax.grad(loss)(leaves).items())

        return jax.jvp(jax.grad(loss), (at,), (v,))[1], jax.grad(slope)(at), jax.grad(lambda at: jax.jvp(loss, (at,), (v,))[1])(at)

    found, want = (jax.jit(partial(products, f))() for f in (function(name), scanned(SHIPPED[name], module)))
    for name, value in want[0].items():
        for product in found:
            np.testing.assert_allclose(product[name], value, rtol=0, atol=1e-10 * max(1.0, np.abs(value).max()), err_msg=name)


def test_a_mapped_input_is_one_call() -> None:
    """Unless parameters are mapped, or have gradients of their own."""

    def calls(f: Any, *given: Any) -> int:
        return str(jax.jit(f).lower(*given).as_text()).count("custom_call @derive")

    f = function("rnn")
    assert calls(jax.vmap(f), *TWO) == 1  # in a loop
    assert "while" not in jax.jit(jax.vmap(f, (0, None, 0))).lower(TWO[0], AT[1], TWO[2]).as_text()
    assert calls(jax.vmap(jax.grad(bent(f)), (0, None, 0)), TWO[0], AT[1], TWO[2]) == 2


def test_a_mapped_axis_of_no_elements() -> None:
    f, (x, params, state) = function("rnn"), drawn()
    none = np.zeros((0, *x.shape))
    assert jax.vmap(f, (0, None, None))(none, params, state)[0].shape == (0, T, B, N)
    assert jax.vmap(jax.grad(bent(f), 1), (0, None, None))(none, params, state).W.shape == (0, N, D)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda: jax.jacfwd(jax.jacfwd(bent(function("rnn"))))(*AT), "rnn: forward mode of forward mode is not offered: take one of both"),
        (lambda: jax.grad(lambda x: jax.hessian(bent(function("rnn")))(x, *AT[1:]).sum())(AT[0]), "a third derivative of a recurrent cell"),
        (
            lambda: jax.jvp(lambda x: function("ugrnn")(x, UGRNN), (AT[0],), (AT[0],)),
            r"ugrnn.tangent: .* `derive generate --order 2` makes one",
        ),
        (
            lambda: jax.hessian(lambda x: function("ugrnn")(x, UGRNN)[0].sum())(AT[0]),
            r"ugrnn\.\w+: this module was generated without second",
        ),
    ],
)
def test_what_is_not_offered(asked: Callable[[], Any], message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        asked()


UGRNN = generated("ugrnn").init(D, N, dtype=np.float64)


def test_calls_by_way_of_python_keep_wide_numbers_wide() -> None:
    """XLA may run them on a thread that the context of this test does not reach."""
    module = generated("lstm")
    at = module.Params(*[random.standard_normal(value.shape) for value in module.init(D, N)])

    def loss(params: Any, **options: Any) -> Any:
        return (function("lstm")(AT[0], params, **options)[0] ** 2).sum()

    close(jax.hessian(partial(loss, lengths=np.full(B, T)))(at), jax.hessian(loss)(at))
