"""Variants that any cell may have."""

from __future__ import annotations

from ..cell import Cell


def without_biases(cell: Cell) -> Cell:
    """Return ``<name>_nobias``: `cell` with zero for every parameter named `b` or `b_…`."""
    biases = {name: "0" for name in cell.parameters if name == "b" or name.startswith("b_")}
    started = "".join(f" With them goes the start of `{name}` at {cell.init[name]:g}." for name in biases if cell.init.get(name))
    return cell.replace(
        name=f"{cell.name}_nobias",
        title=f"{cell.title}, without biases",
        description=(
            f"The cell `{cell.name}` with every bias left out: the plain form in which the literature often writes it. "
            f"All else is as there.{started}"
        ),
        **biases,
    )


def with_bias_free(*cells: Cell) -> tuple[Cell, ...]:
    """Return `cells`, followed by the bias-free form of each."""
    return (*cells, *map(without_biases, cells))
