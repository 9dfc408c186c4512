"""`derive export`: a cell as a file for somewhere else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module

KINDS = {"c": "export_c", "onnx": "export_onnx"}
"""What there is to export to, and the module of this package that does it: `HELP`, `arguments`, `run`."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what each kind is given."""
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for kind, name in KINDS.items():
        module = import_module(f".{name}", __package__)
        words = kinds.add_parser(kind, help=module.HELP, description=module.HELP)
        module.arguments(words)
        words.set_defaults(export=module.run)


def run(options: argparse.Namespace) -> int:
    """Export; return what the kind does."""
    export: Callable[[argparse.Namespace], int] = options.export
    return export(options)
