"""Sequences on two devices: by `jit` from where arrays lie, and in `shard_map`; numbers are those of one device."""

from __future__ import annotations

import pytest
from conftest import python

pytest.importorskip("jax")

TWO = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}

BEGIN = """
import re
import jax, numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from generated.jax import gru

def on(kind):
    return jax.make_mesh((2,), ("batch",), axis_types=(kind,))

def loss(params, x):
    return (gru(x, params)[0] ** 2).sum()

def hvp(params, x):
    return jax.jvp(lambda params: jax.grad(loss)(params, x), (params,), (params,))[1]

def twice(params, x):
    return jax.grad(lambda params: sum((leaf ** 2).sum() for leaf in jax.tree.leaves(jax.grad(loss)(params, x))))(params)

def same(found, want):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

grads = jax.grad(loss, argnums=(0, 1))
params, x = gru.init(2, 4), np.random.default_rng(0).standard_normal((5, 6, 2)).astype(np.float32)
wants = {f: jax.jit(f)(params, x) for f in (grads, hvp, twice)}
assert len(jax.devices()) == 2
"""

BY_JIT = """
def put(kind, values, *spec):
    return jax.device_put(values, NamedSharding(on(kind), P(*spec)))

def gathers(program, *given):
    return len(re.findall(r"all-gather\\(", program.lower(*given).compile().as_text()))

for kind in (AxisType.Auto, AxisType.Explicit):
    given = put(kind, params), put(kind, x, None, "batch")
    for function, want in wants.items():
        program = jax.jit(function)
        same(program(*given), want)
        assert gathers(program, *given) == 0
    by_params, by_x = jax.jit(grads)(*given)
    assert by_x.sharding.spec[1] == "batch" and by_params.W_r.sharding.is_fully_replicated
    forward = jax.jit(lambda params, x: gru(x, params)[0])
    np.testing.assert_array_equal(forward(*given), forward(params, x))

    for given in (
        (put(kind, params), put(kind, x, None, None, "batch")),  # by features
        (jax.tree.map(lambda value: put(kind, value, "batch"), params), put(kind, x, None, "batch")),  # parameters too, by rows
    ):
        same(jax.jit(grads)(*given), wants[grads])

auto = AxisType.Auto

odd = x[:, :5]
unequal = jax.jit(lambda params, x: grads(params, lax.with_sharding_constraint(x, NamedSharding(on(auto), P(None, "batch")))))
same(unequal(put(auto, params), put(auto, odd)), jax.jit(grads)(params, odd))

lengths = np.array([5, 4, 3, 2, 1, 0], np.int32)
ragged = jax.jit(lambda params, x, lengths: gru(x, params, lengths=lengths)[0])
found = ragged(put(auto, params), put(auto, x, None, "batch"), put(auto, lengths, "batch"))
np.testing.assert_array_equal(found, ragged(params, x, lengths))
"""

BY_HAND = """
def sharded(function, out=P(), **options):
    in_specs = P(), P(None, "batch")
    return jax.jit(jax.shard_map(function, mesh=on(AxisType.Auto), in_specs=in_specs, out_specs=out, **options))(params, x)

# Where JAX keeps account of what varies, gradients by what does not are summed; elsewhere the caller sums them.
for function in (hvp, twice):
    same(sharded(function), wants[function])
same(sharded(grads, (P(), P(None, "batch"))), wants[grads])
by_params = jax.grad(loss)
same(sharded(lambda params, x: lax.psum(by_params(params, x), "batch"), check_vma=False), wants[grads][0])
same(sharded(lambda params, x: jax.grad(lambda params: lax.psum(loss(params, x), "batch"))(params)), wants[grads][0])
each = jax.vmap(by_params, (None, 1))
same(sharded(lambda params, x: jax.tree.map(lambda value: value.sum(0), each(params, x[:, :, None]))), wants[grads][0])
found = sharded(lambda params, x: gru(x, params, lengths=np.array([5, 3, 1]))[0], P(None, "batch"))
np.testing.assert_array_equal(found, gru(x, params, lengths=np.array([5, 3, 1, 5, 3, 1]))[0])
"""


@pytest.mark.parametrize("program", [BY_JIT, BY_HAND], ids=["jit", "shard_map"])
def test_two_devices_have_the_numbers_of_one(program: str) -> None:
    assert python(BEGIN + program, **TWO) == ""
