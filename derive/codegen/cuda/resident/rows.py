"""Which row of an array a kernel that stays reads and writes: those of a step, of the one after it, of states before and after all."""

from __future__ import annotations

from ....program.imperative import Array
from ...source import PRODUCT, SUM, Source, code, name
from ..factory import Binding, bind

AHEAD = "_ahead"  # at the end of the names of the next step's rows


def rows_of(t: Source, suffix: str = "") -> list[Binding]:
    """Return what binds the rows of step `t`."""
    now, used = t.within(PRODUCT), ("index", "batch", "seq")
    following = code("{} + 1", t, binding=SUM)
    return [
        bind(f"row{suffix}", code("index({} * batch + seq)", now, uses=used)),
        bind(f"row_next{suffix}", code("index({} + batch)", name(f"row{suffix}"), uses=("index", "batch"))),
        bind(f"kept{suffix}", code("index({} + seq)", taped(t), uses=("index", "seq"))),
        bind(f"kept_next{suffix}", code("index({} + seq)", taped(following), uses=("index", "seq"))),
    ]


def taped(t: Source) -> Source:
    """Return the first row before step `t` of an array that a tape keeps: it has two steps' worth in turn if none is kept."""
    return code("({} if keep else {} % 2) * batch", t, t.within(PRODUCT), uses=("keep", "batch"), binding=PRODUCT)


def carried(t: Source) -> Source:
    """Return the first row before step `t` of an array that has two steps' worth in turn."""
    return code("{} % 2 * batch", t.within(PRODUCT), uses=("batch",), binding=PRODUCT)


def first_row(array: Array, t: Source) -> Source | None:
    """Return the first row of an array at step `t`; None for the array's first."""
    if array.space == "once":
        return None
    if array.space == "scratch":
        return code("before * batch", uses=("before", "batch"), binding=PRODUCT)
    if array.space == "tape":
        return taped(t)
    return carried(t) if array.space == "carry" else code("{} * batch", t.within(PRODUCT), uses=("batch",), binding=PRODUCT)


def row(array: Array, shift: int, suffix: str = "") -> Source:
    """Return the row of the thread's sequence at the step at hand, or after it; with `suffix`, at another step."""
    if array.space == "once":
        return name("seq")
    if array.space == "scratch":
        return code("index(before * batch + seq)", uses=("index", "before", "batch", "seq"))
    base = "kept" if array.space == "tape" else "row"
    return name(f"{base}{'_next' if shift else ''}{suffix}")


def row_to_store(array: Array, shift: int) -> Source:
    """Return the row of the thread's sequence in the device's memory, where what the step at hand computes is stored."""
    if array.space != "carry":
        return row(array, shift)
    t = code("t + {}", shift, uses=("t",), binding=SUM) if shift else name("t")
    return code("index({} + seq)", carried(t), uses=("index", "seq"))


def after(row: Source | None, more: Source) -> Source:
    """Return the row that is `more` after another."""
    return more if row is None else code("{} + {}", row, more, binding=SUM)


def sequence_after(row: Source | None) -> Source:
    """Return the row of the thread's sequence, where that of the first of the batch is `row`."""
    return name("seq") if row is None else code("index({} + seq)", row, uses=("index", "seq"))
