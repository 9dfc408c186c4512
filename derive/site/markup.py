"""Pieces of HTML for pages: tables, equations with numbers, sentences with formulas and links in them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from ..notation.written import Written
from .formulas import display, inline

LONG = 52  # of a formula, in characters that are seen: beyond, it is broken before a + or -
TAG = r"[FBTCD]\d+(?:\.\d+)*"
FLAT = r"\\frac\{([^{}]*)\}\{([^{}]*)\}|(?:[_^]|\\(?!frac)[a-z]+)\{([^{}]*)\}|(?<!frac)(?<!\})\{([^{}]*)\}|[_^]"
NAMED = ("tanh", "exp", "log", "max", "min", "sin", "cos")


def sentence(text: str) -> str:
    """Return a sentence with ``$formula$``, `` `code` `` and ``[F5]`` as HTML."""
    parts = re.split(rf"(\$.+?\$|`.+?`|\[{TAG}\])", text)
    return "".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if part.startswith("$"):
        return inline(part[1:-1])
    if part.startswith("`"):
        return f"<code>{html.escape(part[1:-1], quote=False)}</code>"
    return link(part[1:-1]) if re.fullmatch(rf"\[{TAG}\]", part) else html.escape(part, quote=False)


def link(tag: str) -> str:
    """Return a link to an equation of the page."""
    return f'<a href="#{tag}">{tag}</a>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table of cells that are HTML; `kind` is a class of its own for the stylesheet."""
    lines = ["<table>", f"<thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead>", "<tbody>"]
    lines += [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    return "\n".join([f'<div class="wide {kind}">' if kind else '<div class="wide">', *lines, "</tbody>", "</table>", "</div>"])


def equations(lines: Mapping[str, str], notes: Mapping[str, str] | None = None, listed: Iterable[str] = ()) -> str:
    """Return numbered equations, aligned at their equals signs.

    Parameters
    ----------
    lines : mapping
        LaTeX by number (F1, B2).
    notes : mapping, optional
        A sentence under an equation, by number.
    listed : iterable of str
        Numbers that stand in the listings of the page, which the equation links to.
    """
    listed = frozenset(listed)
    rows = [_equation(tag, tex, (notes or {}).get(tag, ""), tag in listed) for tag, tex in lines.items()]
    return "\n".join(['<div class="equations" data-search-exclude>', *rows, "</div>"])


def blocks(lines: Iterable[Written]) -> str:
    """Return lines and heads of blocks as they are written; their copies are elsewhere, which is where links to them go."""
    rows = []
    for line in lines:
        shown = f'<span class="tag">({line.tag})</span>' if line.tag else ""
        left, sign, right = _sides(line.text) if line.tag else (line.text, "", "")
        margin = f' style="text-align: left; padding-left: {2 * line.depth}em"'
        rows.append(
            f'<div class="equation"><div class="left"{margin}>{display(left)}</div>'
            f'<div class="right">{right_side(right, sign) if line.tag else ""}</div><div class="number">{shown}</div></div>'
        )
    return "\n".join(['<div class="equations" data-search-exclude>', *rows, "</div>"])


def _sides(tex: str) -> tuple[str, str, str]:
    """Return what stands on the two sides of an equation, and the sign between."""
    found = re.search(r" (=|\\leftarrow) ", tex)
    return (tex[: found.start()], found[1], tex[found.end() :]) if found else (tex, "=", "")


def _equation(tag: str, tex: str, note: str, listed: bool) -> str:
    left, _, right = tex.partition(" = ")
    code = f'<a class="code" href="#code-{tag}" title="where the kernels compute it">code</a>' if listed else ""
    number = f'{code}<a class="tag" href="#{tag}" title="a link to this line">({tag})</a>'
    under = f'<div class="why">{sentence(note)}</div>' if note else ""
    return (
        f'<div class="equation" id="{tag}"><div class="left">{display(left)}</div><div class="right">{right_side(right)}</div>'
        f'<div class="number">{number}</div>{under}</div>'
    )


def right_side(tex: str, sign: str = "=") -> str:
    """Return the right side of an equation, with its sign, broken into lines where it is long."""
    first, *rest = broken(tex)
    return display(f"{{}} {sign} {first}") + "".join(display(rf"\qquad {{}} {line}") for line in rest)


def broken(tex: str, width: int = LONG) -> list[str]:
    """Return a sum as lines that are not much longer than `width`, each but the first beginning with its sign."""
    lines, line = [], ""
    for term in _terms(tex):
        if line and seen(line) + seen(term) > width:
            lines.append(line)
            line = term.lstrip()
        else:
            line += term
    return [*lines, line]


def seen(tex: str) -> int:
    """Return about how many characters of a formula are seen side by side."""
    plain = re.sub(r"\\(left|right|textstyle|begin\{\w+\}|end\{\w+\}|[,;])|\s", "", re.sub(r"(?<=\w) +(?=\w)", "~", tex))
    plain = re.sub(r"\\([a-zA-Z]+)(?![a-zA-Z{])", lambda word: word[1] if word[1] in NAMED else "x", plain).replace("~", "")
    while (shorter := re.sub(FLAT, _across, plain)) != plain:
        plain = shorter
    return len(plain)


def _across(group: re.Match[str]) -> str:
    """Return what is as wide as a group without groups in it: of a fraction, its wider part."""
    return max((part or "" for part in group.groups()), key=len)


def _terms(tex: str) -> list[str]:
    """Return the terms of a sum, each with the sign before it."""
    depth, start, terms = 0, 0, []
    for found in re.finditer(r"\\left|\\right|\\begin|\\end|[{}]| [+-] ", tex):
        word = found[0]
        if word in (" + ", " - "):
            if depth == 0:
                terms.append(tex[start : found.start()])
                start = found.start()
        else:
            depth += 1 if word in ("\\left", "\\begin", "{") else -1
    return [*terms, tex[start:]]
