"""Gradients that a caller asks for: those of all, bit for bit, and the products of the others are not made."""

from __future__ import annotations

import ast
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HARD, assert_same_bits, generated, leaves
from test_sequences import FURTHER, LENGTHS, STEPS, Given

from derive.cells import SHIPPED
from generated import lstm
from generated.cuda import lstm as lstm_there
from generated.runtime.cpu import memory

NAMES = (*HARD, "gated_deltanet", *(cell.name for cell in FURTHER))
WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"reverse": True},
    {"lengths": LENGTHS},
    {"tape": "recompute"},
    {"tape": "recompute", "lengths": LENGTHS},
)


def choices(grads: Any) -> Iterator[tuple[str, ...]]:
    """Yield each gradient by itself, all but one, and none."""
    for name in grads._fields:
        yield (name,)
        yield tuple(other for other in grads._fields if other != name)
    yield ()


@pytest.mark.parametrize("name", NAMES)
def test_they_have_the_bits_of_all(name: str) -> None:
    for options in WAYS:
        case = Given(name, options.get("lengths"))
        _, _, tape = case.forward(case.given, case.state, **options, **case.steps(STEPS))
        whole = case.module.backward(case.dy, tape, case.dfinal)
        for only in choices(whole):
            only = tuple(known for known in only if known not in case.module.LAYER.indices)
            for _ in range(3):  # the second call of a kind is recorded
                found = case.module.backward(case.dy, tape, case.dfinal, only=only)
                want = whole._replace(**{other: None for other in whole._fields if other not in only})
                assert [value is None for value in found] == [value is None for value in want]
                assert not leaves(want) or assert_same_bits(found, want) is None


@pytest.mark.parametrize("name", ["lstm", "gru_v3"])
def test_so_does_what_is_kept_for_a_double_backward(name: str) -> None:
    case = Given(name)
    _, _, tape = case.forward(case.given, case.state)
    whole, tape2 = case.module.backward(case.dy, tape, case.dfinal, second=True)
    only_x, lean = case.module.backward(case.dy, tape, case.dfinal, second=True, only=["x"])
    assert only_x.params is None and only_x.state is None
    assert_same_bits(only_x.x, whole.x)
    for u in (whole, whole._replace(params=None, state=None)):
        assert_same_bits(case.module.backward_backward(u, lean), case.module.backward_backward(u, tape2))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru_v3", "lsnn"])
def test_so_do_those_of_a_double_backward(name: str) -> None:
    """Where the gradient by dy is not asked for, the compiled passes are others, which do not write it."""
    for options in ({}, {"reverse": True}, {"lengths": LENGTHS}):
        case = Given(name, options.get("lengths"))
        _, _, tape = case.forward(case.given, case.state, **options)
        grads, tape2 = case.module.backward(case.dy, tape, case.dfinal, second=True)
        for u in (grads, grads._replace(params=None)):
            whole = case.module.backward_backward(u, tape2)
            for only in choices(whole):
                for _ in range(3):  # the second call of a kind is recorded
                    found = case.module.backward_backward(u, tape2, only=only)
                    want = whole._replace(**{other: None for other in whole._fields if other not in only})
                    assert [value is None for value in found] == [value is None for value in want]
                    assert not leaves(want) or assert_same_bits(found, want) is None


def test_memory_for_the_cotangents_of_cotangents_is_not_made_if_they_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    n, steps = 64, 500
    y, _, tape = lstm.forward(np.zeros((steps, 1, 4), np.float32), lstm.init(4, n))
    grads, tape2 = lstm.backward(y, tape, second=True, only=["x"])
    by_x = lstm.Grads(grads.x, None, None)

    def most(**options: Any) -> int:
        lstm.backward_backward(by_x, tape2, **options)  # the first compiles
        monkeypatch.setattr(memory, "_pool", memory._Pool())  # that has nothing which is idle
        tracemalloc.start()
        try:
            lstm.backward_backward(by_x, tape2, **options)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert most() - most(only=["dfinal", "x", "params", "state"]) > 0.9 * y.nbytes


@pytest.mark.parametrize("only", ["x", 3, ["z"], ("x", "W_i"), [None]])
@pytest.mark.parametrize("module", [lstm, lstm_there], ids=["cpu", "cuda"])
def test_what_is_no_gradient_is_said(module: Any, only: Any) -> None:
    said = r"lstm\.backward: only (must be a sequence of names, got|has .*, but there are gradients with respect to x, params, state)"
    with pytest.raises(ValueError, match=said):
        module.backward(None, None, only=only)
    with pytest.raises(ValueError, match=said.replace(".backward", ".backward_backward").replace("to x", "to dy, dfinal, x")):
        module.backward_backward(None, None, only=only)


def test_an_index_is_no_gradient() -> None:
    module = generated("softmax_cross_entropy")
    with pytest.raises(ValueError, match="but there are gradients with respect to"):
        module.backward(None, None, only=list(module.LAYER.indices))


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_sums_over_rows_are_made_for_parameters_that_are_asked_for(name: str) -> None:
    """In every cell, but where a double backward reads them; an input's gradient that is one product of all rows is made so too."""
    module = generated(name)
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    (work,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "backward_pass"]
    asked = [(ast.unparse(node.test), ast.unparse(node)) for node in ast.walk(work) if isinstance(node, ast.If)]
    of_params = "".join(text for test, text in asked if test == "with_params")
    read_again = module.LAYER.links and any(extra is None for _, extra in module.LAYER.links["backward"].saved.values())
    assert of_params.count("outer_sums(") == (0 if read_again else ast.unparse(work).count("outer_sums("))
    if name in ("lstm", "gru", "rnn"):
        assert of_params and any(test == "with_x" and "multiply_rows(" in text and re.search(r"\bdx\b", text) for test, text in asked)


def peak(tape: Any, y: np.ndarray, **options: Any) -> int:
    """Return the most bytes that a backward pass takes."""
    tracemalloc.start()
    try:
        lstm.backward(y, tape, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_for_a_gradient_that_is_not_asked_for_is_not_made() -> None:
    steps, wide = 2000, 3000
    params = lstm.init(wide, 4)
    for count in (1, steps):  # the first compiles
        y, _, tape = lstm.forward(np.zeros((count, 1, wide), np.float32), params)
        lstm.backward(y[:1], tape) if count == 1 else None
    assert peak(tape, y, only=["params"]) < steps * wide < peak(tape, y)
