"""`derive list`: the cells that come with derive."""

from __future__ import annotations

import argparse

from ..cells import SHIPPED


def arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(options: argparse.Namespace) -> int:
    """Print a line a cell, and how many there are."""
    width = max(map(len, SHIPPED))
    for name, cell in SHIPPED.items():
        states = ", ".join(cell.states) or "none"
        print(f"{name:<{width}}  {cell.title}  (states: {states})")
    print(f"{len(SHIPPED)} cells")
    return 0
