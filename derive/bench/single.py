"""What the measurements with a module each have in common: their command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def command(name: str, about: str | None, measure: Callable[[], Mapping[str, Any]], table: Callable[[Mapping[str, Any]], str]) -> int:
    """Measure, print, and write a file if there is to be one; return the exit status.

    Parameters
    ----------
    name, about : str
        Of the module, and its docstring.
    measure : callable
        Returns what the file gets.
    table : callable
        Returns it as Markdown.
    """
    parser = argparse.ArgumentParser(prog=f"python -m derive.bench.{name}", description=(about or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    options = parser.parse_args()
    record = measure()
    print(table(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0
