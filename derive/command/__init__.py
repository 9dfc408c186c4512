"""The commands of `derive`, a module each: `arguments` tells a parser what its words are, `run` does what they say.

A module is imported when its command is called, so that none waits for what another needs.  `bench`, whose options depend on what is to be
measured, reads its words itself: it has `main` in place of the two.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """What is said of a command in the list of all; `own` says that it reads its words itself."""

    help: str
    own: bool = False


COMMANDS = {
    "list": Command("List the cells that come with derive."),
    "show": Command("Show a cell: its equations and their gradients."),
    "new": Command("Write a commented file of a cell, to start from."),
    "check": Command("Compare kernels with automatic differentiation and finite differences."),
    "generate": Command("Write kernels as a package that needs NumPy and Numba only."),
    "convert": Command("Convert weights from and to files of PyTorch, Keras, ONNX, safetensors and NumPy."),
    "export": Command("Write a cell's forward pass for programs without Python: C, ONNX."),
    "docs": Command("Write the derivations' pages and build the site."),
    "bench": Command("Measure kernels against their peers (options: derive bench --help).", own=True),
    "demo": Command("Train on Bach chorales."),
}
