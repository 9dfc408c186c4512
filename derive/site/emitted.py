"""The emitted code on a page: the functions that compute numbered equations, the numbers linked to the equations."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from ..calculus.tags import place
from .markup import TAG, link

NUMBER = re.compile(rf"\(({TAG})\)")
PLAIN = re.compile(r'<span class="[nop]">(.*?)</span>')  # names, operators and brackets: most of a listing, in the color of the rest


@dataclass(frozen=True)
class Listing:
    """A function of an emitted module that computes equations."""

    name: str
    code: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The numbers of the equations that it computes, each once, in order."""
        return tuple(dict.fromkeys(NUMBER.findall(self.code)))


def listings(module: str) -> list[Listing]:
    """Return the functions of an emitted module that compute numbered equations: forward first, loops before what follows them."""
    lines = module.splitlines()
    found = []
    for node in ast.parse(module).body:
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            code = "\n".join(lines[first - 1 : node.end_lineno])
            if NUMBER.search(code):
                found.append(Listing(node.name, code))
    return sorted(found, key=lambda listing: min((tag[0] == "B", place(tag)) for tag in listing.tags))


def rendered(listing: Listing, done: set[str]) -> str:
    """Return the code as HTML; a number that is not yet in `done` becomes the place that its equation links to."""

    def numbered(match: re.Match[str]) -> str:
        tag = match[1]
        first = tag not in done
        done.add(tag)
        return f'<span id="code-{tag}">({link(tag)})</span>' if first else f"({link(tag)})"

    code = highlight(listing.code, PythonLexer(), HtmlFormatter(nowrap=True))
    code = PLAIN.sub(r"\1", code)
    code = re.sub(r'<span class="c1">.*?</span>', lambda comment: NUMBER.sub(numbered, comment[0]), code)
    return f'<div class="highlight" data-search-exclude><pre><code>{code}</code></pre></div>'
