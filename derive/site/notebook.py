"""A hand-written page as a Jupyter notebook: its text, its figures, its Python, and what that prints."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"!\[([^\]]*)\]\([^)]*?figures/([\w-]+\.svg)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|attachment:)[^)]*\)")  # to another page, which is not beside the notebook
PAPER = '<svg style="background: #fff; color: #000" '  # a notebook's page may be dark, and a picture in a file has no page's colours

Part = dict[str, Any]


def write_notebooks(pages: Path, figures: Path) -> None:
    """Write a notebook beside each page in `pages` that links to one of its own name."""
    for path in sorted(pages.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if f"]({path.stem}.ipynb)" in text:
            path.with_suffix(".ipynb").write_text(notebook(text, figures), encoding="utf-8", newline="\n")


def notebook(page: str, figures: Path) -> str:
    """Return a page as the JSON of a notebook, format 4.4.

    Parameters
    ----------
    page : str
        Markdown; its fenced blocks are `python`, or `text` right below one, which is what it prints.
    figures : path
        The folder of its figures, which become attachments.

    Raises
    ------
    ValueError
        If there is another block.
    """
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": _cells(page, figures), "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cells(page: str, figures: Path) -> list[Part]:
    cells: list[Part] = []
    end = 0
    for fence in FENCE.finditer(page):
        if lead := page[end : fence.start()].strip():
            cells.append(_text(lead, figures))
        end = fence.end()
        if fence[1] == "python":
            cells.append(_code(fence[2]))
        elif fence[1] == "text" and cells and cells[-1]["cell_type"] == "code":
            cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": fence[2]}]
        else:
            raise ValueError(f"a notebook has blocks of Python and what they print, not `{fence[1]}`: {fence[2].splitlines()[0]}")
    rest = page[end:].strip()
    return [*cells, _text(rest, figures)] if rest else cells


def _code(source: str) -> Part:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source.rstrip("\n")}


def _text(text: str, figures: Path) -> Part:
    """Return a cell of text with its figures."""
    attached = {name: {"image/svg+xml": _picture(figures / name)} for _, name in FIGURE.findall(text)}
    source = LINK.sub(r"\1", FIGURE.sub(r"![\1](attachment:\2)", text))
    return {"cell_type": "markdown", "metadata": {}, "source": source, **({"attachments": attached} if attached else {})}


def _picture(path: Path) -> str:
    return base64.b64encode(path.read_text(encoding="utf-8").replace("<svg ", PAPER, 1).encode()).decode("ascii")
