"""Arrays over time that the caller has as rows, a `PackedSequence`'s: each result has the bits of the call with lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import generated

from derive.cells import get
from derive.verify.problem import sample
from generated.runtime.cpu.addresses import Running
from generated.training import tree_leaves

LENGTHS = np.array([6, 6, 4, 1])  # longest first
STEPS, BATCH = 6, len(LENGTHS)
HERE = np.arange(STEPS)[:, None] < LENGTHS
RUNNING = Running(HERE.sum(1))


def given(name: str, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    """Return a module, a problem, and its cotangent of the final state."""
    module, p = generated(name), sample(get(name), steps=STEPS, batch=BATCH, seed=2).cast(dtype)
    return module, p, module.State(**p.dfinal)


def rows(value: Any) -> Any:
    """Return an array `(T, B, ·)` as rows."""
    return value[HERE]


def same(got: Any, want: Any) -> None:
    for a, b in zip(tree_leaves(got), tree_leaves(want), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["gru", "slstm", "cornn"])
def test_rows_are_the_call_with_lengths(name: str, reverse: bool) -> None:
    module, p, dfinal = given(name)
    params, state = module.Params(**p.parameters), module.State(**p.states)
    x, options = p.arrays["x"], {"reverse": reverse}
    y, final, tape = module.forward(x, params, state, lengths=LENGTHS, **options)
    y_rows, final_rows, tape_rows = module.forward(rows(x), params, state, lengths=RUNNING, **options)
    same((y_rows, *final_rows), (rows(y), *final))
    same(module.infer(rows(x), params, state, lengths=RUNNING, **options)[:1], (rows(y),))
    grads, tape2 = module.backward(p.dy, tape, dfinal, second=True)
    found, tape2_rows = module.backward(rows(p.dy), tape_rows, dfinal, second=True)
    same(found, grads._replace(x=rows(grads.x)))
    same(module.backward(rows(p.dy), tape_rows, dfinal), found)
    second = module.backward_backward(grads, tape2)
    second_rows = module.backward_backward(found, tape2_rows)
    same(second_rows, second._replace(dy=rows(second.dy), x=rows(second.x)))
    tangent, ends = module.tangent(grads, tape)
    tangent_rows, ends_rows = module.tangent(found, tape_rows)
    same((tangent_rows, *ends_rows), (rows(tangent), *ends))


def test_no_rows_and_no_steps() -> None:
    module, p, _ = given("gru", np.float32)
    params = module.Params(**p.parameters)
    y, final, tape = module.forward(p.arrays["x"][:0, 0], params, None, lengths=Running(np.zeros(0, np.int64)))
    assert y.shape == (0, y.shape[1]) and final.h.shape[0] == 0
    assert not any(value.any() for value in module.backward(y, tape).params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3}, r"gru: x has shape \(3, \d\), needs \(rows, d\) with 17 rows"),
        ({"tape": "recompute"}, 'gru: tape must be "full" where arrays have rows'),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    module, p, _ = given("gru")
    options = {"tape": change["tape"]} if "tape" in change else {}
    with pytest.raises(ValueError, match=message):
        module.forward(rows(p.arrays["x"])[: change.get("count")], module.Params(**p.parameters), lengths=RUNNING, **options)
