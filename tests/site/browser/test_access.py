"""The built site for everybody: by keys, by ear, without scripts, in the dark, on paper, and over a slow line."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from helpers import axe
from helpers.chromium import CHROMIUM, MISSING
from helpers.sites import DESKTOP, PHONE, Built

from derive.calculus.traits import traits
from derive.cells import REGISTRY

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'derive-rnn[test]'")

from test_browser import contrast

from derive.picture import svg, thumbnail
from derive.site.formulas import typeset
from derive.site.mathml import mathml
from derive.site.parts import FRAME, LARGE
from derive.theory import DATA, DIAGRAMS, EXPERIMENTS, read
from derive.theory.appearance import svg as figure

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
    pytest.mark.xdist_group("browser"),  # the site is built once
]
SHAPES = Path(__file__).with_name("shapes.js").read_text(encoding="utf-8")
# What is left out is the theme's own markup, of which we write none: the navigation of code blocks has no name, and that of a section
# with a page of its own an empty one; the search, which is a dialog while it is open, has none.
RULES = {name: {"enabled": False} for name in ("landmark-unique", "aria-dialog-name")}
PAPERS = {"light": ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0.87)"), "dark": ("rgb(30, 33, 41)", "rgb(191, 193, 198)")}


def gallery(built: Built) -> str:
    return built.page("cell-gallery")


# Everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(built: Built, browser: Any, scheme: str) -> None:
    page, script = browser.new_context(viewport=DESKTOP, color_scheme=scheme).new_page(), axe.script()
    cells = {built.page(cell.name) for cell in built.site.cells}
    written = [name for name in built.pages() if not name.startswith("cells/") and name not in cells]
    beside = [name for name in built.pages() if name.startswith("cells/") and "-" in name]  # the gallery, and parts of cells' pages
    for name in {*written, *beside, built.page("lstm"), built.page("slstm"), gallery(built)}:
        page.goto(built.address + name, wait_until="load")
        page.evaluate(script)
        found = page.evaluate("rules => axe.run(document, { resultTypes: ['violations'], rules })", RULES)
        assert {broken["id"]: [node["html"][:200] for node in broken["nodes"]] for broken in found["violations"]} == {}, name


def test_axe_finds_what_is_wrong(browser: Any) -> None:
    page = browser.new_context().new_page()
    page.set_content('<main><p style="color: #aaa">faint</p><img src="data:,"></main>')
    page.evaluate(axe.script())
    found = page.evaluate("rules => axe.run(document, { rules })", RULES)
    assert {"color-contrast", "image-alt"} <= {broken["id"] for broken in found["violations"]}


def test_what_scrolls_is_reached_by_keys(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=PHONE).new_page()
    page.goto(built.address + built.page("slstm"), wait_until="load")
    page.wait_for_timeout(200)  # boxes are measured after the page is laid out
    wide = "node => [...node].filter(box => box.scrollWidth > box.clientWidth).map(box => box.tabIndex)"
    for boxes in (".equation > div:visible", ".block > div:visible"):
        found = page.locator(boxes).evaluate_all(wide)
        assert found and set(found) == {0}, boxes
    page.set_viewport_size({"width": 3000, "height": 900})
    page.wait_for_timeout(200)
    assert page.locator(".equation > div[tabindex]:visible").count() == 0
    either = "node => [...node].filter(box => (box.scrollWidth > box.clientWidth) !== (box.tabIndex === 0)).length"
    assert page.locator(".block > div:visible").evaluate_all(either) == 0


def test_headings_are_links(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    for name in ["index.html", built.page("lstm"), gallery(built)]:
        page.goto(built.address + name)
        bare = "nodes => nodes.filter(node => !node.id || !node.querySelector(`a.headerlink[href='#${CSS.escape(node.id)}']`)).length"
        headings = page.locator(".md-content :is(h1, h2, h3)")
        assert headings.count() and headings.evaluate_all(bare) == 0, name


# Light, dark, paper


@cache
def drawings() -> dict[str, str]:
    """Return one of each kind of picture, and all figures and diagrams."""
    return {
        "cell": svg(REGISTRY["lstm"]),
        "small": thumbnail(REGISTRY["lstm"]),
        **{name: figure(EXPERIMENTS[name].draw, read(name, DATA), EXPERIMENTS[name].size) for name in EXPERIMENTS},
        **{name: diagram() for name, diagram in DIAGRAMS.items()},
    }


@pytest.mark.parametrize("scheme", PAPERS)
def test_drawings_are_seen_on_both_papers(browser: Any, scheme: str) -> None:
    paper, ink = PAPERS[scheme]
    page = browser.new_context(color_scheme=scheme).new_page()
    style = (ROOT / "derive" / "site" / "assets" / "derive.css").read_text(encoding="utf-8")
    page.set_content(f"<style>{style} body {{ --md-default-fg-color: {ink}; color: {ink} }}</style>{''.join(drawings().values())}")
    assert dict(zip(drawings(), unseen(page, paper), strict=True)) == {name: [] for name in drawings()}


def test_a_chart_that_is_an_image_brings_its_paper(browser: Any) -> None:
    """It has no colours of the page's."""
    page = browser.new_context(color_scheme="dark").new_page()
    page.goto((ROOT / "docs" / "benchmarks.svg").as_uri())
    assert [drawing["paper"] for drawing in page.evaluate(SHAPES)] == ["rgb(255, 255, 255)"]


def test_what_is_drawn_in_the_colour_of_the_paper_is_found(browser: Any) -> None:
    page = browser.new_context().new_page()
    page.set_content('<svg><path d="M5 5h9"/><path d="M5 5h9" stroke="white"/><rect x="9" width="9" height="9" fill="white"/></svg>')
    assert [len(lost) for lost in (*unseen(page, "rgb(30, 33, 41)"), *unseen(page, "rgb(255, 255, 255)"))] == [1, 1]


def unseen(page: Any, paper: str) -> list[list[str]]:
    """Return, for each drawing of a page, the shapes none of whose colours is told from what it is drawn on."""
    return [
        [s["what"] for s in drawing["shapes"] if max(contrast(colour, drawing["paper"] or paper) for colour in s["colours"]) < 2]
        for drawing in page.evaluate(SHAPES)
    ]


def test_on_paper_there_is_what_is_read(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport={"width": 700, "height": 1000}, color_scheme="dark").new_page()
    page.goto(built.address + built.page("lstm"))
    page.emulate_media(media="print")
    for gone in (".md-header", ".md-sidebar", ".md-footer", ".headerlink", ".equation .code", ".md-code__nav"):
        assert page.locator(f"{gone}:visible").count() == 0, gone
    for kept in ("figure.picture svg", ".equation math", ".reference"):
        assert page.locator(kept).first.is_visible(), kept
    style = "node => [getComputedStyle(node).breakInside, node.scrollWidth <= document.documentElement.clientWidth]"
    assert page.locator("figure.picture").evaluate(style) == ["avoid", True]
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(255, 255, 255)"
    page.goto(built.address + gallery(built))
    assert page.locator(".filters").is_hidden() and page.locator("ul.gallery svg").first.is_visible()


# The gallery


def test_the_gallery_is_filtered_by_keys(built: Built, browser: Any) -> None:
    """Read from a folder, as it may be."""
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto((built.folder / gallery(built)).as_uri())
    has = {cell.name: {trait.name for trait in traits(cell)} for cell in built.site.cells}
    assert shown(page) == set(has)
    for pressed in (["gated"], ["gated", "diagonal"], ["diagonal"], []):
        for button in page.locator(".filters button").all():
            if (button.get_attribute("aria-pressed") == "true") != (name_of(button) in pressed):
                button.focus()
                page.keyboard.press("Space")
        wanted = {name for name, found in has.items() if found >= set(pressed)}
        assert shown(page) == wanted
        assert page.locator(".filters [role=status]").inner_text() == f"{len(wanted)} of {len(has)} cells"
        headings = page.locator(".md-content h2:has(+ ul.gallery)")
        assert headings.evaluate_all("all => all.every(h => h.checkVisibility() === h.nextElementSibling.checkVisibility())")


def test_the_gallery_is_filtered_by_family(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    page.goto(built.address + gallery(built))
    for title, cells in [*built.site.groups.items()][:3]:
        page.get_by_label("family").select_option(title)
        assert shown(page) == {cell.name for cell in cells}
    page.get_by_label("family").select_option("all")
    assert shown(page) == {cell.name for cell in built.site.cells}


def test_without_scripts_the_gallery_shows_all(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport=DESKTOP, java_script_enabled=False).new_page()
    page.goto(built.address + gallery(built))
    assert shown(page) == {cell.name for cell in built.site.cells}
    assert page.locator(".filters").is_hidden()


def shown(page: Any) -> set[str]:
    return {Path(link.get_attribute("href")).stem for link in page.locator("ul.gallery > li:visible a").all()}


def name_of(button: Any) -> str:
    return button.evaluate("button => button.firstChild.textContent.trim()")


# Over a slow line


def test_pages_are_small(built: Built) -> None:
    sizes = {name: (built.folder / name).stat().st_size for name in built.pages()}
    assert {name: size for name, size in sizes.items() if size > LARGE} == {}
    for name in [name for name in sizes if name.startswith("cells/")]:  # what is measured before the site is built is the truth
        text = (built.sources / name).with_suffix(".md").read_text(encoding="utf-8")
        assert sizes[name] - len(typeset(text, mathml).encode()) < FRAME, name
    assert LARGE == 300_000 and "A page is smaller than 300 KB" in (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
