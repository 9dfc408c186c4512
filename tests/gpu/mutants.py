"""Emitted modules with one barrier of their resident kernels taken out: what is emitted must fail then."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

BARRIER = re.compile(r"^ +(cuda\.syncthreads\(\)|wait\(.*\)|arrive\(.*\))\n", re.MULTILINE)
FACTORY = re.compile(r"^def make_(\w+)\(", re.MULTILINE)


def barriers(name: str) -> list[tuple[str, int]]:
    """Return the barriers of a module: of each the kernel, and its number in the module."""
    text = _text(name)
    starts = [(found.start(), found[1]) for found in FACTORY.finditer(text)]
    return [
        (next(kernel for start, kernel in reversed(starts) if start < found.start()), number)
        for number, found in enumerate(BARRIER.finditer(text))
    ]


def mutant(name: str, number: int) -> ModuleType:
    """Return a cell's module without one of its barriers."""
    text = _text(name)
    found = list(BARRIER.finditer(text))[number]
    gone = found[0].replace(found[1], "pass")
    module = ModuleType(f"generated.cuda._{name}_{number}")
    module.__package__ = "generated.cuda"
    sys.modules[module.__name__] = module
    exec(compile(text[: found.start()] + gone + text[found.end() :], module.__name__, "exec"), module.__dict__)
    return module


def _text(name: str) -> str:
    spec = importlib.util.find_spec(f"generated.cuda.{name}")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")
