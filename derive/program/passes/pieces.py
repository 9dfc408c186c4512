"""Which values over time need memory for a piece of the steps only.

A cotangent that the loop lays down is read after it: by the product that makes an input's gradient, and by the sums that are gradients of
parameters.  Both take rows, those of any steps.  So the loop may run some steps, what follows may do its part for them, and the next steps
may use the same memory again, which is in the cache still.  Only what is handed out or kept has rows of all steps then.

Needs: a program with all its places.  Leaves: arrays of a piece, where it can be run so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...calculus.ir import Total
from ..imperative import Program


def pieces(program: Program, lasting: Iterable[str]) -> Program:
    """Return a program whose working arrays over time have rows of a piece.

    Parameters
    ----------
    program : Program
    lasting : names
        The arrays that are handed out or kept.
    """
    if not _can_be_parted(program):
        return program
    rec = program.rec
    early = replace(program, loop=(), after=()).written_arrays()
    whole = {*rec.sequences, *rec.contexts, *lasting, *early}
    found = {
        name: replace(array, space="piece") if array.space == "sequence" and not array.extra and name not in whole else array
        for name, array in program.arrays.items()
    }
    return replace(program, arrays=found)


def _can_be_parted(program: Program) -> bool:
    """Say whether all that follows the loop is products and sums of rows, each of one step."""
    rec, sums = program.rec, program.rec.accumulators
    read = [product.vector.array for stage in program.after for product in stage.products]
    operands = [name for eq in sums for name in eq.node.operands()]
    if not program.loop or any(stage.loops for stage in program.after) or any(name not in program.places for name in operands):
        return False
    read += [program.places[name].array for name in operands]
    by_sequence = any(isinstance(eq.node, Total) and rec.types[eq.name].batched for eq in sums)
    return not by_sequence and all(program.arrays[name].space == "sequence" for name in read)
