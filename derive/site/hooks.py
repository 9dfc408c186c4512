"""What MkDocs calls while it builds (a file that it loads itself): pages are smaller for it, and the search reads no formulas.

The theme indents its templates deeply.  Where its search is told to leave an element out, it reads on after the first element of the same
kind within: so these elements are taken out of a page before the search sees it, and put back when the page is made.
"""

from __future__ import annotations

import re
from typing import Any

LEFT_OUT = "data-search-exclude"
DIV = re.compile(r"<(/?)div\b([^>]*)>")
PLACE = re.compile(r"<!-- aside (\d+) -->")


def aside(content: str) -> tuple[str, list[str]]:
    """Return HTML without those of its outermost `div` that the search leaves out, a comment in the place of each, and these."""
    shorter: list[str] = []
    taken: list[str] = []
    depth, start, end = 0, 0, 0
    for tag in DIV.finditer(content):
        if depth:
            depth += -1 if tag[1] else 1
            if depth == 0:
                shorter += [content[end:start], f"<!-- aside {len(taken)} -->"]
                taken.append(content[start : tag.end()])
                end = tag.end()
        elif LEFT_OUT in tag[2]:
            depth, start = 1, tag.start()
    return "".join([*shorter, content[end:]]), taken


def put_back(output: str, taken: list[str]) -> str:
    """Return a page with what `aside` has taken out of it."""
    return PLACE.sub(lambda place: taken[int(place[1])], output)


def on_env(env: Any, **_: Any) -> Any:
    """Leave out the lines that hold nothing but a statement of a template, and the spaces before it."""
    env.trim_blocks = env.lstrip_blocks = True
    return env


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Take out what the search leaves out."""
    shorter, page.meta[LEFT_OUT] = aside(html)
    return shorter


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Put it back."""
    return put_back(output, page.meta[LEFT_OUT])
