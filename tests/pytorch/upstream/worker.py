"""A process that runs tests of one file of PyTorch's, and says what came of each, a line of JSON each.

    python -m tests.pytorch.upstream.worker FILE (theirs | ours) [TEST …]

Without names it says which there are.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

from .choice import KINDS

Said = Any


def put_in_place() -> None:
    """Let `torch.nn` have our layers."""
    from torch import nn

    import generated.torch

    for kind in KINDS:
        for module in (nn, nn.modules, nn.modules.rnn):
            setattr(module, kind, getattr(generated.torch, kind))


def load(path: Path) -> ModuleType:
    """Import a file, as if it were run in its folder; modules beside it, and below PyTorch's `test`, are found."""
    root = next(folder for folder in path.parents if folder.name == "test")
    sys.path[:0] = [str(path.parent), str(root)]
    os.chdir(root)
    sys.argv[1:] = []  # PyTorch's helpers read it
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def all_tests(module: ModuleType) -> dict[str, unittest.TestCase]:
    """Return the tests that a file has itself, by class and method."""
    loader = unittest.TestLoader()
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, unittest.TestCase)]
    own = [kind for kind in kinds if kind.__module__ == module.__name__]
    return {f"{kind.__name__}.{name}": kind(name) for kind in own for name in loader.getTestCaseNames(kind)}


class Told(unittest.TestResult):
    """Says what came of each test when it begins, and when it ends."""

    def __init__(self, say: Said) -> None:
        super().__init__()
        self.say = say

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcome, self.why = "passed", ""
        self.say([_name(test)])

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.say([_name(test), self.outcome, self.why])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note("skipped", reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._note("failed", f"{err[0].__name__}: {err[1]}")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.addError(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:
        if err is not None:
            self.addError(test, err)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._note("failed", "it was to fail")

    def _note(self, outcome: str, why: str) -> None:
        if getattr(self, "outcome", "") != "failed":
            self.outcome, self.why = outcome, why


def _name(test: unittest.TestCase) -> str:
    return f"{type(test).__name__}.{test._testMethodName}"


def main(path: str, kind: str, *names: str) -> None:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(2, 1)  # what tests print is no line of ours

        def say(what: list[Any]) -> None:
            print(json.dumps(what), file=lines, flush=True)

        if kind == "ours":
            put_in_place()
        found = all_tests(load(Path(path)))
        if not names:
            say(list(found))
            return
        unittest.TestSuite([found[name] for name in names if name in found]).run(Told(say))


if __name__ == "__main__":
    main(*sys.argv[1:])
