"""The command line: `derive`, or `python -m derive`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .cell import Cell
from .cells.load import cells_of, find
from .language.errors import CellError, in_words
from .package import contents, folder


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


def _run(arguments: list[str]) -> int:
    if arguments[:1] and arguments[0] in PASSED_ON:
        return PASSED_ON[arguments[0]](arguments[1:])
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _drop_output() -> None:
    """Let what is still to be written to standard output, which takes nothing more, go nowhere: Python would complain at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="derive", description="Derive the gradients of recurrent cells and generate kernels for them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command)
        return sub

    add("list", _list, "List the cells that come with derive.")
    show = add("show", _show, "Show a cell: its equations and their gradients.")
    show.add_argument("cell", metavar="CELL", help="a cell's name, or a file of cells")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--text", dest="form", action="store_const", const="text", help="as plain text (default)")
    form.add_argument("--latex", dest="form", action="store_const", const="latex", help="as LaTeX")
    form.add_argument("--code", dest="form", action="store_const", const="code", help="the generated module")
    form.add_argument("--stages", dest="form", action="store_const", const="stages", help="the cell after each pass of the compiler")
    form.add_argument("--structure", dest="form", action="store_const", const="structure", help="the Jacobian of a step")
    form.add_argument(
        "--plan", nargs="*", metavar="NAME=N", help="how a call runs on the CPU, and why: b=16 t=100 n=512 threads=2 dtype=float32"
    )
    form.add_argument(
        "--cuda-plan",
        nargs="*",
        metavar="NAME=N",
        help="how a call runs on a CUDA device, and why: b=16 n=512 dtype=bfloat16 processors=132",
    )
    new = add("new", _new, "Write a commented file of a cell, to start from.")
    new.add_argument("file", type=Path, metavar="FILE.py")
    check = add("check", _check, "Compare kernels with automatic differentiation and finite differences.")
    check.add_argument("cells", metavar="CELL", nargs="*", help="names or files of cells (default: all)")
    check.add_argument("--json", metavar="FILE", help="write the numbers there too")
    generate = add("generate", _generate, "Write kernels as a package that needs NumPy and Numba only.")
    generate.add_argument("files", metavar="FILE.py", nargs="*", help="files of cells (default: the cells that come with derive)")
    generate.add_argument("--out", type=Path, metavar="DIR", help="the package's folder (default: generated; for files, it must be given)")
    generate.add_argument(
        "--check", action="store_true", help="write nothing; print a diff and exit 1 if the package is not what would be written"
    )
    docs = add("docs", _docs, "Write the derivations' pages and build the site.")
    docs.add_argument("files", metavar="FILE.py", nargs="*", help="files of cells (default: the project's own site, from a checkout)")
    docs.add_argument("--out", type=Path, default=Path("site"), metavar="DIR", help="folder of the built site (default: site)")
    docs.add_argument("--checked", type=Path, metavar="FILE.json", help="what `derive check --json` wrote of the cells in the files")
    docs.add_argument("--serve", action="store_true", help="then open the site in a browser; Ctrl-C ends it")
    docs.add_argument("--measure", action="store_true", help="first measure again what the project's pages show: docs/data")
    for name, text in (
        ("bench", "Measure kernels against their peers (options: derive bench --help)."),
        ("demo", "Train on Bach chorales."),
    ):
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _list(options: argparse.Namespace) -> int:
    from .cells import REGISTRY

    width = max(map(len, REGISTRY))
    for name, cell in REGISTRY.items():
        states = ", ".join(cell.states) or "none"
        print(f"{name:<{width}}  {cell.title}  (states: {states})")
    print(f"{len(REGISTRY)} cells")
    return 0


def _new(options: argparse.Namespace) -> int:
    from .language.template import write_template

    write_template(options.file)
    print(f"{options.file}: now `derive show {options.file}`, `derive check {options.file}`")
    return 0


def _show(options: argparse.Namespace) -> int:
    from .notation import show

    cells = cells_of(options.cell) if options.cell.endswith(".py") else [find(options.cell)]
    if options.plan is not None:
        return _plan(cells, options.plan)
    if options.cuda_plan is not None:
        return _cuda_plan(cells, options.cuda_plan)
    print("\n\n".join(show.FORMS[options.form or "text"](cell) for cell in cells))
    return 0


def _plan(cells: Sequence[Cell], words: list[str]) -> int:
    from .explain.cpu import explain, parse_extent

    try:
        sizes = [size for cell in cells for size in cell.sizes]
        print("\n\n".join(explain(cell, parse_extent(cell, words, sizes)) for cell in cells))
    except ValueError as error:
        print(f"derive show --plan: {error}", file=sys.stderr)
        return 2
    return 0


def _cuda_plan(cells: Sequence[Cell], words: list[str]) -> int:
    from .explain.cuda import explain, parse_request

    try:
        sizes = [size for cell in cells for size in cell.sizes]
        print("\n\n".join(explain(cell, parse_request(cell, words, sizes)) for cell in cells))
    except ValueError as error:
        print(f"derive show --cuda-plan: {error}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> int:
    from .cells import REGISTRY
    from .verify.report import run

    cells = [cell for name in options.cells for cell in (cells_of(name) if name.endswith(".py") else [find(name)])]
    return run(cells or list(REGISTRY.values()), options.json)


def _generate(options: argparse.Namespace) -> int:
    from .cells import REGISTRY, SOURCES

    if options.files and options.out is None:
        print("derive generate: --out DIR is needed for cells of your own", file=sys.stderr)
        return 2
    cells: list[Cell] = [cell for name in options.files for cell in cells_of(name)] or list(REGISTRY.values())
    out = options.out or Path("generated")
    source = ", ".join(Path(name).name for name in options.files) or "derive/cells"
    package = contents.files(cells, source, {} if options.files else SOURCES)
    if options.check:
        found = folder.drift(package, out)
        print(found or f"{out}: as generated ({len(package)} files)", end="" if found else "\n")
        return 1 if found else 0
    try:
        changed = folder.write(package, out)
    except OSError as error:
        raise CellError(f"`{out}` could not be written: {error.strerror or error}") from error
    print(f"{out}: {len(package)} files, {len(changed)} changed")
    return 0


def _docs(options: argparse.Namespace) -> int:
    from .site import build, measure, need_extra, own_site, project_site, serve

    if (options.files and options.measure) or (options.checked and not options.files):
        print("derive docs: --measure is for the project's own site, --checked for files of cells", file=sys.stderr)
        return 2
    need_extra()
    if options.measure:
        measure()
    site = own_site({name: cells_of(name) for name in options.files}, options.checked) if options.files else project_site()
    status = build(site, options.out)
    if status == 0:
        print(f"{options.out}: {len(site.cells)} cells, open {options.out / 'index.html'}")
        if options.serve:
            serve(options.out)
    return status


def _bench(arguments: Sequence[str]) -> int:
    from .bench import main as bench

    return bench(arguments)


def _demo(arguments: Sequence[str]) -> int:
    from .demo import main as demo

    return demo(list(arguments))


PASSED_ON = {"bench": _bench, "demo": _demo}

if __name__ == "__main__":
    sys.exit(main())
