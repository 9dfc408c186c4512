"""Work shared out among processes: the same as done here, whatever their number."""

from __future__ import annotations

import ast
import threading

import pytest
from conftest import python

from derive.site.shared_out import FEW, shared_out

# In a process of its own: that of the tests may have what forbids copies of it.
BEGIN = """
import os
from derive.language.errors import CellError
from derive.site import shared_out as module
from derive.site.shared_out import FEW, shared_out
module._processors = lambda: {processors}
def seen(number):
    return number * number, os.getpid()
def refused(number):
    if number == FEW:
        raise CellError("no square", 1, 2, "x = 3")
    return number
"""
ALL = """
found = shared_out(seen, [*range(5 * FEW)])
print([square for square, _ in found], {process for _, process in found} == {os.getpid()})
"""
WRONG = """
try:
    shared_out(refused, [*range(5 * FEW)])
except CellError as error:
    print((error.line, error.text), "no square" in str(error))
"""


@pytest.mark.parametrize("processors", [1, 2, 3])
def test_results_are_in_the_order_of_the_things(processors: int) -> None:
    squares, _, here = python(BEGIN.format(processors=processors) + ALL).strip().rpartition(" ")
    assert ast.literal_eval(squares) == [number * number for number in range(5 * FEW)]
    assert here == str(processors == 1)


@pytest.mark.parametrize("processors", [1, 2])
def test_an_error_is_that_of_the_function(processors: int) -> None:
    assert python(BEGIN.format(processors=processors) + WRONG) == "(1, 'x = 3') True\n"


def test_few_things_are_done_here() -> None:
    few = "print({process for _, process in shared_out(seen, [*range(FEW)])} == {os.getpid()})"
    assert python(BEGIN.format(processors=2) + few) == "True\n"


def test_a_process_with_threads_is_not_copied() -> None:
    seen: list[int] = []  # of which a copy would have another
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    try:
        shared_out(seen.append, [*range(5 * FEW)])
    finally:
        ended.set()
        other.join()
    assert seen == [*range(5 * FEW)]
