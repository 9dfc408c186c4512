"""What is counted of layers, ours and those of `torch.nn`, and which phases a cell has."""

from __future__ import annotations

from ..language.definition import Definition
from ..verify.problem import Problem
from .contender import sizes_of
from .network import network
from .peers import NO_LAYER, PEERS
from .phases import CELL, DOUBLE, PACKED, PRODUCTS, STEP, TRAINING
from .pytorch_layers import DIRECTIONS, lengths
from .work import operations


def absence(cell: Definition, phase: str) -> str:
    """Return why a cell has no row of a phase; empty if it has one."""
    missing = PEERS["torch.nn"].absence(cell, 0) == NO_LAYER
    if phase == CELL:
        return "" if missing else f"no row for {phase}: {cell.name} is a layer of torch.nn"
    return f"no row for {phase}: torch.nn has no layer of {cell.name}" if missing else ""


def operations_of(phase: str, p: Problem, work: int) -> int:
    """Return the operations of the products of a call; of a small one, whose time is not spent there, 0.

    `work` is that of one inference of the cell alone.
    """
    if phase == STEP:
        return work * PRODUCTS[TRAINING] + network(p).operations
    if phase == PACKED:
        return _packed(p) * PRODUCTS[TRAINING]
    return work * {DOUBLE: PRODUCTS[DOUBLE], CELL: PRODUCTS[TRAINING]}.get(phase, 0)


def _packed(p: Problem) -> int:
    """Return the operations of a forward pass of two layers in both directions: the second has the outputs of the first as its input."""
    d, n, rows = p.sizes["d"], p.sizes["n"], int(lengths(p).sum())
    return DIRECTIONS * sum(operations(p.cell, sizes_of(p.cell, width, n), 1, rows) for width in (d, DIRECTIONS * n))
