"""The gallery and its traits, derivations as plain text, and the list of all pages: what is written, before it is built."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from conftest import ordinary

from derive import Cell, surrogates
from derive.__main__ import main
from derive.calculus.traits import TRAITS, traits
from derive.cells import REGISTRY, SHIPPED
from derive.picture import svg, thumbnail

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

from derive.site.builder import CELLS, Site, build, own_site, write
from derive.site.gallery import NAME, gallery
from derive.site.plain import derivation, llms
from derive.site.project import project_site

FEW = ("lstm", "qrnn", "lif", "gru_d", "gated_deltanet", "softmax_readout")
FOUND = {
    "rnn": "",
    "lstm": "gated",
    "lstm_layernorm": "gated, normalized",
    "qrnn": "gated, affine in its state, diagonal",
    "lru": "affine in its state, diagonal",
    "indrnn": "diagonal",
    "cornn": "",
    "lif": "diagonal, spiking",
    "lsnn": "spiking",
    "gru_d": "gated, several inputs",
    "mamba": "gated, affine in its state, matrix state",
    "linear_attention": "affine in its state, normalized, matrix state, heads",
    "retnet": "affine in its state, matrix state, heads",
    "gated_deltanet": "gated, affine in its state, normalized, matrix state, heads",
    "slstm_heads": "gated, heads",
    "plasticity": "matrix state",
    "softmax_readout": "",
    "squared_error": "several inputs",
}


def names(cell: Cell) -> str:
    return ", ".join(trait.name for trait in traits(cell))


# Traits


@pytest.mark.parametrize("name", FOUND)
def test_cells_are_what_their_papers_say(name: str) -> None:
    assert names(REGISTRY[name]) == FOUND[name]


def test_each_trait_is_of_some_cells_and_not_of_others() -> None:
    for trait in TRAITS:
        assert {trait.name in found.split(", ") for found in FOUND.values()} == {True, False}, trait.name


@pytest.mark.parametrize(
    ("line", "gated"),
    [
        ("h = sigmoid(W @ x) * h_prev", True),
        ("h = sigmoid(W @ x) ** 2 * h_prev + V @ x", True),
        ("h = h_prev - sigmoid(W @ x) * (h_prev - tanh(V @ x))", True),
        ("z = sigmoid(W @ x)\nh = (1 - z) * h_prev", True),
        ("z = sigmoid(W @ x)\nh = (2 - h_prev) * h_prev + z", False),  # added, no factor
        ("h = sigmoid(a) * h_prev + W @ x", False),  # learned, but the same at every step
        ("h = sigmoid(W @ x + U @ h_prev)", False),  # what comes out of a sigmoid is the state
        ("h = sigmoid(W @ x) * sigmoid(U @ h_prev)", False),  # gates of nothing
        ("h = tanh(W @ x) * h_prev", False),  # may turn a sign
        ("h = silu(W @ x) + u * h_prev", False),
    ],
)
def test_what_is_a_gate(line: str, gated: bool) -> None:
    cell = Cell(line, name="cell", output="h")
    assert ("gated" in names(cell)) == gated


def test_a_surrogate_of_something_else_is_no_spike() -> None:
    cell = Cell("h = f(W @ x + U @ h_prev)", name="cell", output="h", functions={"f(u)": ("tanh(u)", "1")})
    assert names(cell) == ""
    assert names(Cell("h = f(W @ x + U @ h_prev)", name="cell", output="h", functions={"f(u)": surrogates.arctan()})) == "spiking"


def test_without_a_jacobian_the_equations_still_tell() -> None:
    cell = Cell("h = sigmoid(w * x) * clip_gradient(h_prev, -1, 1)", name="cell", output="h")
    assert names(cell) == "gated"


# Pictures


@pytest.mark.parametrize("name", ordinary(SHIPPED, FEW))
def test_a_small_picture_is_the_large_one_without_texts(name: str) -> None:
    small, large = (ElementTree.fromstring(made(SHIPPED[name])) for made in (thumbnail, svg))
    paths = {path.get("class"): path.get("d") or "" for path in small}
    wires, nodes = paths.pop("wires"), "".join(paths.values())
    bodies = [shape for shape in large.iter() if shape.get("class") == "body"]
    assert nodes.count("M") == len(bodies)
    assert nodes.count("a") == 2 * sum(shape.tag.endswith("circle") for shape in bodies)
    lines = [shape.get("d") or "" for shape in large.iter() if shape.get("class") == "wire"]
    assert wires.count("M") == sum(line.count("M") for line in lines)
    assert small.get("aria-hidden") == "true" and len(thumbnail(SHIPPED[name])) < 5000


# The page


def few() -> Site:
    return own_site({"first.py": [REGISTRY[name] for name in FEW[:4]], "second.py": [REGISTRY[name] for name in FEW[4:]]})


def test_the_gallery_has_each_cell_once() -> None:
    made = gallery(few().groups, "assets/gallery.js")
    cards = re.findall(r'<li data-traits="([^"]*)"><a href="(\w+)\.html"><svg.*?</svg><span>(.*?)</span></a>', made)
    assert [(name, title) for _, name, title in cards] == [(name, REGISTRY[name].title) for name in FEW]
    for keys, name, _ in cards:
        assert keys.split() == [trait.name.replace(" ", "-") for trait in traits(REGISTRY[name])]
    for trait in TRAITS:
        count = sum(trait in traits(REGISTRY[name]) for name in FEW)
        assert (f'{trait.name} <span class="count">{count}</span>' in made) == (count > 0)
        assert f"- **{trait.name}**: {trait.told}." in made
    assert "<code>lstm</code> · 1997 · 2 states<" in made and "<code>softmax_readout</code> · 2016 · no states<" in made
    assert re.findall(r'data-family="(.*?)"', made) == re.findall(r"<option>(.*?)</option>", made) == ["first.py", "second.py"]


@pytest.mark.exhaustive
def test_the_whole_gallery_is_small() -> None:
    made = gallery(project_site().groups, "../assets/gallery.js")
    assert made.count("<svg ") == len(SHIPPED) and len(made.encode()) < 250_000


# Texts


def test_a_derivation_as_text_is_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "gru"]) == 0
    assert capsys.readouterr().out == derivation(REGISTRY["gru"])


@pytest.mark.parametrize("url", ["", "https://example.org/docs/"])
def test_llms_txt_lists_pages_and_texts(url: str) -> None:
    nav = [{"Home": "index.md"}, {"Learn": [{"Gates": "theory/gates.md"}, {"More": [{"Deep": "deep.md"}]}]}, {"Cells": ["cells/index.md"]}]
    made = llms("mine", nav, [REGISTRY["gru"]], CELLS, url)
    title, about, *_ = made.split("\n\n")
    assert title == "# mine" and about.startswith("> ") and "\n" not in about
    assert re.findall(r"^## (.*)$", made, re.MULTILINE) == ["Home", "Learn", "Cells", "Derivations as plain text"]
    links = re.findall(r"^- \[(.*?)\]\((.*?)\)", made, re.MULTILINE)
    pages = [("Home", "index.html"), ("Gates", "theory/gates.html"), ("Deep", "deep.html"), ("Cells", "cells/index.html")]
    assert links == [(name, url + path) for name, path in [*pages, (REGISTRY["gru"].title, "cells/gru.txt")]]


def test_what_is_written_is_listed_and_leads_there(tmp_path: Path) -> None:
    site = own_site({"mine.py": [REGISTRY["rnn"]]})
    config = yaml.safe_load(write(site, tmp_path).read_text(encoding="utf-8"))
    pages = tmp_path / "docs"
    links = re.findall(r"\]\(([\w./-]+)\)", (pages / "llms.txt").read_text(encoding="utf-8"))
    assert links == ["index.html", f"{NAME}.html", "rnn.html", "notation.html", "glossary.html", "rnn.txt"]
    assert all((pages / link.replace(".html", ".md")).is_file() for link in links)
    assert 'href="rnn.txt"' in (pages / "rnn.md").read_text(encoding="utf-8")
    assert re.fullmatch(r"derive( \d[\w.]*)?", config["copyright"])
    assert NAME not in REGISTRY and not NAME.isidentifier()  # else a cell's page could take its place


def test_with_an_address_the_sitemap_has_pages(tmp_path: Path) -> None:
    site = replace(own_site({"mine.py": [REGISTRY["rnn"]]}), url="https://example.org/cells/")
    assert build(site, tmp_path / "site") == 0
    sitemap, llms_txt, page = ((tmp_path / "site" / name).read_text(encoding="utf-8") for name in ("sitemap.xml", "llms.txt", "rnn.html"))
    listed = re.findall(r"<loc>(.*?)</loc>", sitemap)
    assert set(listed) == {
        f"https://example.org/cells/{page}" for page in ("index.html", f"{NAME}.html", "rnn.html", "notation.html", "glossary.html")
    }
    assert "https://example.org/cells/rnn.txt" in llms_txt
    assert '<link rel="canonical" href="https://example.org/cells/rnn.html">' in page


def test_an_address_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "cell.py", "--url", "example.org"]) == 2
    assert "--url needs a whole address" in capsys.readouterr().err
