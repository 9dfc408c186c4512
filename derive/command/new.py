"""`derive new`: a commented file of a cell, to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..language.template import write_template


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` the file."""
    parser.add_argument("file", type=Path, metavar="FILE.py")


def run(options: argparse.Namespace) -> int:
    """Write the file, and say what can be done with it."""
    write_template(options.file)
    print(f"{options.file}: now `derive show {options.file}`, `derive check {options.file}`")
    return 0
