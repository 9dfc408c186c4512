"""Products that leave out the zeros of spikes: the same bits as the dense ones, and no more than they say is touched."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits

from derive.runtime.cpu.memory import empty
from derive.runtime.cpu.openmp import LIGHT, WAKING
from derive.runtime.cpu.outer import outer_sums, workspace
from derive.runtime.cpu.product import STEPS, multiply, panels
from derive.runtime.cpu.spikes import SMALL, multiply_spikes, outer_spikes, spike_room
from derive.runtime.cpu.threads import ready

DTYPES = (np.float32, np.float64)
ACTIVITIES = (0, 0.01, 0.1, 0.3, 1)


def spikes(rng: np.random.Generator, shape: tuple[int, ...], activity: float, dtype: type) -> np.ndarray:
    """Return spikes of which a few have other values than 1: a state before the first step may have any."""
    values = np.where(rng.random(shape) < 0.1, rng.standard_normal(shape), 1)
    return (values * (rng.random(shape) < activity)).astype(dtype)


def framed(rng: np.random.Generator, shape: tuple[int, int], dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Return an array of random numbers, and a part of it of the given shape with some of it all around."""
    whole = rng.standard_normal((shape[0] + 2, shape[1] + 24)).astype(dtype)
    return whole, whole[1:-1, 3:-21]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
def test_a_product_has_the_bits_of_the_dense_one_and_touches_nothing_else(dtype: type, accumulate: bool) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in [(1, 64, 64), (5, 65, 63), (9, 130, 129), (16, STEPS, 128), (3, STEPS + 1, 47), (2, 2 * STEPS + 3, 300), (0, 80, 80)]:
        packed = panels(rng.standard_normal((k, n)).astype(dtype))
        for activity in ACTIVITIES:
            s = spikes(rng, (m, k + 2), activity, dtype)[:, 1:-1]
            (expected, inside), found = framed(rng, (m, n), dtype), np.empty((m + 2, n + 24), dtype)
            found[...] = expected
            multiply(s, packed, inside, accumulate)
            multiply_spikes(s, packed, found[1:-1, 3:-21], accumulate)
            assert_same_bits(found, expected)


def summed(function: Any, parts: int, how: int, u: np.ndarray, v: Any, w: np.ndarray, outs: list[Any], add: bool) -> None:
    """Sum outer products in memory of just the size that is asked for, with a guard at its end."""
    (p, q), columns = (u.shape[1], w.shape[1]), sum(x.shape[1] for x in (v, w) if x is not None)
    least = workspace(u.dtype, len(u), parts, (p, columns), least=spike_room(p, q, u.dtype)).size
    memory = empty((least + 16,), u.dtype, aligned=True)
    memory[least:] = 7
    if how == WAKING:
        ready()
    function(parts, how, memory, u, v, outs[0], w, outs[1], outs[2], add)
    assert (memory[least:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts, how", [(1, LIGHT), (2, WAKING), (5, WAKING)])
def test_sums_have_the_bits_of_the_dense_ones_and_touch_nothing_else(dtype: type, parts: int, how: int) -> None:
    rng = np.random.default_rng(1)
    for (total, p, q), add in itertools.product([(0, 70, 70), (3, 128, 64), (STEPS + 5, 65, 97), (3 * STEPS, 140, 300)], (False, True)):
        u, v = (rng.standard_normal((total, width + 5)).astype(dtype)[:, 2:-3] for width in (p, 9))
        for activity in ACTIVITIES:
            w = spikes(rng, (total, q + 1), activity, dtype)[:, 1:]
            frames = [framed(rng, (p, width), dtype) for width in (9, q)] + [framed(rng, (1, p), dtype)]
            for given, of_v in ((v, frames[0][1]), (None, None)):
                results = []
                for function in (outer_sums, outer_spikes):
                    whole = [frame.copy() for frame, _ in frames]
                    outs = [frame[1:-1, 3:-21] for frame in whole]
                    summed(function, parts, how, u, given, w, [None if of_v is None else outs[0], outs[1], outs[2][0]], add)
                    results.append(whole)
                for found, expected in zip(*results, strict=True):
                    assert_same_bits(found, expected)


def test_zeros_are_left_out_where_they_are_many() -> None:
    """What a zero is multiplied with is not looked at: a weight that is no number shows where its neuron spikes, and only there."""
    weights, s = np.zeros((80, 80)), np.zeros((8, 80))
    weights[3], s[5, 3] = np.nan, 1
    out, sums = np.empty((8, 80)), np.empty((80, 80))
    multiply_spikes(s, panels(weights), out, False)
    assert [*np.flatnonzero(np.isnan(out).any(1))] == [5]
    cotangents = np.full((8, 80), np.nan)
    cotangents[5] = 1
    summed(outer_spikes, 1, LIGHT, cotangents, None, s, [None, sums, None], False)
    expected = np.zeros((80, 80))
    expected[:, 3] = 1
    assert_same_bits(sums, expected)
    full = np.ones((8, 80))
    multiply_spikes(full, panels(weights), out, False)
    assert np.isnan(out).all()


def test_small_products_are_dense() -> None:
    size = int(SMALL**0.5) - 1
    weights, s, out = np.full((size, size), np.nan), np.zeros((8, size)), np.empty((8, size))
    multiply_spikes(s, panels(weights), out, False)
    assert np.isnan(out).all()
