"""Options in a line of text, such as `--no-playground`, kept whole: browsers break lines after hyphens.  A Markdown extension."""

from __future__ import annotations

import re
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

OPTION = re.compile(r"<code>(?=--?\w[\w-]{0,20}(?: [\w./-]{1,12})?</code>)")  # with what it takes; nothing that is wider than a phone


def whole(text: str) -> str:
    """Return HTML with a class for code that is an option."""
    return OPTION.sub('<code class="option">', text)


class _Whole(Postprocessor):
    def run(self, text: str) -> str:
        return whole(text)


class Options(Extension):
    """The extension that MkDocs loads."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.postprocessors.register(_Whole(md), "options", -2)  # after all others: code is in its place then


def makeExtension(**options: Any) -> Options:
    """Return the extension, as Markdown's loader expects it."""
    return Options(**options)
