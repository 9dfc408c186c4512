"""Formulas in pages: how they are marked, and the MathML that browsers set, out of what KaTeX makes of TeX.

A marked formula is ``<span class="arithmatex">\\(…\\)</span>`` or ``<div class="arithmatex">\\[…\\]</div>``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from xml.etree import ElementTree

MARKED = re.compile(r'<(span|div) class="arithmatex">\s*(?:\\\((.*?)\\\)|\\\[(.*?)\\\])\s*</\1>', re.DOTALL)
# MathML Core knows no `mathvariant` but normal: letters of another kind are characters of their own.
ALPHABETS = {"bold": (0x1D400, 0x1D41A, 0x1D7CE), "script": (0x1D49C, 0x1D4B6, None), "double-struck": (0x1D538, 0x1D552, 0x1D7D8)}
EXCEPTIONS = {"script": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)), "double-struck": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))}
OVERLINE, DOT = "‾", "˙"
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", NAMESPACE)
# KaTeX writes the bars of a norm as the signs of parallels and of divisors, which stand apart as relations do.
BARS = {"∥": "‖", "∣": "|"}
ALONE = {"lspace": "0em", "rspace": "0em"}  # a bar between two values: as a fence, it has no space around it without being told
SLANTED = re.compile(r"[A-Za-zıȷ\u0370-\u03ff∂∇]")  # a letter that browsers slant where it stands alone
TOLD = ("fence", "separator")  # of an operator, known from its sign; attributes of MathML 3 that MathML Core does nothing with
MARK = re.compile(r"\(\d+\)")  # which of several functions in a line: `v^{(2)}`


def inline(tex: str) -> str:
    """Return the markup of a formula within a line, for pages that are HTML already."""
    return rf'<span class="arithmatex">\({html.escape(tex, quote=False)}\)</span>'


def display(tex: str) -> str:
    """Return the markup of a formula on a line of its own."""
    return rf'<div class="arithmatex">\[{html.escape(tex, quote=False)}\]</div>'


def typeset(text: str, mathml: Callable[[str, bool], str]) -> str:
    """Return a page with `mathml(tex, display)` in place of every marked formula."""
    return MARKED.sub(lambda m: mathml(html.unescape(m[2] if m[2] is not None else m[3]).strip(), m[2] is None), text)


def mended(made: str) -> str:
    """Return the MathML in what KaTeX made, ``<span class="katex">``, as browsers set it."""
    root = ElementTree.fromstring(made)
    math = root[0]
    whole = math[0][0]  # without the TeX, which KaTeX adds for other programs
    math[:] = list(whole) if whole.tag == f"{{{NAMESPACE}}}mrow" and not whole.attrib else [whole]  # `math` is a row itself
    for element in list(math.iter()):
        _mend(element)
        _shorten(element)
    return ElementTree.tostring(math, encoding="unicode").replace(f' xmlns="{NAMESPACE}"', "", 1)  # in HTML the element's name says it


def _mend(element: ElementTree.Element) -> None:
    """Write what browsers do not set as it is meant."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    if name == "mo" and element.text in BARS:
        element.text = BARS[element.text]
        element.attrib |= {} if element.get("fence") else ALONE
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


def _shorten(element: ElementTree.Element) -> None:
    """Leave out what browsers know without being told: pages have tens of thousands of these."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    if name == "mo":
        element.attrib = {key: value for key, value in element.attrib.items() if key not in TOLD or value != "true"}
    elif name == "mi" and element.get("mathvariant") == "normal" and not SLANTED.fullmatch(element.text or ""):
        del element.attrib["mathvariant"]
    elif name == "mrow" and len(element) == 3 and MARK.fullmatch(mark := "".join(element.itertext())):
        element.tag, element.text = f"{{{NAMESPACE}}}mtext", mark  # one word, and no operators
        element[:] = []


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
