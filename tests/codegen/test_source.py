"""The tree of emitted code: what statements read, define and need."""

from __future__ import annotations

import pytest

from derive.codegen.source import Source, Tree, add, assign, block, code, do, free, merged, name, needed, printed

LOOP = code("for j in range({}):", name("n"))
IF = code("if {}:", name("keep"))


def test_a_name_is_free_where_it_is_read_before_it_is_defined() -> None:
    again: list[Tree] = [assign("x", name("params")), assign("params", name("x")), do(name("params"))]
    assert free(again) == {"params"}
    assert free(again[1:]) == {"x"}
    assert free([assign("s", Source("0")), block(LOOP, [add("s", name("j"))], defines=("j",))]) == {"n"}
    assert free([add("s", name("j"))]) == {"s", "j"}


def test_what_is_needed_brings_what_it_reads() -> None:
    candidates = [assign("a", Source("1")), assign("b", name("a")), assign("c", name("a"))]
    assert printed(needed(candidates, [do(name("b"))])) == ["a = 1", "b = a"]
    assert needed(candidates, [assign("b", Source("2")), do(name("b"))]) == []


def test_conditions_are_merged_and_loops_are_not() -> None:
    pair = [block(IF, [do(name("x"))]), block(IF, [do(name("y"))])]
    assert printed(merged(pair)) == ["if keep:", "    x", "    y"]
    loops = [block(LOOP, [part], defines=("j",)) for part in pair]
    assert merged(loops) == loops
    assert printed(merged([block(LOOP, pair, defines=("j",))])) == ["for j in range(n):", "    if keep:", "        x", "        y"]


def test_an_expression_is_not_a_part_of_a_string() -> None:
    with pytest.raises(TypeError, match="put it into another by `code`"):
        f"{name('x')}"
