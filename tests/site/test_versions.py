"""Sites of several versions side by side, and which version a page is of."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT

from derive.__main__ import main
from derive.cells import REGISTRY
from derive.language.errors import CellError

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

from derive.site import versions
from derive.site.bibtex import citation
from derive.site.page import Page


def site(folder: Path, version: str) -> None:
    (folder / version).mkdir(parents=True)
    (folder / version / "sitemap.xml").write_text("", encoding="utf-8")


def links(page: str) -> list[str]:
    parser, found = HTMLParser(), []
    parser.handle_starttag = lambda tag, attributes: found.extend(value for name, value in attributes if name == "href")  # type: ignore[method-assign]
    parser.feed(page)
    return found


def test_versions_are_listed_newest_first_and_nothing_else_is(tmp_path: Path) -> None:
    for name in ("0.9.0", "0.10.0", "0.10.0rc1", "1.0.0", "drafts"):
        site(tmp_path, name)
    (tmp_path / "2.0.0").mkdir()  # holds no site
    assert versions.versions(tmp_path) == ["1.0.0", "0.10.0", "0.10.0rc1", "0.9.0"]
    versions.write_index(tmp_path, "a & b")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert links(page) == ["1.0.0/index.html", "0.10.0/index.html", "0.10.0rc1/index.html", "0.9.0/index.html"]
    assert "<h1>a &amp; b</h1>" in page and page.count("newest") == 1


def test_a_version_that_is_not_known_has_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", lambda: "")
    with pytest.raises(CellError, match="not installed"):
        versions.place(tmp_path)


def test_a_site_is_built_beside_another_and_every_page_says_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions.importlib.metadata, "version", lambda _: "7.1")
    (tmp_path / "mine.py").write_text('from derive import Cell\nmine = Cell("h = tanh(U @ h_prev + x)", name="mine", output="h")\n')
    site(tmp_path / "sites", "7.0")
    assert main(["docs", str(tmp_path / "mine.py"), "--versions", str(tmp_path / "sites")]) == 0
    built = tmp_path / "sites" / "7.1"
    assert f"{built}: 1 cells" in capsys.readouterr().out
    pages = [page for page in built.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 3
    for page in pages:
        foot = re.search(r'<div class="md-copyright__highlight">\s*(.*?)\s*</div>', page.read_text(encoding="utf-8"), re.DOTALL)
        assert foot is not None and foot[1] == "derive 7.1", page.name
    assert links((tmp_path / "sites" / "index.html").read_text(encoding="utf-8")) == ["7.1/index.html", "7.0/index.html"]
    assert (tmp_path / "sites" / "7.0" / "sitemap.xml").is_file()
    assert "7.1" in re.sub("<[^>]*>", "", (built / "mine.html").read_text(encoding="utf-8")).partition("This page:")[2]


def test_what_a_page_has_to_cite_names_the_version() -> None:
    assert "\n  version = {7.1},\n}" in citation(Page(REGISTRY["lstm"], "", version="7.1"))
    assert "version" not in citation(Page(REGISTRY["lstm"], "")).partition("This page")[2]


def test_the_citation_file_has_the_projects_version() -> None:
    cited, project = ((ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "pyproject.toml"))
    told = re.search(r"^version: (.*)$", cited, re.MULTILINE), re.search(r'^version = "(.*)"$', project, re.MULTILINE)
    assert told[0] is not None and told[1] is not None and told[0][1] == told[1][1]
