"""`derive show`: a cell as text, LaTeX or code, its way through the compiler, and why its calls run as they do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ..cell import Cell
from ..cells import SOURCES
from ..cells.load import cells_named
from ..language.definition import Definition
from ..notation import second
from ..notation.latex import derivation
from ..notation.show import structure, text
from ..package.contents import files
from ..program.listing import listing


def code(cell: Definition, order: int = 1) -> str:
    """Return the generated module."""
    return files([cell], sources=SOURCES, orders={cell.name: order})[f"{cell.name}.py"].rstrip("\n")


FORMS: dict[str, Callable[[Definition], str]] = {
    "text": text,
    "latex": derivation,
    "code": code,
    "stages": listing,
    "structure": structure,
}
OF_SECOND_ORDER: dict[str, Callable[[Definition], str]] = {
    "text": lambda cell: f"{text(cell)}\n\n{second.text(cell)}",
    "latex": lambda cell: f"{derivation(cell)}\n{second.latex(cell)}",
    "code": lambda cell: code(cell, 2),
}
OF_TANGENTS: dict[str, Callable[[Definition], str]] = {"text": second.tangents, "latex": second.tangents_latex}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cell, and in which form."""
    parser.add_argument("cell", metavar="CELL", help="a cell's name, or a file of cells")
    add = parser.add_mutually_exclusive_group().add_argument
    for name, help in (
        ("text", "as plain text (default)"),
        ("latex", "as LaTeX"),
        ("code", "the generated module"),
        ("stages", "the cell after each pass of the compiler"),
        ("structure", "the Jacobian of a step"),
    ):
        add(f"--{name}", dest="form", action="store_const", const=name, help=help)
    words = "NAME=N"
    add("--plan", nargs="*", metavar=words, help="how a call runs on the CPU, and why: b=16 t=100 n=512 threads=2 dtype=float32")
    add("--cuda-plan", nargs="*", metavar=words, help="how a call runs on a CUDA device, and why: b=16 n=512 dtype=bfloat16 processors=132")
    parser.add_argument("--order", type=int, choices=(1, 2), default=1, help="of derivatives: with 2, text, LaTeX, code have the second")
    parser.add_argument("--tangent", action="store_true", help="the derivative along a direction (forward mode), as text or LaTeX")


def run(options: argparse.Namespace) -> int:
    """Print each cell; return 2 if words of a plan are wrong."""
    cells = cells_named(options.cell)
    if options.plan is not None:
        return _planned("--plan", _plans, cells, options.plan)
    if options.cuda_plan is not None:
        return _planned("--cuda-plan", _cuda_plans, cells, options.cuda_plan)
    forms, chosen = OF_TANGENTS if options.tangent else OF_SECOND_ORDER if options.order == 2 else FORMS, options.form or "text"
    if chosen not in forms:
        print(f"derive show: there is no --{chosen} of {'tangents' if options.tangent else 'second order'}", file=sys.stderr)
        return 2
    print("\n\n".join(forms[chosen](cell) for cell in cells))
    return 0


Plans = Callable[[Sequence[Cell], list[str]], list[str]]


def _planned(option: str, plans: Plans, cells: Sequence[Cell], words: list[str]) -> int:
    try:
        print("\n\n".join(plans(cells, words)))
    except ValueError as error:
        print(f"derive show {option}: {error}", file=sys.stderr)
        return 2
    return 0


def _plans(cells: Sequence[Cell], words: list[str]) -> list[str]:
    from ..explain.cpu import explain, parse_extent  # the runtime imports Numba

    return [explain(cell, parse_extent(cell, words, _sizes(cells))) for cell in cells]


def _cuda_plans(cells: Sequence[Cell], words: list[str]) -> list[str]:
    from ..explain.cuda import explain, parse_request

    return [explain(cell, parse_request(cell, words, _sizes(cells))) for cell in cells]


def _sizes(cells: Sequence[Cell]) -> list[str]:
    return [size for cell in cells for size in cell.sizes]
