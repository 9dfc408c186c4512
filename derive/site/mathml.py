"""Mathematics in pages: TeX to MathML while the site is built, by KaTeX, so that a page needs neither a script nor a network.

A Markdown extension: after `pymdownx.arithmatex` in its generic form it rewrites what that has marked, and what pages have marked
themselves (`formulas`).
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import quickjs
from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor
from mkdocs.exceptions import BuildError

from .formulas import mended, typeset

RENDER = """function render(tex, display) {
    return katex.renderToString(tex, {displayMode: display, output: "mathml", throwOnError: true, strict: "error"})
}"""


Formulas = dict[tuple[str, bool], str]  # MathML by TeX, and by whether it has a line of its own


class FormulaError(BuildError):
    """A formula that KaTeX refuses; MkDocs names the page."""


@cache
def mathml(tex: str, display: bool) -> str:
    """Return a formula as MathML.

    Raises
    ------
    FormulaError
        With the formula, if KaTeX refuses it.
    """
    try:
        made = _renderer()(tex, display)
    except quickjs.JSException as error:
        raise FormulaError(f"the formula\n    {tex}\nis refused: {str(error).splitlines()[0]}") from None
    return mended(made)


@cache
def _renderer() -> Any:
    context = quickjs.Context()
    context.eval(script().read_text(encoding="utf-8"))
    context.eval(RENDER)
    return context.get("render")


def script() -> Path:
    """Return KaTeX' script, which an installed package ships."""
    package = importlib.util.find_spec("sphinxcontrib.katex")
    assert package is not None and package.origin is not None
    return Path(package.origin).with_name("katex.min.js")


def kept(path: Path, formulas: Formulas) -> None:
    """Write formulas that are set already for another process: to set one takes longer than all else that becomes of it."""
    path.write_text(json.dumps([[*formula, made] for formula, made in formulas.items()]), encoding="utf-8")


@cache
def _known(path: str) -> Formulas:
    """Return what `kept` has written, or nothing where there is no path; once for all pages."""
    found = json.loads(Path(path).read_text(encoding="utf-8")) if path else []
    return {(tex, display): made for tex, display, made in found}


class _Formulas(Postprocessor):
    def __init__(self, md: Markdown, known: Formulas) -> None:
        super().__init__(md)
        self.known = known

    def run(self, text: str) -> str:
        return typeset(text, lambda tex, display: self.known.get((tex, display)) or mathml(tex, display))


class Mathematics(Extension):
    """The extension that MkDocs loads."""

    def __init__(self, **options: Any) -> None:
        self.config = {"known": ["", "a file of formulas that are set already"]}
        super().__init__(**options)

    def extendMarkdown(self, md: Markdown) -> None:
        md.postprocessors.register(_Formulas(md, _known(self.getConfig("known"))), "mathematics", 0)  # last: raw HTML is back in its place


def makeExtension(**options: Any) -> Mathematics:
    """Return the extension, as Markdown's loader expects it."""
    return Mathematics(**options)
