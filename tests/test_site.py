"""Pages of cells; the site itself needs MkDocs, which is in the extra `docs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from derive.cells import REGISTRY
from derive.printers.text import tagged_formulas
from derive.site import build, page, write_pages


def test_a_page_for_each_cell(tmp_path: Path) -> None:
    write_pages(REGISTRY.values(), tmp_path)
    assert {path.stem for path in tmp_path.glob("*.md")} == {"index", *REGISTRY}


@pytest.mark.parametrize("name", ["lstm", "softmax_cross_entropy"])
def test_a_page_shows_every_formula(name: str) -> None:
    text = page(REGISTRY[name])
    for tag, line in tagged_formulas(REGISTRY[name]).items():
        assert f"({tag})  {line}" in text
        assert f"\\tag{{{tag}}}" in text


def test_the_site_builds(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    assert build(tmp_path / "site") == 0
    assert (tmp_path / "site" / "cells" / "lstm" / "index.html").is_file()
