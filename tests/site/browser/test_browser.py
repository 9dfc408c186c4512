"""The built site in a real browser: what is missing, loud, overlapping or too wide is seen there only.

Needs Chromium (`helpers/chromium.py`) and Playwright; nothing is installed or downloaded here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from conftest import ROOT
from helpers.chromium import CHROMIUM, MISSING
from helpers.sites import DESKTOP, PHONE, PICTURED, Built

from derive.cells import REGISTRY

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'derive-rnn[test]'")

import yaml
from markdown import Markdown

from derive.site.builder import KEYWORDS
from derive.site.formulas import MARKED
from derive.site.mathml import mathml

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
    pytest.mark.xdist_group("browser"),  # the site is built once
]
LEFT = "net::ERR_ABORTED"  # asked for by a page that was left before it came

FACTS, INK = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("facts.js", "ink.js"))


@dataclass
class Visit:
    """What a browser saw of a page; `narrow` are the facts of the page in the hand."""

    facts: dict[str, Any]
    narrow: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


def visit(page: Any, built: Built, name: str) -> Visit:
    """Open a page, and note what it says to the console and asks from elsewhere."""
    found = Visit({})
    listeners = {
        "console": lambda message: found.said.append(f"{message.type}: {message.text}") if message.type in ("error", "warning") else None,
        "pageerror": lambda error: found.said.append(str(error)),
        "requestfailed": lambda request: found.said.append(f"{request.failure}: {request.url}") if request.failure != LEFT else None,
        "request": lambda request: (
            found.outside.append(request.url) if not request.url.startswith((built.address, "data:", "blob:")) else None
        ),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(built.address + name, wait_until="load")
    page.evaluate("document.fonts.ready.then(() => true)")
    found.facts = page.evaluate(FACTS)
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return found


@pytest.fixture(scope="module")
def visits(built: Built, browser: Any) -> dict[str, Visit]:
    """Every page, at a desk and in the light, and as a phone shows it."""
    page, found = browser.new_context(viewport=DESKTOP, color_scheme="light").new_page(), {}
    for name in built.pages():
        found[name] = visit(page, built, name)
        page.set_viewport_size(PHONE)
        found[name].narrow = page.evaluate(FACTS)
        page.set_viewport_size(DESKTOP)
    return found


def test_there_is_a_page_for_each_cell_and_each_text(built: Built, visits: dict[str, Visit]) -> None:
    texts = {path.relative_to(built.sources).with_suffix(".html").as_posix() for path in built.sources.rglob("*.md")}
    assert set(visits) == texts >= {built.page(cell.name) for cell in built.site.cells}
    assert all(found.facts["title"] for found in visits.values())


def test_pages_are_quiet_and_ask_nobody(visits: dict[str, Visit]) -> None:
    assert {name: found.said for name, found in visits.items() if found.said} == {}
    assert {name: found.outside for name, found in visits.items() if found.outside} == {}


def test_every_formula_is_there(built: Built, visits: dict[str, Visit]) -> None:
    for name, found in visits.items():
        text = (built.sources / name).with_suffix(".md").read_text(encoding="utf-8")
        assert found.facts["formulas"] == formulas(text), name
        assert (found.facts["raw"], found.facts["empty"]) == (0, 0), name
    assert sum(found.facts["formulas"] for found in visits.values()) > 50 * len(built.site.cells)


def formulas(text: str) -> int:
    """Count the formulas of a page's source, by Markdown without the extension that sets them."""
    options = {"pymdownx.arithmatex": {"generic": True}}
    md = Markdown(
        extensions=["pymdownx.arithmatex", "pymdownx.superfences", "tables", "attr_list", "admonition"], extension_configs=options
    )
    return len(MARKED.findall(md.convert(text)))


def test_links_and_anchors_hold(built: Built, visits: dict[str, Visit]) -> None:
    broken = []
    for name, found in visits.items():
        for link in found.facts["links"]:
            if re.match(r"[a-z]+:", link):
                continue
            path, anchor = urldefrag(urljoin(f"/{name}", link))
            target = f"{path}index.html".removeprefix("/") if path.endswith("/") else path.removeprefix("/")
            if target not in visits:
                broken += [] if (built.folder / unquote(target)).is_file() else [(name, link)]
            elif anchor and unquote(anchor) not in visits[target].facts["ids"]:
                broken.append((name, link))
    assert broken == []


def test_ids_are_places(visits: dict[str, Visit]) -> None:
    for name, found in visits.items():
        ids = [key for key in found.facts["ids"] if not key.startswith("__")]
        assert len(ids) == len(set(ids)), (name, sorted(key for key in ids if ids.count(key) > 1))


def test_pictures_are_drawn_and_no_label_covers_another(visits: dict[str, Visit]) -> None:
    covered = []
    for name, found in visits.items():
        if name.removeprefix("cells/").removesuffix(".html") in REGISTRY:
            assert len(found.facts["shapes"]) == 1 and found.facts["shapes"][0] >= 4, name
            assert len(found.facts["labels"][0]) >= 3, name
        for labels in found.facts["labels"]:
            assert labels and all(label["w"] > 0 and label["h"] > 0 for label in labels if label["text"].strip()), name
            covered += [(name, a["text"], b["text"]) for k, a in enumerate(labels) for b in labels[:k] if overlap(a, b)]
        assert found.facts["images"] == [], name
    assert covered == []


def overlap(a: dict[str, float], b: dict[str, float], slack: float = 1.5) -> bool:
    """Say whether two boxes have more than a hair in common; fonts' boxes are a little larger than their letters."""
    across = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    down = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    return across > slack and down > 0.25 * min(a["h"], b["h"])


def test_overlaps_are_found() -> None:
    a = {"x": 0, "y": 0, "w": 10, "h": 10}
    assert overlap(a, {"x": 5, "y": 5, "w": 10, "h": 10})
    assert not overlap(a, {"x": 11, "y": 0, "w": 10, "h": 10}) and not overlap(a, {"x": 0, "y": 9, "w": 10, "h": 10})


def test_the_search_finds_the_forget_gate(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(built.address)
    page.locator("input.md-search__input").click()
    page.locator("input.md-search__input").press_sequentially("forget gate")
    page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
    found = page.locator(".md-search-result__item").all_inner_texts()
    links = page.locator(".md-search-result__link").evaluate_all("links => links.map(a => a.getAttribute('href'))")
    assert any("forget" in text.lower() for text in found)
    assert any(built.page("lstm").removesuffix(".html") in link for link in links)
    assert urljoin(built.address, urldefrag(links[0])[0].split("?")[0]) == built.address + built.page("lstm")


SEARCH = """async queries => {
  const engine = new Worker(JSON.parse(document.getElementById("__config").textContent).search)
  const ask = (type, data) => new Promise(resolve => {
    engine.onmessage = message => resolve(message.data.data)
    engine.postMessage({ type, data })
  })
  await ask(0, { ...await (await fetch("search/search_index.json")).json(), options: { suggest: false } })
  const found = {}
  for (const query of queries) found[query] = (await ask(2, query)).items[0]?.[0].location.split("#")[0]
  return found
}"""


def test_names_of_cells_and_keywords_lead_to_their_pages(built: Built, browser: Any) -> None:
    """The theme's own search is asked; its messages are those of `assets/search.js`: 0 takes the index, 2 a query."""
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(built.address)
    wanted = {cell.name: built.page(cell.name) for cell in built.site.cells}
    if built.site.docs:
        keywords = yaml.safe_load((built.site.docs / KEYWORDS).read_text(encoding="utf-8"))
        wanted |= {word: name.removesuffix(".md") + ".html" for name, words in keywords.items() for word in words}
    found = page.evaluate(SEARCH, list(wanted))
    assert {query: where for query, where in found.items() if where != wanted[query]} == {}


def test_a_site_in_a_folder_is_searched_and_the_plain_cell_comes_first(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto((built.folder / "index.html").as_uri())
    page.locator("input.md-search__input").click()
    page.locator("input.md-search__input").press_sequentially("lstm")
    page.locator(".md-search-result__item").first.wait_for(timeout=20_000)
    first = page.locator(".md-search-result__link").first.get_attribute("href")
    assert urldefrag(first)[0].split("?")[0] == (built.folder / built.page("lstm")).as_uri() and said == []


CUT_OFF = """() => {
  const boxes = [...document.querySelectorAll(".equations .left, .equations .right, .blocks .right, .equations math, .blocks math")]
  for (const box of boxes) if (box.scrollWidth <= box.clientWidth || box.localName === "math") box.style.overflow = "visible"
}"""


@pytest.mark.parametrize("width", [1400, 420])
def test_no_letter_of_an_equation_is_cut_off(built: Built, browser: Any, width: int) -> None:
    """Glyphs reach beyond their boxes, so heights tell nothing: what is drawn is the same if nothing were cut off but what is scrolled."""
    page = browser.new_context(viewport={"width": width, "height": 6000}).new_page()  # nothing scrolls under the header
    for name in ("lstm", "slstm"):
        page.goto(built.address + built.page(name))
        page.evaluate("document.fonts.ready.then(() => true)")
        equations = page.locator(".equations").nth(1)
        before = equations.screenshot()
        page.evaluate(CUT_OFF)
        assert equations.screenshot() == before, name


NUMBERED = r"""\begin{aligned}
a &= b + c && \quad \text{(B1)} \\
\bar{a}_{t-1} &= b && \quad \text{(B2)}
\end{aligned}"""
COLUMNS = """nodes => nodes.map(row => [...row.children].map(cell => {
  const boxes = [...cell.querySelectorAll("mi, mn, mtext")].map(part => part.getBoundingClientRect())
  return [Math.min(...boxes.map(box => box.left)), Math.max(...boxes.map(box => box.right))]
}))"""


def test_equations_meet_at_their_sign_and_their_numbers_stand_apart(browser: Any) -> None:
    """Browsers know neither the alignment nor the distance of columns that MathML has as attributes."""
    page = browser.new_context(viewport=DESKTOP).new_page()
    style = (ROOT / "derive" / "site" / "assets" / "derive.css").read_text(encoding="utf-8")
    page.set_content(f"<style>{style}</style>{mathml(NUMBERED, True)}")
    (short, sum_, _, first), (long, _, _, second) = page.locator("mtr").evaluate_all(COLUMNS)
    assert short[1] == pytest.approx(long[1], abs=2) and short[0] > long[0] + 10  # right, so that what follows is an equals sign
    assert first[0] == pytest.approx(second[0], abs=0.5)
    assert first[0] - sum_[1] > 2 * 16  # more than a quad, and a letter is 16 px or more


def test_a_phone_scrolls_down_only(visits: dict[str, Visit]) -> None:
    assert {name: found.narrow["wide"] for name, found in visits.items() if found.narrow["wide"] > 0} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_what_is_written_stands_out(built: Built, browser: Any, scheme: str, viewport: dict[str, int]) -> None:
    """WCAG 2's contrast: 4.5 for text, here 3 so that what is meant to stand back may."""
    page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
    papers = set()
    texts = ["theory/vanishing.html", "derivations.html"] if built.site.docs else []
    for name in [*map(built.page, PICTURED), *texts, "index.html"]:
        page.goto(built.address + name)
        faint = []
        for found in page.evaluate(INK):
            papers.add(found["under"])
            if contrast(found["ink"], found["under"]) < 3:
                faint.append(found)
        assert faint == [], name
    assert any(luminance(paper) < 0.1 for paper in papers) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(…)`` (WCAG 2.2)."""
    values = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(ink: str, under: str) -> float:
    """Return the contrast of two colours; an ink that lets through is mixed with what is under it."""
    parts = [float(part) for part in re.findall(r"[\d.]+", ink)]
    below = [float(part) for part in re.findall(r"[\d.]+", under)][:3]
    opacity = parts[3] if len(parts) > 3 else 1.0
    mixed = [opacity * a + (1 - opacity) * b for a, b in zip(parts[:3], below, strict=True)]
    light, dark = sorted((luminance(f"rgb({mixed})"), luminance(under)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(1)


def test_numbers_lead_to_code_and_back(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(built.address + built.page("lstm"))
    page.locator("#B2 .number .code").click()
    assert page.evaluate("document.querySelector(':target').id") == "code-B2"
    place = page.locator("#code-B2")
    assert place.is_visible() and "(B2)" in place.inner_text()
    place.locator("a").click()
    assert page.evaluate("document.querySelector(':target').id") == "B2"


def test_pages_read_from_a_folder_are_quiet(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto((built.folder / built.page("lstm")).as_uri())
    assert page.locator(".equation math").first.is_visible()
    assert said == []
