"""arXiv numbers and DOIs in pages as links, wherever they stand in the text.  A Markdown extension, for what is HTML already too."""

from __future__ import annotations

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

ARXIV, DOI = r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)", r"doi:(10\.\d{4,}/[\w./()-]*\w)"
LEFT_ALONE = r"<(a|code|pre|svg|math|script|style)\b.*?</\1>|<[^>]*>"
FOUND = re.compile(rf"{LEFT_ALONE}|{ARXIV}|{DOI}", re.DOTALL)


def linked(text: str) -> str:
    """Return HTML with links at arXiv numbers and DOIs, but for those in links, code, pictures and attributes."""
    return FOUND.sub(_link, text)


def _link(found: re.Match[str]) -> str:
    _, arxiv, doi = found.groups()
    if arxiv is None and doi is None:
        return found[0]
    address = f"https://arxiv.org/abs/{arxiv}" if arxiv else f"https://doi.org/{doi}"
    return f'<a href="{address}">{found[0]}</a>'


class _Linked(Postprocessor):
    def run(self, text: str) -> str:
        return linked(text)


class References(Extension):
    """The extension that MkDocs loads."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.postprocessors.register(_Linked(md), "references", -1)  # after formulas are MathML


def makeExtension(**options: Any) -> References:
    """Return the extension, as Markdown's loader expects it."""
    return References(**options)
