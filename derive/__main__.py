"""The command line: `derive`, or `python -m derive`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

from .command import COMMANDS
from .language.errors import CellError, in_words


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0 done, 1 something is wrong with what was asked about, 2 wrong usage."""
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _drop_output()
        return 0
    except (CellError, OSError, ImportError) as error:
        print(f"derive: {in_words(error)}", file=sys.stderr)
        if isinstance(error, OSError):
            _drop_output()
        return 1


def _run(words: list[str]) -> int:
    name = next((word for word in words if word in COMMANDS), None)
    module = import_module(f".command.{name}", __package__) if name else None
    if module and name == words[0] and COMMANDS[name].own:
        own: Callable[[list[str]], int] = module.main
        return own(words[1:])
    options = _parser(name, module).parse_args(words)
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _parser(called: str | None, module: ModuleType | None) -> argparse.ArgumentParser:
    """Return the parser of the command that is called; the others are named in it, and not imported."""
    parser = argparse.ArgumentParser(prog="derive", description="Derive the gradients of recurrent cells and generate kernels for them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        if command.own:
            commands.add_parser(name, help=command.help, add_help=False)
            continue
        words = commands.add_parser(name, help=command.help, description=command.help)
        if module and name == called:
            module.arguments(words)
            words.set_defaults(command=module.run)
    return parser


def _drop_output() -> None:
    """Let what is still to be written to standard output, which takes nothing more, go nowhere: Python would complain at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
