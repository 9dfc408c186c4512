"""Labels: names and small expressions as runs of text that SVG can set, from the LaTeX that the formulas are written in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unicodedata import combining, normalize

from ..notation.style import GREEK

BASE, SMALL = 14.0, 11.0  # font sizes in px
SUB, SUP = 4.0, -6.0  # how far the baseline of a subscript is below, of a superscript above


@dataclass(frozen=True)
class Run:
    """A piece of a label in one style; `shift` is 0 on the line, 1 in a subscript, -1 in a superscript."""

    text: str
    italic: bool = False
    shift: int = 0


Label = tuple[Run, ...]

_ALPHABET = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma_ sigma tau upsilon phi chi psi omega"
)
_GREEK = {word: chr(0x3B1 + k) for k, word in enumerate(_ALPHABET.split())}
_GREEK |= {word: chr(0x391 + k) for k, word in enumerate(_ALPHABET.title().split())}
_SYMBOLS = {
    **{name: _GREEK[name] for name in GREEK},
    **{"ell": "ℓ", "top": "⊤", "odot": "⊙", "cdot": "·", "infty": "∞", "partial": "∂", "hbar": "ℏ", "prime": "′", "star": "⋆"},
    **{"lvert": "|", "rvert": "|", "vert": "|", "lVert": "‖", "rVert": "‖", "dagger": "†", "varepsilon": "ε", "varphi": "φ"},
    **{"times": "×", "le": "≤", "ge": "≥", "pm": "±", "circ": "∘", "ast": "∗", "nabla": "∇", "ldots": "…", "dots": "…", "sqrt": "√"},
}
_UPRIGHT_SYMBOLS = frozenset({"top", "odot", "cdot", "lvert", "rvert", "vert", "lVert", "rVert", "times", "le", "ge", "pm", "sqrt"})
_ACCENTS = {"tilde": "\u0303", "bar": "\u0304", "hat": "\u0302", "dot": "\u0307", "ddot": "\u0308", "check": "\u030c", "vec": "\u20d7"}
_ACCENTS |= {"widetilde": "\u0303", "widehat": "\u0302", "overline": "\u0304", "breve": "\u0306"}
_SCRIPT = {"B": "ℬ", "E": "ℰ", "F": "ℱ", "H": "ℋ", "I": "ℐ", "L": "ℒ", "M": "ℳ", "R": "ℛ", "e": "ℯ", "g": "ℊ", "o": "ℴ"}
_DOUBLE = {"C": "ℂ", "H": "ℍ", "N": "ℕ", "P": "ℙ", "Q": "ℚ", "R": "ℝ", "Z": "ℤ"}
_WORDS = frozenset({"exp", "log", "sin", "cos", "tanh", "max", "min"})
_IGNORED = frozenset({"left", "right", "textstyle", "displaystyle", "limits", "!", "mathstrut", "big", "Big"})
_SPACES = frozenset({",", ";", ":", " ", "quad"})
_DEEP = frozenset("gjpqyβγζηξρφχψμς()[]|,Q")
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}_^]|[^\\{}_^]", re.DOTALL)


def typeset(latex: str) -> Label:
    """Return the runs of a small piece of LaTeX: names with scripts and accents, functions, fractions on one line."""
    runs, _ = _sequence(_TOKEN.findall(latex), 0, "")
    return _merged(runs)


def plain(text: str) -> Label:
    """Return upright text as a label."""
    return (Run(text),) if text else ()


def text_of(label: Label) -> str:
    """Return a label's characters without their styles."""
    return "".join(run.text for run in label)


def joined(labels: Sequence[Label], separator: str) -> Label:
    """Return labels one after the other."""
    runs: list[Run] = []
    for k, label in enumerate(labels):
        runs += [Run(separator)] * (k > 0) + list(label)
    return _merged(runs)


def width(label: Label) -> float:
    """Return a generous estimate of a label's width in px."""
    return sum((SMALL if run.shift else BASE) * sum(map(_advance, run.text)) for run in label)


def extent(label: Label) -> tuple[float, float]:
    """Return how far a label reaches above and below its baseline, in px."""
    accent = any(combining(c) or c != normalize("NFD", c) for run in label for c in run.text)
    top = max([14.0 if accent else 11.0, *(8.0 - SUP for run in label if run.shift < 0)])
    return top, max([0.0, *(max(0.0, _offset(run)) + (4.0 if _DEEP & {*run.text} else 1.0) for run in label)])


def _offset(run: Run) -> float:
    return SUB if run.shift > 0 else SUP if run.shift < 0 else 0.0


def _advance(character: str) -> float:
    """Return the width of a character in units of the font's size."""
    if combining(character):
        return 0.0
    if character in "ijltfrI|.,'′:;()[] /ℓι":
        return 0.38
    if character in "mwMWϖ" or ord(character) > 0xFFFF:
        return 0.92
    return 0.72 if character.isupper() or character in "⟨⟩σωφψ+−=<>≤≥×÷" else 0.58


def _merged(runs: Sequence[Run]) -> Label:
    merged: list[Run] = []
    for run in runs:
        if merged and replace(merged[-1], text="") == replace(run, text=""):
            merged[-1] = replace(run, text=merged[-1].text + run.text)
        elif run.text:
            merged.append(run)
    return tuple(merged)


def _sequence(tokens: Sequence[str], at: int, font: str) -> tuple[list[Run], int]:
    """Read up to the end or the bracket that closes; return the runs and where reading goes on."""
    runs: list[Run] = []
    while at < len(tokens) and tokens[at] != "}":
        if tokens[at] in "_^":
            inner, at2 = _argument(tokens, at + 1, font)
            shift = 1 if tokens[at] == "_" else -1
            runs += [replace(run, shift=shift) for run in inner]
            at = at2
        else:
            more, at = _atom(tokens, at, font)
            runs += more
    return runs, at


def _argument(tokens: Sequence[str], at: int, font: str) -> tuple[list[Run], int]:
    """Read a group in braces, or one atom; blanks before it count for nothing."""
    while at < len(tokens) and tokens[at].isspace():
        at += 1
    if at >= len(tokens):
        return [], at
    if tokens[at] == "{":
        runs, end = _sequence(tokens, at + 1, font)
        return runs, end + 1
    return _atom(tokens, at, font)


def _atom(tokens: Sequence[str], at: int, font: str) -> tuple[list[Run], int]:
    token = tokens[at]
    if token == "{":
        return _argument(tokens, at, font)
    if not token.startswith("\\"):
        return _character(token, font), at + 1
    word = token[1:]
    if word in _ACCENTS:
        inner, end = _argument(tokens, at + 1, font)
        return _accented(inner, _ACCENTS[word]), end
    if word in ("mathrm", "operatorname", "text", "mathit", "mathcal", "mathbb", "mathbf", "boldsymbol", "textrm", "mathsf"):
        return _argument(tokens, at + 1, word)
    if word in ("frac", "tfrac", "dfrac"):
        above, middle = _argument(tokens, at + 1, font)
        below, end = _argument(tokens, middle, font)
        return [*above, Run("/"), *below], end
    return _symbol(word, font), at + 1


def _symbol(word: str, font: str) -> list[Run]:
    if word in _IGNORED:
        return []
    if word in _SPACES:
        return [Run(" ")]
    if word in _SYMBOLS:
        symbol = _SYMBOLS[word]
        return [Run(symbol, italic=symbol.isalpha() and symbol.islower() and word not in _UPRIGHT_SYMBOLS and font != "mathrm")]
    return [Run(word)] if word in _WORDS or len(word) > 1 else [Run({"|": "‖", "\\": " "}.get(word, word))]


def _character(character: str, font: str) -> list[Run]:
    if character == "'":
        return [Run("′")]
    if character == "-":
        return [Run("−")]
    if character.isspace():
        return [Run(" ")] if font in ("text", "textrm") else []
    if font == "mathcal" and character.isascii() and character.isalpha():
        code = 0x1D49C + ord(character) - 65 if character.isupper() else 0x1D4B6 + ord(character) - 97
        return [Run(_SCRIPT.get(character, chr(code)))]
    if font == "mathbb" and character.isascii() and character.isupper():
        return [Run(_DOUBLE.get(character, chr(0x1D538 + ord(character) - 65)))]
    return [Run(character, italic=character.isalpha() and font in ("", "mathit", "boldsymbol"))]


def _accented(runs: Sequence[Run], mark: str) -> list[Run]:
    """Put an accent over the first letter, composed into one character where there is one."""
    if not runs:
        return []
    first = runs[0]
    return [replace(first, text=normalize("NFC", first.text[:1] + mark) + first.text[1:]), *runs[1:]]
