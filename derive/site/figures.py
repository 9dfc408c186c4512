"""Figures in pages: an image whose file is an SVG is put into the page, so that it takes the page's colours, with its text as a caption.

A Markdown extension.  It finds the file beside the page's folder, at `folder` (which `derive docs` sets), since Markdown does not know
which page it is at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

STYLE = re.compile(r"<style>svg\.cell.*?</style>\n?", re.DOTALL)  # of a circuit, which holds for all of a page
IMAGE = re.compile(r'<p><img alt="([^"]*)" src="[^"]*?figures/([\w-]+\.svg)" ?/?></p>')


class _Inlined(Postprocessor):
    def __init__(self, md: Markdown, folder: Path) -> None:
        super().__init__(md)
        self.folder = folder

    def run(self, text: str) -> str:
        seen: set[str] = set()

        def once(style: re.Match[str]) -> str:
            found = "" if style[0] in seen else style[0]
            seen.add(style[0])
            return found

        return STYLE.sub(once, IMAGE.sub(self.figure, text))

    def figure(self, image: re.Match[str]) -> str:
        alt, name = image.groups()
        drawing = re.sub(r"^.*?(?=<svg)", "", (self.folder / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        stem = Path(name).stem
        drawing = re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)', f"{stem}-", drawing)  # several figures may share a page
        head, rest = drawing.split(">", 1)
        classed = head.replace('class="', 'class="figure ', 1) if 'class="' in head else f'{head} class="figure"'
        drawing = f'{classed} role="img" aria-labelledby="{stem}-caption">{rest}'
        return f'<figure class="plot">{drawing}<figcaption id="{stem}-caption">{alt}</figcaption></figure>'


class Figures(Extension):
    """The extension that MkDocs loads."""

    def __init__(self, **options: Any) -> None:
        self.config = {"folder": ["", "where the figures are"]}
        super().__init__(**options)

    def extendMarkdown(self, md: Markdown) -> None:
        md.postprocessors.register(_Inlined(md, Path(self.getConfig("folder"))), "figures", 1)


def makeExtension(**options: Any) -> Figures:
    """Return the extension, as Markdown's loader expects it."""
    return Figures(**options)
