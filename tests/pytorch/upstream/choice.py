"""Which of PyTorch's tests concern recurrent layers: those that have one in their name, and those whose code comes to one.

The code of a test is its own text, and that of all functions, methods and classes of the same file that it names, and that these name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

KINDS = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
NAMED = re.compile(r"(^|_)(rnn|lstm|gru)_?(cell)?s?(_|$)", re.IGNORECASE)
MENTIONED = re.compile(rf"\bnn\.({'|'.join(KINDS)})\b|\b({'|'.join(KINDS[3:])})\b")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def files(folder: Path) -> list[Path]:
    """Return the test files that mention a recurrent layer, sorted."""
    return sorted(path for path in folder.rglob("test_*.py") if MENTIONED.search(path.read_text(encoding="utf-8", errors="replace")))


def tests(text: str) -> dict[str, bool]:
    """Return by the name of each function of a file that is a test whether its code comes to a recurrent layer."""
    known: dict[str, list[Definition]] = {}
    for node in _definitions(ast.parse(text)):
        known.setdefault(node.name, []).append(node)
    reaching = _reaching({name: [*map(_names, nodes)] for name, nodes in known.items()})
    return {name: name in reaching for name in known if name.startswith("test")}


def chosen(method: str, functions: dict[str, bool]) -> bool:
    """Say whether a test is to run: the function that it was made from, whose name its own begins with, or its name tells."""
    origin = max((name for name in functions if method == name or method.startswith(f"{name}_")), key=len, default="")
    return functions.get(origin, False) or bool(NAMED.search(method))


def _definitions(module: ast.Module) -> Iterator[Definition]:
    """Yield functions and classes of a file, and the methods of test classes; others are part of their class."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and any(isinstance(part, Definition) and part.name.startswith("test") for part in node.body):
            yield from (part for part in node.body if isinstance(part, Definition))
        elif isinstance(node, Definition):
            yield node


def _names(node: Definition) -> set[str]:
    """Return what a definition names: variables, attributes of `self`, and layers, as `nn.LSTM`."""
    found = set()
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                found.add(name)
            case ast.Attribute(attr=name) if name in KINDS and ast.unparse(part).endswith(f"nn.{name}"):
                found.add(f"nn.{name}")
    return found


def _reaching(named: dict[str, list[set[str]]]) -> set[str]:
    """Return the definitions from which names lead to a layer."""
    found = {f"nn.{kind}" for kind in KINDS}
    while more := {name for name, each in named.items() if name not in found and any(names & found for names in each)}:
        found |= more
    return found
