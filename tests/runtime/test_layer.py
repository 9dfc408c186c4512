"""What stands around passes is asked for a record and a table of its shapes: for a third pass, as for the first two."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import assert_same_bits, generated

from derive.runtime.common.layer import BY_SEQUENCE, OVER_TIME

T, B, D, N = 4, 3, 2, 5
LENGTHS = (2, 4, 1)
TABLE = {"a": (("n",), 1), "m": (("n", "d"), 0), "l": ((), 0)}  # of what a pass might keep beside what the forward pass keeps
KINDS = {"whole": {}, "ragged": {"lengths": LENGTHS}, "reverse": {"lengths": LENGTHS, "reverse": True}}


class Kept(NamedTuple):
    a: Any
    m: Any
    l: Any  # noqa: E741


def call_of(kind: str) -> Any:
    module = generated("lstm")
    options = {"lengths": None, "reverse": False, **KINDS[kind]}
    call, _, _ = module.LAYER.call(
        module.Inputs(np.zeros((T, B, D))), module.init(D, N, dtype=np.float64), None, None, **options, keep=True
    )
    return call


def record(call: Any) -> Kept:
    """What a pass keeps, as rows."""
    widths = {"a": N, "m": N * D, "l": 1}
    rows = {name: call.rows.count + TABLE[name][1] * call.batch for name in TABLE}
    return Kept(*(np.random.default_rng(0).standard_normal((rows[name], widths[name])) for name in TABLE))


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_another_pass_is_kept_and_read_again(kind: str) -> None:
    layer, call = generated("lstm").LAYER, call_of(kind)
    rows = record(call)
    kept = layer.kept(call, rows, TABLE)
    if kind == "whole":
        assert [value.shape for value in kept] == [(T + 1, B, N), (T, B, N, D), (T, B)]
    again = layer.rows_of(call, kept, Kept, TABLE, "tape2.saved")
    assert type(again) is Kept
    assert_same_bits(tuple(again), tuple(rows))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_as_the_table_says_is_named(kind: str) -> None:
    layer, call = generated("lstm").LAYER, call_of(kind)
    kept = layer.kept(call, record(call), TABLE)
    needed = r"\(T, B, n, d\) = \(4, 3, 5, 2\)" if kind == "whole" else r"\(rows, n, d\) = \(7, 10\)"
    for wrong, message in (
        (kept._replace(m=kept.m[1:]), rf"lstm: tape2.saved.m has shape .*, needs {needed}"),
        (kept._replace(m=kept.m.astype(np.float32)), "lstm: tape2.saved.m is float32, but the tape is float64"),
        (kept._replace(m=[1.0]), "lstm: tape2.saved.m must be a NumPy array, got list"),
        (None, "lstm: tape2.saved.a must be a NumPy array, got NoneType"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            layer.rows_of(call, wrong, Kept, TABLE, "tape2.saved")


def test_cotangents_of_what_any_pass_hands_out() -> None:
    layer, call = generated("lstm").LAYER, call_of("whole")
    for lead, need in ((OVER_TIME, (T, B, N, D)), (BY_SEQUENCE, (B, N, D)), ((), (N, D))):
        zero = layer.cotangent(call, None, "u.W_i", lead, ("n", "d"))
        assert zero.shape == need and zero.dtype == np.float64 and not zero.any()
        given = np.ones(need)
        assert layer.cotangent(call, given, "u.W_i", lead, ("n", "d")) is given
        with pytest.raises(ValueError, match=rf"^lstm: u.W_i has shape .*, needs \({', '.join((*lead, 'n', 'd'))}\) = "):
            layer.cotangent(call, given[:-1], "u.W_i", lead, ("n", "d"))
    state = layer.state_cotangent(call, None, "dfinal2")
    assert [value.shape for value in state] == [(B, N), (B, N)]
    with pytest.raises(ValueError, match=r"^lstm: dfinal2.h has shape \(2, 5\), needs \(B, n\) = \(3, 5\)$"):
        layer.state_cotangent(call, state._replace(h=state.h[1:]), "dfinal2")


@pytest.mark.parametrize("kind", KINDS)
def test_results_come_back_in_the_callers_order(kind: str) -> None:
    layer, call = generated("lstm").LAYER, call_of(kind)
    values = np.random.default_rng(1).standard_normal((T, B, N, D))
    running = np.arange(T)[:, None] < np.asarray(KINDS[kind].get("lengths", [T] * B))
    found = layer.as_given(call, layer.gather(call, values), OVER_TIME, ("n", "d"))
    np.testing.assert_array_equal(found, values * running[:, :, None, None])
    np.testing.assert_array_equal(layer.as_given(call, layer.sort(call, values[0]), BY_SEQUENCE, ("n", "d")), values[0])
    assert layer.as_given(call, None, OVER_TIME, ("n",)) is None


def test_a_tape_of_another_pass_is_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match=r"^lstm\.twice: tape2 must be a lstm\.Saved, got a builtins\.int$"):
        generated("lstm").LAYER.check_given(3, "twice", "tape2", "Saved")
