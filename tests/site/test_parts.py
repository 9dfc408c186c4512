"""Pages of cells in parts, where they would be too long: what leads where, and how long they are."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

import yaml

from derive.cells import REGISTRY, SOURCES
from derive.package import contents
from derive.site.builder import found_by, make, own_site, write
from derive.site.formulas import typeset
from derive.site.mathml import mathml
from derive.site.page import Page
from derive.site.parts import APART, FRAME, LARGE, packed, parted
from derive.site.sections import markdown

SMALL = 130_000  # bytes: too few for the page of the LSTM, and for its page without second order


@cache
def page(name: str) -> Page:
    return Page(REGISTRY[name], contents.files([REGISTRY[name]], sources=SOURCES, cuda=False)[f"{name}.py"])


@cache
def lstm() -> dict[str, str]:
    """Return the LSTM's page and its parts, as if they were too long."""
    text, parts = parted(page("lstm"), mathml, SMALL)
    return {"lstm": text, **{part.name: part.text for part in parts}}


def places(text: str) -> list[str]:
    return [first or second for first, second in re.findall(r'\bid="([^"]+)"|\{ #([\w-]+) \}', text)]


def test_a_page_that_is_short_stays_as_it_is() -> None:
    assert parted(page("gru"), mathml) == (markdown(page("gru")), [])


def test_the_longest_sections_go_until_the_page_is_short() -> None:
    assert set(lstm()) == {"lstm", "lstm-second-order", "lstm-kernels"}  # in this order: the Jacobian may stay then
    assert "## Jacobian of a step\n\n<p>How the states" in lstm()["lstm"]
    for name, text in lstm().items():
        assert len(typeset(text, mathml).encode()) + FRAME <= SMALL, name
    every = parted(page("lstm"), mathml, 0)[1]
    smaller = [part.name for part in every]
    assert "numbers of lines" not in every[0].text  # the Jacobian has none
    assert smaller[:3] == ["lstm-jacobian-of-a-step", "lstm-second-order", "lstm-second-order-2"] and "lstm-kernels-2" in smaller


def test_the_page_and_its_parts_lead_to_one_another() -> None:
    for title, name in (("Second order", "lstm-second-order"), ("Kernels", "lstm-kernels")):
        section = lstm()["lstm"].partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        assert APART[title].told in section and f"]({name}.md): " in section and "<div" not in section
        head = lstm()[name].split("\n\n")
        assert head[0].removeprefix("# Long short-term memory with forget gate: ").lower() == title.lower()
        assert "A part of the page [Long short-term memory with forget gate](lstm.md)." in head[1]
        assert "The numbers of lines that are not here lead to where they are." in head[1]
        assert "Page of the cell lstm: Long short-term memory with forget gate: " in lstm()[name].partition("## Cite")[2]


def test_every_number_leads_to_its_place_on_whatever_page() -> None:
    whole = markdown(page("lstm"))
    found = [place for text in lstm().values() for place in places(text)]
    assert sorted(found) == sorted(places(whole))  # nothing is lost, and nothing is there twice
    assert {"F1", "B1", "T1", "code-F1", "code-B1", "kernel-forward_steps"} <= set(found)
    led = 0
    for name, text in lstm().items():
        for where, place in re.findall(r'href="([\w-]*)(?:\.html)?#([^"]+)"', text):
            assert place in places(lstm()[where or name]) and where != name, (name, place)
            led += bool(where)
    assert led > 50
    assert 'href="lstm-kernels.html#code-F1"' in lstm()["lstm"] and 'href="lstm.html#F1"' in lstm()["lstm-kernels"]


def test_a_part_says_what_it_leans_on() -> None:
    alone = [part.text for part in parted(page("lstm"), mathml, 0)[1] if part.name.startswith("lstm-second")]
    said, tangents, backward, forward = alone
    assert "The lines of the cell, differentiated once more" in said and "as above" not in backward
    assert "## Tangents, from the first step to the last" in tangents and 'href="lstm-second-order-2.html#T1"' in backward
    assert re.search(r'is found from <a href="lstm-second-order-3\.html#C\d+">', forward)


def test_pieces_are_together_as_long_as_there_is_room() -> None:
    pieces = [("", "a"), ("two", "bb"), ("three", "ccc"), ("nine", "d" * 9), ("one", "e")]
    assert [[title for title, _ in group] for group in packed(pieces, 6, len)] == [["", "two", "three"], ["nine"], ["one"]]


def test_a_part_of_a_page_is_found_after_it() -> None:
    def boost(text: str) -> float:
        return float(yaml.safe_load(text.split("---\n")[1])["search"]["boost"])

    for cell in map(REGISTRY.__getitem__, ("ltc", "lstm_peephole", "rhn_loop")):
        assert boost(found_by(cell, [*REGISTRY.values()], part=True)) < boost(found_by(cell, [*REGISTRY.values()]))


def test_the_longest_page_becomes_pages_that_are_short(tmp_path: Path) -> None:
    """What is measured before the site is built is held beside the bytes of the built pages."""
    site = own_site({"mine.py": [REGISTRY[name] for name in ("rnn", "ltc", "gru")]})
    (tmp_path / "sources").mkdir()
    assert make(write(site, tmp_path / "sources"), tmp_path / "site") == 0
    names = ["ltc", "ltc-second-order", "ltc-second-order-2", "ltc-second-order-3"]
    assert sorted(path.stem for path in (tmp_path / "site").glob("ltc*.html")) == names
    for name in ("rnn", *names):
        text = (tmp_path / "sources" / "docs" / f"{name}.md").read_text(encoding="utf-8")
        bytes_ = (tmp_path / "site" / f"{name}.html").stat().st_size
        assert bytes_ <= LARGE and bytes_ - len(typeset(text, mathml).encode()) < FRAME, name
    around = [(tmp_path / "site" / f"{name}.html").read_text(encoding="utf-8") for name in ("ltc-second-order-3", "gru")]
    assert re.search(r'href="ltc-second-order-2\.html" [^>]*aria-label="Previous', around[0])
    assert re.search(r'href="gru\.html" [^>]*aria-label="Next', around[0])
    assert "ltc-second-order.html" in (tmp_path / "site" / "llms.txt").read_text(encoding="utf-8")
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    tags = {entry["location"]: entry["tags"] for entry in index if entry["location"] in [f"{name}.html" for name in names]}
    assert tags == {f"{name}.html": ["ltc"] for name in names}
