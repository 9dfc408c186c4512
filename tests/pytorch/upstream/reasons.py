"""Why tests of PyTorch's do not pass with our layers: what `reasons.json` says, by file, class and method; `*` stands for any text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from .run import Outcome

FILE = Path(__file__).with_name("reasons.json")


def read() -> dict[str, str]:
    """Return the reasons by pattern."""
    found: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def of(test: str, reasons: Mapping[str, str]) -> str | None:
    """Return the reason of a test."""
    return next((reason for pattern, reason in reasons.items() if fnmatchcase(test, pattern)), None)


def complaints(found: Mapping[str, Outcome], reasons: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the reasons for what came of tests: none for one that does not pass, or one for a test that does."""
    wrong = []
    for test, outcome in found.items():
        reason = of(test, reasons)
        if outcome.what != "passed" and reason is None:
            wrong.append(f"{test} {outcome.what}, and there is no reason: {outcome.why}")
        if outcome.what == "passed" and reason is not None:
            wrong.append(f"{test} passed, and there is a reason why it would not: {reason}")
    return wrong
