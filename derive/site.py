"""`derive docs`: the site, with a page for each cell's derivation.

Pages of cells are written anew at each build, from the same objects as the kernels, beside copies of the hand-written pages; MkDocs makes
the site.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path

from .cell import Cell
from .cells import REGISTRY
from .errors import CellError
from .printers import latex, show

ROOT = Path(__file__).parent.parent


def build(out: Path) -> int:
    """Build the site into `out`; return MkDocs' exit status.

    Raises
    ------
    CellError
        If MkDocs or the hand-written pages are not there.
    """
    if importlib.util.find_spec("mkdocs") is None:
        raise CellError("the site needs MkDocs: pip install 'derive-rnn[docs]'")
    config = ROOT / "mkdocs.yml"
    if not config.is_file():
        raise CellError(f"the site is built from a checkout of the project: there is no {config.name} beside the package")
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder) / "docs"
        shutil.copytree(ROOT / "docs", pages)
        write_pages(REGISTRY.values(), pages / "cells")
        names = "".join(f"      - {json.dumps(cell.title, ensure_ascii=False)}: cells/{cell.name}.md\n" for cell in REGISTRY.values())
        text = config.read_text(encoding="utf-8")
        text = re.sub(r"nav:\n(?: +.*\n)+", lambda nav: f"{nav[0]}  - Cells:\n      - cells/index.md\n{names}", text)
        (Path(folder) / "mkdocs.yml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", f"{folder}/mkdocs.yml", "-d", str(out.resolve())]
        return subprocess.run(command, check=False).returncode


def write_pages(cells: Iterable[Cell], folder: Path) -> None:
    """Write an index and a page for each cell."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = list(cells)
    entries = "".join(f"- [{cell.title}]({cell.name}.md) (`{cell.name}`)\n" for cell in cells)
    (folder / "index.md").write_text(f"# Cells\n\n{entries}", encoding="utf-8")
    for cell in cells:
        (folder / f"{cell.name}.md").write_text(page(cell), encoding="utf-8")


def page(cell: Cell) -> str:
    """Return a cell's page."""
    return "\n".join(
        [
            f"# {cell.title}",
            "",
            *([cell.description, ""] if cell.description else []),
            *([f"Reference: {cell.reference}", ""] if cell.reference else []),
            "## Definition",
            "",
            _fenced(textwrap.dedent(cell.text).strip("\n"), "python"),
            "## Derivation",
            "",
            _fenced(show.text(cell).split("\n\n", 1)[1], "text"),
            "## The same in LaTeX",
            "",
            _fenced(latex.derivation(cell), "latex"),
            "## Use",
            "",
            _fenced(f"from generated import {cell.name}", "python"),
        ]
    )


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```\n"
