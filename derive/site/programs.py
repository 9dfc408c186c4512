"""The code on a cell's page: how its kernels are used, and the kernels."""

from __future__ import annotations

import html

from ..notation.latex import derivation
from .emitted import rendered
from .example import example
from .page import Page


def use(page: Page) -> str:
    """How to import it."""
    latex = html.escape(derivation(page.cell), quote=False)
    told = f' <a href="{page.links.devices}">What has run on a device</a>.' if page.links.devices else ""
    return "\n\n".join(
        [
            f"```python\n{example(page.cell, page.package)}\n```",
            f"<p>On a CUDA device, with arrays there: <code>from {page.package}.cuda import {page.cell.name}</code>. "
            f"The check above is of the kernels for the CPU, not of these.{told}</p>",
            f'<p><a href="{page.cell.name}.txt">The derivation as plain text</a>, as <code>derive show</code> prints it.</p>',
            "<details><summary>The derivation in LaTeX, for a paper</summary>"
            f'<div class="highlight" data-search-exclude><pre><code>{latex}</code></pre></div></details>',
        ]
    )


def kernels(page: Page) -> str:
    """The emitted loops."""
    return "\n\n".join(f"### {title}\n\n{text}" if title else text for title, text in pieces(page))


def pieces(page: Page) -> list[tuple[str, str]]:
    """The same as titles and texts: what is said of them, and each loop."""
    done: set[str] = set()
    loops = [(f"`{listing.name}` {{ #kernel-{listing.name} }}", rendered(listing, done)) for listing in page.listings]
    return [("", "<p>As generated. A number leads to its equation, and “code” beside an equation leads here.</p>"), *loops]
