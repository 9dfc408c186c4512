"""Mathematics in pages: TeX to MathML while the site is built, by KaTeX, so that a page needs neither a script nor a network.

A Markdown extension: after `pymdownx.arithmatex` in its generic form it rewrites what that has marked, and what pages have marked
themselves: ``<span class="arithmatex">\\(…\\)</span>`` and ``<div class="arithmatex">\\[…\\]</div>``.
"""

from __future__ import annotations

import html
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import quickjs
from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor
from mkdocs.exceptions import BuildError

MARKED = re.compile(r'<(span|div) class="arithmatex">\s*(?:\\\((.*?)\\\)|\\\[(.*?)\\\])\s*</\1>', re.DOTALL)
RENDER = """function render(tex, display) {
    return katex.renderToString(tex, {displayMode: display, output: "mathml", throwOnError: true, strict: "error"})
}"""
# MathML Core knows no `mathvariant` but normal: letters of another kind are characters of their own.
ALPHABETS = {"bold": (0x1D400, 0x1D41A, 0x1D7CE), "script": (0x1D49C, 0x1D4B6, None), "double-struck": (0x1D538, 0x1D552, 0x1D7D8)}
EXCEPTIONS = {"script": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)), "double-struck": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))}
OVERLINE, DOT = "‾", "˙"
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", NAMESPACE)
# KaTeX writes the bars of a norm as the signs of parallels and of divisors, which stand apart as relations do.
BARS = {"∥": "‖", "∣": "|"}


class FormulaError(BuildError):
    """A formula that KaTeX refuses; MkDocs names the page."""


def inline(tex: str) -> str:
    """Return the markup of a formula within a line, for pages that are HTML already."""
    return rf'<span class="arithmatex">\({html.escape(tex, quote=False)}\)</span>'


def display(tex: str) -> str:
    """Return the markup of a formula on a line of its own."""
    return rf'<div class="arithmatex">\[{html.escape(tex, quote=False)}\]</div>'


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
    root = ElementTree.fromstring(made)
    math = root[0]
    semantics = math[0]
    math[:] = [semantics[0]]  # without the TeX, which KaTeX adds for other programs
    for element in list(math.iter()):
        _mend(element)
    return ElementTree.tostring(math, encoding="unicode").replace(f' xmlns="{NAMESPACE}"', "", 1)  # in HTML the element's name says it


def _mend(element: ElementTree.Element) -> None:
    """Write what browsers do not set as it is meant."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    if name == "mo" and element.text in BARS:
        element.text = BARS[element.text]
        element.attrib |= {"lspace": "0em", "rspace": "0em"}
    elif name in ("mi", "mn", "mo") and element.get("mathvariant") in ALPHABETS and len(element.text or "") == 1:
        element.text = _letter(element.attrib.pop("mathvariant"), element.text or "")
    elif name == "mover" and element[1].text == OVERLINE and element[1].get("stretchy") == "true":
        element.tag = f"{{{NAMESPACE}}}mrow"  # a border: a stretched sign is drawn too short over what is long
        element.attrib = {"class": "over"}
        del element[1]
    elif name == "mover" and (element[0].tag == element.tag or (element[1].text == DOT and element[0].text in ("i", "j"))):
        lower = ElementTree.Element(f"{{{NAMESPACE}}}mrow", {"class": "lower"})  # or the upper mark would all but touch the lower
        lower.append(element[0])
        element[0] = lower


def _letter(variant: str, letter: str) -> str:
    """Return the character that is a letter or digit of another alphabet."""
    capitals, small, digits = ALPHABETS[variant]
    if letter in EXCEPTIONS.get(variant, {}):
        return EXCEPTIONS[variant][letter]
    if "A" <= letter <= "Z":
        return chr(capitals + ord(letter) - ord("A"))
    if "a" <= letter <= "z":
        return chr(small + ord(letter) - ord("a"))
    return chr(digits + int(letter)) if letter.isdigit() and digits is not None else letter


@cache
def _renderer() -> Any:
    context = quickjs.Context()
    context.eval(_script().read_text(encoding="utf-8"))
    context.eval(RENDER)
    return context.get("render")


def _script() -> Path:
    """Return KaTeX' script, which an installed package ships."""
    package = importlib.util.find_spec("sphinxcontrib.katex")
    assert package is not None and package.origin is not None
    return Path(package.origin).with_name("katex.min.js")


class _Formulas(Postprocessor):
    def run(self, text: str) -> str:
        return MARKED.sub(lambda m: mathml(html.unescape(m[2] if m[2] is not None else m[3]).strip(), m[2] is None), text)


class Mathematics(Extension):
    """The extension that MkDocs loads."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.postprocessors.register(_Formulas(md), "mathematics", 0)  # last: raw HTML is back in its place then


def makeExtension(**options: Any) -> Mathematics:
    """Return the extension, as Markdown's loader expects it."""
    return Mathematics(**options)
