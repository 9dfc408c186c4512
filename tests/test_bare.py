"""What can be done where little is installed: a cell is read by the standard library alone, and derived with SymPy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import python

# Whoever runs this imports only the standard library, this project, and what is named.
REFUSE = """
import importlib, json, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {allowed}:
            raise ModuleNotFoundError(f"no {{name}} here", name=name)

sys.meta_path.insert(0, Refuse())
"""
IMPORT = """
from derive import Cell, CellError
for package in {packages}:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{{package}}."):
        importlib.import_module(module.name)
"""
DERIVE = """
import json, sys
sys.path.append("tests")
from helpers.texts import GRU, LSTM
from derive.notation.explicit import explicit_latex
from derive.notation.latex import derivation, equations
from derive.notation.style import Text
from derive.notation.text import backward_lines, forward_lines
def derived(cell):
    return {
        "forward": forward_lines(cell),
        "backward": backward_lines(cell, Text({})),
        "equations": equations(cell),
        "latex": derivation(cell),
        "jacobian": cell.jacobian().text(),
        "jacobian in latex": cell.jacobian().latex(),
        "explicit": explicit_latex(cell, cell.parameters[0]),
        "structure": cell.structure.text(),
    }
print(json.dumps({cell.name: derived(cell) for cell in (GRU, LSTM)}))
"""
EMIT = """
import json, sys
sys.path.append("tests")
from helpers.texts import GRU, LSTM, SLSTM
from derive.codegen.c.module import CModule
from derive.codegen.cpu.module import module
from derive.codegen.cuda.module import module as cuda_module
from derive.picture import svg
from derive.program.pipeline import compile_cell
def emitted(cell):
    c = CModule(cell, dict.fromkeys(cell.sizes, 3), "float").files()
    return [*(made(cell, compile_cell(cell), "a test", "") for made in (module, cuda_module)), *c.values()]
print(json.dumps({cell.name: [*emitted(cell), svg(cell)] for cell in (GRU, LSTM, SLSTM)}))
"""
LOADED = """
assert {heavy}.isdisjoint(sys.modules), "loaded before anything was refused"
"""


def alone(code: str, *allowed: str) -> str:
    """Return what `code` prints where nothing else can be imported than what is allowed."""
    heavy = {"numpy", "numba", "llvmlite", "sympy"} - {*allowed}
    return python(REFUSE.format(allowed={"derive", "helpers", *allowed}) + code + LOADED.format(heavy=heavy))


def test_what_is_refused_is_refused() -> None:
    for name in ("numpy", "sympy"):
        with pytest.raises(AssertionError, match=f"no {name} here"):
            alone(f"import {name}")


def test_the_language_needs_the_standard_library_alone() -> None:
    alone(IMPORT.format(packages=["derive.language"]))


def test_the_mathematics_needs_sympy_and_nothing_else() -> None:
    packages = ["derive.language", "derive.calculus", "derive.notation"]
    alone(IMPORT.format(packages=packages), "sympy", "mpmath")


@pytest.fixture(scope="module")
def derived() -> dict[str, dict[str, Any]]:
    return json.loads(python(f"import numpy, numba\n{DERIVE}"))


def test_derivations_are_the_same_without_arrays(derived: dict[str, dict[str, Any]]) -> None:
    assert json.loads(alone(DERIVE, "sympy", "mpmath")) == derived


def test_programs_code_and_pictures_are_the_same_without_arrays() -> None:
    packages = [
        "derive.program",
        "derive.program.passes",
        "derive.codegen",
        "derive.codegen.cpu",
        "derive.codegen.cuda",
        "derive.codegen.c",
        "derive.picture",
    ]
    bare = alone(IMPORT.format(packages=packages) + EMIT, "sympy", "mpmath")
    assert json.loads(bare) == json.loads(python(f"import numpy, numba\n{EMIT}"))


PLAYED = """
from derive.site.playground.browser import derived
def katex(tex, display):
    return '<span><math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow/></semantics></math></span>'
print([json.loads(piece).get("title", "file") for piece in derived("h = tanh(W @ x + u * h_prev)", "", katex)])
"""


def test_the_playground_needs_sympy_and_pygments_and_nothing_else() -> None:
    said = alone(PLAYED, "sympy", "mpmath", "pygments")
    assert "Equations" in said and "Kernels" in said and "One step" in said


@pytest.mark.parametrize(("name", "forward", "backward"), [("gru", 4, 20), ("lstm", 6, 25)])
def test_no_line_is_missing(derived: dict[str, dict[str, Any]], name: str, forward: int, backward: int) -> None:
    found = derived[name]
    tags = [*found["forward"], *found["backward"]]
    assert tags == [*(f"F{k + 1}" for k in range(forward)), *(f"B{k + 1}" for k in range(backward))]
    assert all(rf"\tag{{{tag}}}" in found["latex"] for tag in tags)
