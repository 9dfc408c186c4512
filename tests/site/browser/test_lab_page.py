"""The lab as a reader uses it: what a control changes, in a page that lies in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.chromium import CHROMIUM, MISSING
from helpers.sites import DESKTOP

pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'derive-rnn[test]'")

ROOT = Path(__file__).parents[3]
PAGE, SCRIPTS = ROOT / "docs" / "theory" / "lab.md", ROOT / "derive" / "site"
EXPERIMENTS = ("gradient", "curvature", "surrogate", "memory")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page's own elements, without what is around them on the site; it must say nothing to the console."""
    parts = [line.replace("../assets", f"{SCRIPTS.as_uri()}/assets") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    body = "\n".join(line for line in parts if line.startswith(("<link", "<div", "<script")))
    (tmp_path / "lab.html").write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>lab</title>{body}', encoding="utf-8")
    found, said = browser.new_context(viewport=DESKTOP).new_page(), []
    found.on("console", lambda message: said.append(message.text))
    found.on("pageerror", lambda error: said.append(str(error)))
    found.goto((tmp_path / "lab.html").as_uri())
    yield found
    assert said == []
    found.context.close()


def shown(page: Any, kind: str) -> tuple[str, list[str]]:
    """Return what an experiment says, and its plots."""
    place = page.locator(f'[data-lab="{kind}"]')
    return place.locator(".lab-says").inner_text(), place.locator("svg").evaluate_all("all => all.map((svg) => svg.outerHTML)")


def move(page: Any, kind: str, label: str, value: str) -> None:
    control = page.locator(f'[data-lab="{kind}"]').get_by_label(label, exact=True)
    control.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)


def test_every_experiment_is_drawn_and_says_its_numbers(page: Any) -> None:
    for kind, plots in zip(EXPERIMENTS, (1, 2, 2, 3), strict=True):
        says, drawn = shown(page, kind)
        assert len(drawn) == plots and any(character.isdigit() for character in says), kind
        assert not any(word in text for word in ("NaN", "undefined", "Infinity") for text in (says, *drawn)), kind


@pytest.mark.parametrize(
    ("kind", "label", "value"),
    [
        ("gradient", "Bias of the forget or update gate", "0"),
        ("gradient", "Cell", "gru"),
        ("curvature", "Spectral radius of U", "3"),
        ("curvature", "Steps back, k", "10"),
        ("curvature", "Cell", "lstm"),
        ("surrogate", "Height", "1.5"),
        ("surrogate", "Slope", "box"),
        ("memory", "Pairs written", "64"),
    ],
)
def test_a_control_changes_what_is_shown(page: Any, kind: str, label: str, value: str) -> None:
    others = [shown(page, other) for other in EXPERIMENTS if other != kind]
    before = shown(page, kind)
    move(page, kind, label, value)
    after = shown(page, kind)
    assert after[0] != before[0] and after[1] != before[1]
    assert [shown(page, other) for other in EXPERIMENTS if other != kind] == others


def test_controls_are_those_of_the_cell(page: Any) -> None:
    place = page.locator('[data-lab="gradient"]')
    radius, bias = (place.get_by_label(label, exact=True) for label in ("Spectral radius of U", "Bias of the forget or update gate"))
    assert bias.is_visible() and not radius.is_visible()
    place.get_by_label("Cell").select_option("rnn")
    assert radius.is_visible() and not bias.is_visible()


def test_other_random_numbers(page: Any) -> None:
    before = shown(page, "memory")
    page.locator('[data-lab="memory"]').get_by_role("button").click()
    assert shown(page, "memory")[1] != before[1]


def test_the_tangent_and_the_gradient_meet_in_one_number(page: Any) -> None:
    says = shown(page, "gradient")[0]
    found = re.search(r"is (\S+) by the tangent, (\S+) by the gradient", says)
    assert found is not None and found[1] == found[2]
    assert page.locator('[data-lab="gradient"] svg path').count() == page.locator('[data-lab="gradient"] .lab-legend span').count() == 3


def test_the_mark_is_where_the_slider_stands(page: Any) -> None:
    """The other lines of the plot over the radius stay: they are of every radius."""
    place = page.locator('[data-lab="curvature"]')

    def found() -> tuple[list[str], float]:
        plot = place.locator("svg").nth(1)
        lines = plot.locator("path").evaluate_all("all => all.map((line) => line.getAttribute('d'))")
        return lines, float(plot.locator(".lab-mark").get_attribute("x1"))

    lines, one = found()
    move(page, "curvature", "Spectral radius of U", "2")
    assert found()[0] == lines
    two = found()[1]
    move(page, "curvature", "Spectral radius of U", "3")
    assert found()[1] - two == pytest.approx(two - one, abs=0.01)


def test_a_slider_moves_by_keys(page: Any) -> None:
    slider = page.locator('[data-lab="curvature"]').get_by_label("Spectral radius of U", exact=True)
    before = shown(page, "curvature")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "1.05" and shown(page, "curvature") != before
