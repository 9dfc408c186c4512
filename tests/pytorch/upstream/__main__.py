"""Run PyTorch's tests of its recurrent layers with ours in their place, and write what came of them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import choice, reasons, run

DATA = run.ROOT / "docs" / "data" / "pytorch.json"
Found = dict[str, run.Outcome]


def measure(folder: Path) -> tuple[dict[str, Any], Found]:
    """Return by file what is to be told, and what came of each test that passes with PyTorch's own layers, with ours."""
    told: dict[str, Any] = {}
    ours: Found = {}
    for path in choice.files(folder):
        file = path.relative_to(folder).as_posix()
        told[file], found = _measured(path)
        ours |= {f"{file}::{test}": outcome for test, outcome in found.items()}
        print(file, told[file], file=sys.stderr, flush=True)
    return told, ours


def _measured(path: Path) -> tuple[dict[str, int] | str, Found]:
    names = run.names(path)
    if names is None:
        return "cannot be imported", {}
    functions = choice.tests(path.read_text(encoding="utf-8"))
    chosen = [name for name in names if choice.chosen(name.partition(".")[2], functions)]
    theirs = run.outcomes(path, "theirs", chosen)
    ours = run.outcomes(path, "ours", [test for test, outcome in theirs.items() if outcome.what == "passed"])
    whats = Counter(outcome.what for outcome in theirs.values())
    passed = Counter(outcome.what for outcome in ours.values())["passed"]
    return {"chosen": len(chosen), "skipped": whats["skipped"], "theirs": whats["passed"], "ours": passed}, ours


def table(told: Mapping[str, Any], ours: Found, of: str, command: str) -> dict[str, Any]:
    """Return what is written: counts of chosen tests, of those skipped or passed with PyTorch's layers, and of those passed with ours."""
    counts = [each for each in told.values() if isinstance(each, dict)]
    known = reasons.read()
    return {
        "command": command,
        "of": of,
        "torch": torch.__version__,
        "all": {name: sum(each[name] for each in counts) for name in ("chosen", "skipped", "theirs", "ours")},
        "files": dict(told),
        "reasons": {test: reasons.of(test, known) for test, outcome in sorted(ours.items()) if outcome.what != "passed"},
    }


def main() -> int:
    """Run them; return 1 if one fails without a reason, or passes in spite of one."""
    parser = argparse.ArgumentParser(prog="python -m tests.pytorch.upstream", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a folder of PyTorch's repository, at the installed release")
    parser.add_argument("--of", help="what the checkout is of; without it, what git says")
    parser.add_argument("--out", type=Path, default=DATA, help="where the table goes")
    given = parser.parse_args()
    folder = given.checkout.resolve() / "test"
    if not folder.is_dir():
        parser.error(f"{given.checkout} has no folder `test`: it must be a checkout of PyTorch")
    of = given.of or subprocess.check_output(["git", "-C", given.checkout, "describe", "--tags", "--always"], text=True).strip()
    told, ours = measure(folder)
    found = table(told, ours, of, "python -m tests.pytorch.upstream CHECKOUT")
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = reasons.complaints(ours, reasons.read())
    print(*wrong, found["all"], sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
