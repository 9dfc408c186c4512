"""Processes that run PyTorch's tests, one file and one kind of layers each; one that dies or is late costs the test it was at."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
LIMIT = 300.0  # seconds without a word: kernels may have to be compiled


class Outcome(NamedTuple):
    """What came of a test: passed, skipped, failed, died or late; and what was said."""

    what: str
    why: str = ""


def names(path: Path) -> list[str] | None:
    """Return the tests of a file; None where it cannot be imported."""
    *_, found = [None, *_lines(path, "theirs", ())]
    return found


def outcomes(path: Path, kind: str, tests: Sequence[str]) -> dict[str, Outcome]:
    """Return what comes of tests of a file with such layers, `theirs` or `ours`."""
    found: dict[str, Outcome] = {}
    while left := [test for test in tests if test not in found]:
        at, late = left[0], False
        for line in _lines(path, kind, left):
            match line:
                case None:
                    late = True
                case [name]:
                    at = name
                case [name, what, why]:
                    found[name], at = Outcome(what, why), ""
        at = at or next((test for test in left if test not in found), "")
        if at:
            found[at] = Outcome("late" if late else "died")
    return {test: found[test] for test in tests}


def _lines(path: Path, kind: str, tests: Sequence[str]) -> Iterator[list[str] | None]:
    """Yield what a worker says; None, and no more, when it has been silent too long."""
    command = [sys.executable, "-m", "tests.pytorch.upstream.worker", str(path), kind, *tests]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment) as process:
        said: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_pass_on, args=(process.stdout, said), daemon=True)
        reader.start()
        try:
            while line := said.get(timeout=LIMIT):
                yield json.loads(line)
        except queue.Empty:
            yield None
        finally:
            process.kill()


def _pass_on(lines: Iterator[str], said: queue.Queue[str]) -> None:
    for line in lines:
        said.put(line)
    said.put("")  # the end
