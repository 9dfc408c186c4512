"""From cells to a folder of HTML: pages are files, written to a folder of their own and then built by MkDocs, strictly."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..cell import Cell
from ..language.errors import CellError
from ..notation.written import latex_of
from ..package import contents
from ..package import folder as files
from ..picture import thumbnail
from . import gallery, hooks, plain
from .bibtex import of_page
from .made import Made, made
from .mathml import kept
from .notebook import write_notebooks
from .page import Links, Page, checks
from .playground import bundle
from .sections import CITE
from .shared_out import shared_out
from .versions import version

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = HERE / "pages"  # which every site has
OF_PROJECT = Links("../notation.html", "../theory/second.html", "../cuda.html")
OF_OWN = Links("notation.html")
LATER = 0.05  # a boost in the search: rare words count for more there, and a variant's name is rarer than that of its cell
FIGURES, FORMULAS, PACKAGES = "docs/figures", "formulas.json", "packages"  # in the folder of the sources
KEYWORDS = "keywords.yml"  # beside `nav.yml`: by page, what a reader types who looks for it
CELLS = "cells/"  # in the navigation, where the pages of cells go
THEORY = "theory"  # the folder of the course, whose pages say how they are cited
Nav = list[dict[str, Any]]


@dataclass(frozen=True)
class Site:
    """What a site is made from.

    Attributes
    ----------
    name : str
    groups : mapping
        Cells by the title of their group.
    sources : mapping
        By cell, the file that defines it.
    package : str
        The package that the kernels are imported from.
    docs : path, optional
        Hand-written pages, with their navigation in `nav.yml`.
    figures : function, optional
        Draws the figures of the hand-written pages into a folder.
    checked : mapping
        By cell, the entry of `derive check --json`.
    url : str
        Where the site will stand, ending with ``/``; nothing if it is read from wherever it lies.
    pyodide : mapping, optional
        The files that the page `playground.md` runs derive with in the browser; without them it says how to have them.
    """

    name: str
    groups: Mapping[str, Sequence[Cell]]
    sources: Mapping[str, str]
    package: str
    docs: Path | None = None
    figures: Callable[[Path], None] | None = None
    checked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    url: str = ""
    pyodide: Mapping[str, bytes] | None = field(default=None, repr=False)

    @property
    def cells(self) -> list[Cell]:
        return [cell for group in self.groups.values() for cell in group]


def own_site(files: Mapping[str, Sequence[Cell]], checked: Path | None = None) -> Site:
    """Return a site of the cells in a user's files, with the numbers in a file that `derive check --json` wrote."""
    sources = {cell.name: Path(name).name for name, cells in files.items() for cell in cells}
    groups = {Path(name).name: cells for name, cells in files.items()}
    return Site(", ".join(groups), groups, sources, "kernels", checked=checks(checked) if checked else {})


def build(site: Site, out: Path) -> int:
    """Write the pages and build them into `out`; return MkDocs' exit status.

    Raises
    ------
    CellError
        If `out` is no folder or holds something else than a site, which the build would delete.
    """
    if out.exists() and not out.is_dir():
        raise CellError(f"`{out}` is not a folder: a site needs one")
    if out.is_dir() and any(out.iterdir()) and not (out / "sitemap.xml").is_file():
        raise CellError(f"`{out}` is not empty and holds no site: building there would delete what it holds; name another folder")
    with tempfile.TemporaryDirectory() as folder:
        return make(write(site, Path(folder)), out)


def make(config: Path, out: Path) -> int:
    """Build what `write` has written into `out`; return MkDocs' exit status.

    Raises
    ------
    CellError
        If MkDocs itself fails, as where it cannot write.
    """
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--clean", "-f", str(config), "-d", str(out.resolve())]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    if "Traceback (most recent call last)" in done.stderr:
        raise CellError(f"`{out}` could not be built: {done.stderr.splitlines()[-1]}")
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode == 0:  # where a page is read from a folder, the theme asks for the index as a script
        index = (out / "search" / "search_index.json").read_text(encoding="utf-8")
        (out / "search" / "search_index.js").write_text(f"var __index = {index}\n", encoding="utf-8")
    return done.returncode


def write(site: Site, folder: Path) -> Path:
    """Write the sources of a site into an empty folder; return the path of MkDocs' configuration."""
    pages = folder / "docs"
    if site.docs is None:
        pages.mkdir()
    else:
        shutil.copytree(site.docs, pages, ignore=shutil.ignore_patterns("data", "nav.yml", KEYWORDS))
    for page in sorted(PAGES.glob("*.md")):
        (pages / page.name).write_text(only_links_within(page.read_text(encoding="utf-8"), pages), encoding="utf-8")
    _assets(pages / "assets")
    keywords = _keywords(site)
    for cell in site.cells[:1]:
        thumbnail(cell)  # the search for wires is compiled once then, and not in each process
    cells = dict(zip(site.cells, shared_out(made, _pages(site)), strict=True))
    _cells(site, cells, pages / "cells" if site.docs else pages, keywords)
    figures = folder / FIGURES
    if site.docs is not None:
        _without_cells(folder / PACKAGES, site.package)
        _figures(site, figures, pages / "assets" / "playground")  # after the cells: kernels' threads stay
    write_notebooks(pages, figures)
    _cited(pages / THEORY)
    for name, words in keywords.items():
        if not name.startswith(CELLS):
            page = pages / name
            page.write_text(_head({"tags": words}) + page.read_text(encoding="utf-8"), encoding="utf-8")
    nav = _nav(site, cells)
    listed = plain.llms(site.name, nav, site.cells, CELLS if site.docs else "", site.url)
    (pages / "llms.txt").write_text(listed, encoding="utf-8")
    kept(folder / FORMULAS, dict(formula for one in cells.values() for formula in one.formulas.items()))
    path = folder / "mkdocs.yml"
    config = _config(site, nav, folder)
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _cited(folder: Path) -> None:
    """Add to each page of a course how to cite it, as cells' pages have it."""
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        path.write_text(f"{text}\n## {CITE}\n\n{of_page(f'Page: {title}', version())}\n", encoding="utf-8")


def _figures(site: Site, folder: Path, playground: Path) -> None:
    """Draw the figures of the hand-written pages, while Node.js compiles what the page `playground.md` runs."""
    with ThreadPoolExecutor(1) as beside:
        bundled = beside.submit(bundle.write, playground, site.cells, site.pyodide)
        if site.figures is not None:
            site.figures(folder)
        bundled.result()


def only_links_within(text: str, folder: Path) -> str:
    """Return Markdown without its links to pages that are not in the folder: a site of one's own cells has no hand-written ones."""

    def kept(link: re.Match[str]) -> str:
        return link[0] if (folder / link[2]).exists() or (PAGES / link[2]).exists() else link[1]

    return re.sub(r"\[([^\]]+)\]\(([\w/.-]+\.md)(?:#[\w-]+)?\)", kept, text)


def _assets(folder: Path) -> None:
    """Copy the stylesheet, and the font of the mathematics from the package that ships it."""
    shutil.copytree(HERE / "assets", folder, dirs_exist_ok=True)
    package = importlib.util.find_spec("ziamath")
    assert package is not None and package.origin is not None
    shutil.copy(Path(package.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf", folder)


def _without_cells(folder: Path, package: str) -> None:
    """Write what is the same in every generated package.

    The pages of the interface tell of this alone, and parsing hundreds of kernels for them takes longer than all else on these pages.
    """
    files.write(contents.files((), cuda=False, frameworks=False), folder / package)


def _config(site: Site, nav: Nav, folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((HERE / "mkdocs.yml").read_text(encoding="utf-8"))
    options = {"derive.site.figures": {"folder": str(folder / FIGURES)}, "derive.site.mathml": {"known": str(folder / FORMULAS)}}
    extensions = config["markdown_extensions"]
    for name, given in options.items():
        extensions[extensions.index(name)] = {name: given}
    if site.docs is None:
        config["theme"]["features"].remove("navigation.tabs")
    else:
        paths = [str(folder / PACKAGES), str(ROOT)]
        config["plugins"]["mkdocstrings"] = {"handlers": {"python": {"paths": paths, "options": API}}}
    release = f"derive {version()}".rstrip()
    own = {"site_name": site.name, "site_url": site.url, "copyright": release, "docs_dir": "docs", "nav": nav}
    return {**own, "hooks": [hooks.__file__], **config}


API = {
    "docstring_style": "numpy",
    "show_source": False,
    "show_root_heading": True,
    "heading_level": 2,
    "members_order": "source",
    "show_signature_annotations": True,
    "separate_signature": True,
    "merge_init_into_class": True,
    "show_bases": False,
}


def _nav(site: Site, made: Mapping[Cell, Made]) -> Nav:
    """Return the navigation; parts of a page come after it."""

    def entries(cell: Cell, folder: str = "") -> Nav:
        own = {cell.title or cell.name: f"{folder}{cell.name}.md"}
        return [own, *({part.title: f"{folder}{part.name}.md"} for part in made[cell].parts)]

    if site.docs is None:
        cells = [entry for cell in site.cells for entry in entries(cell)]
        return [{"Cells": ["index.md", _gallery(""), *cells]}, {"Notation": "notation.md"}, {"Glossary": "glossary.md"}]
    nav: Nav = yaml.safe_load((site.docs / "nav.yml").read_text(encoding="utf-8"))
    groups: Nav = [{title: [entry for cell in cells for entry in entries(cell, CELLS)]} for title, cells in site.groups.items()]
    return [
        {title: [f"{CELLS}index.md", _gallery(CELLS), *groups]} if entry == CELLS else {title: entry}
        for item in nav
        for title, entry in item.items()
    ]


def _gallery(folder: str) -> dict[str, str]:
    return {"Gallery": f"{folder}{gallery.NAME}.md"}


def _cells(site: Site, made: Mapping[Cell, Made], folder: Path, keywords: Mapping[str, list[str]]) -> None:
    """Write the index, the gallery, and the page, its parts and the text of each cell."""
    folder.mkdir(exist_ok=True)
    (folder / "index.md").write_text(index(site), encoding="utf-8")
    for cell, one in made.items():
        head = found_by(cell, site.cells, keywords.get(f"{CELLS}{cell.name}.md", ()))
        (folder / f"{cell.name}.md").write_text(head + one.page, encoding="utf-8")
        (folder / f"{cell.name}.txt").write_text(one.text, encoding="utf-8")
        for part in one.parts:
            (folder / f"{part.name}.md").write_text(found_by(cell, site.cells, part=True) + part.text, encoding="utf-8")
    script = f"{'../' if site.docs else ''}assets/gallery.js"
    listed = gallery.gallery(site.groups, script, lambda cell: made[cell].picture)
    (folder / f"{gallery.NAME}.md").write_text(listed, encoding="utf-8")


def _pages(site: Site) -> list[Page]:
    modules = contents.files(site.cells, sources=site.sources, cuda=False)
    told = OF_PROJECT if site.docs else OF_OWN
    return [
        Page(cell, modules[f"{cell.name}.py"], site.sources[cell.name], site.package, site.checked.get(cell.name), told, version())
        for cell in site.cells
    ]


def _keywords(site: Site) -> dict[str, list[str]]:
    """Return, by page, what it is found by besides its text; nothing on a site that has no hand-written pages, or no list of keywords."""
    listed = site.docs / KEYWORDS if site.docs else None
    found: dict[str, list[str]] = yaml.safe_load(listed.read_text(encoding="utf-8")) if listed and listed.exists() else {}
    return found


def found_by(cell: Cell, cells: Sequence[Cell], keywords: Sequence[str] = (), *, part: bool = False) -> str:
    """Return what the search reads at the head of a page: the cell's name and keywords, and how much they count.

    The search takes each word that is typed for the beginning of one, so a cell whose name begins with another's comes after it.  So does
    one whose name has several words: "gate" is also the beginning of `gated_oja`.  A part of a page comes after the page.
    """
    begun = sum(cell.name.startswith(other.name) for other in cells if other is not cell)
    later = (begun or "_" in cell.name) + part
    return _head({"tags": [cell.name, *keywords], "search": {"boost": LATER**later if later else 1}})


def _head(meta: Mapping[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(dict(meta), sort_keys=False, allow_unicode=True)}---\n\n"


def index(site: Site) -> str:
    """Return the page that lists the cells."""
    about = "Each page is made from the cell's equations: the picture, the derivation, and the kernels generated from it."
    parts = ["# Cells", f"{about} The [gallery]({gallery.NAME}.md) shows all pictures side by side."]
    if site.docs is None:
        parts.append(
            "Signs are explained in [Notation](notation.md), terms in the [Glossary](glossary.md). Each page says what was checked, and "
            "what was not."
        )
    for title, cells in site.groups.items():
        rows = [f"| [{cell.title or cell.name}]({cell.name}.md) | `{cell.name}` | {_states(cell)} |" for cell in cells]
        parts += [f"## {title}", "\n".join(["| cell | name | states |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _states(cell: Cell) -> str:
    style = latex_of(cell)
    return ", ".join(f"${style.name(state)}$" for state in cell.states) or "none"
