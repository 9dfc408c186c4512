"""Work shared out among processes: the same as done here, whatever their number."""

from __future__ import annotations

import os

import pytest

from derive.language.errors import CellError
from derive.site import shared_out as module
from derive.site.shared_out import FEW, shared_out

MANY = [*range(5 * FEW)]


def _seen(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def _refused(number: int) -> int:
    if number == FEW:
        raise CellError("no square", 1, 2, "x = 3")
    return number


@pytest.mark.parametrize("processors", [1, 2, 3])
def test_results_are_in_the_order_of_the_things(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(module, "_processors", lambda: processors)
    found = shared_out(_seen, MANY)
    assert [square for square, _ in found] == [number * number for number in MANY]
    assert ({process for _, process in found} == {os.getpid()}) == (processors == 1)


def test_few_things_are_done_here() -> None:
    assert {process for _, process in shared_out(_seen, MANY[:FEW])} == {os.getpid()}


@pytest.mark.parametrize("processors", [1, 2])
def test_an_error_is_that_of_the_function(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    monkeypatch.setattr(module, "_processors", lambda: processors)
    with pytest.raises(CellError, match="no square") as caught:
        shared_out(_refused, MANY)
    assert (caught.value.line, caught.value.text) == (1, "x = 3")
