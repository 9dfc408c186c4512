"""What MkDocs calls while it builds: what the search leaves out is taken out of a page and put back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

from derive.cells import REGISTRY
from derive.site.builder import build, own_site
from derive.site.hooks import aside, put_back

PAGE = """<p>a</p><div class="equations" data-search-exclude>
<div class="equation"><div>x</div></div><div class="highlight" data-search-exclude>y</div>
</div>
<div><p>b</p><div data-search-exclude>z</div></div>"""


def test_what_the_search_leaves_out_is_taken_out_and_put_back() -> None:
    shorter, taken = aside(PAGE)
    assert shorter == "<p>a</p><!-- aside 0 -->\n<div><p>b</p><!-- aside 1 --></div>"
    assert taken[1] == "<div data-search-exclude>z</div>"
    assert put_back(f"<body>{shorter}</body>", taken) == f"<body>{PAGE}</body>"


def test_an_element_that_does_not_end_is_left_where_it_is() -> None:
    for page in ("<div data-search-exclude><div>a</div>", "</div><p>a</p>", ""):
        assert aside(page) == (page, [])


def test_the_search_reads_sentences_and_no_equations(tmp_path: Path) -> None:
    assert build(own_site({"rnn.py": [REGISTRY["rnn"]]}), tmp_path / "site") == 0
    page = (tmp_path / "site" / "rnn.html").read_text(encoding="utf-8")
    index = json.loads((tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    found = {entry["location"].partition("#")[2]: entry["text"] for entry in index if entry["location"].startswith("rnn.html")}
    assert 'id="code-B1"' in page and 'id="T1"' in page and "<!-- aside" not in page
    assert "From the last step to the first" in found["backpropagation-through-time"] and "(B1)" not in "".join(found.values())
    frame = page[: page.index("<article")].splitlines()
    assert sum(not line.strip() for line in frame) < len(frame) / 3  # of the theme's templates: with their statements it is three quarters
