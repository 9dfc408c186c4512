"""The playground in Chromium: read from a server and from a folder, with Python in it and without."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import ROOT
from helpers.chromium import CHROMIUM, MISSING

from derive.cells import REGISTRY, SOURCES
from derive.language.errors import CellError

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'derive-rnn[test]'")

from derive.site.builder import Site, make, write
from derive.site.define import declarations
from derive.site.playground import bundle, pyodide
from derive.site.serve import server

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
    pytest.mark.xdist_group("playground"),  # Python is started once
]
PATIENCE = 180_000  # milliseconds: other tests may keep the machine busy
SLOW = "\n".join(["a0 = tanh(W @ x + U @ h_prev)", *(f"a{k} = tanh(a{k - 1} * a{k - 1} + a{k // 2})" for k in range(1, 300)), "h = a299"])


@dataclass
class Built:
    """A site: its folder, and where it is served."""

    folder: Path
    address: str


def site(folder: Path, files: dict[str, bytes] | None) -> Path:
    """Build a site of the playground, one cell, and the pages that it links to; return its folder."""
    docs = folder / "docs"
    docs.mkdir()
    shutil.copy(ROOT / "docs" / "playground.md", docs)
    others = ("index", "language", "derivations", "install")
    for name in others:
        (docs / f"{name}.md").write_text(f"# {name}\n", encoding="utf-8")
    (docs / "nav.yml").write_text(
        "".join(f"- {name}: {name}.md\n" for name in (*others, "playground")) + "- Cells: cells/\n", encoding="utf-8"
    )
    (folder / "sources").mkdir()
    made = Site("play", {"All": [REGISTRY["gru"]]}, SOURCES, "generated", docs, pyodide=files)
    assert make(write(made, folder / "sources"), folder / "out") == 0
    return folder / "out"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    try:
        files = pyodide.fetched()
    except CellError as error:
        pytest.skip(f"no bundle: {error}")
    folder = site(tmp_path_factory.mktemp("playground"), files)
    with server(folder) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Built(folder, f"http://127.0.0.1:{running.server_address[1]}/")
        running.shutdown()


@pytest.fixture(scope="module")
def served(built: Built, browser: Any) -> Iterator[tuple[Any, list[str]]]:
    """The page from a server, with Python started and its first cell derived; and what went wrong on it or was asked from elsewhere."""
    page, said = browser.new_context(viewport={"width": 420, "height": 900}, color_scheme="dark").new_page(), []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((built.address, "data:", "blob:")) else said.append(request.url))
    page.set_default_timeout(PATIENCE)
    page.goto(f"{built.address}playground.html")
    until_derived(page)
    yield page, said


def until_derived(page: Any) -> None:
    page.wait_for_function("document.getElementById('play-status').textContent.startsWith('Derived')")


def derive(page: Any, text: str, declared: str = "") -> None:
    """Type a cell, and press what derives it."""
    page.evaluate("document.getElementById('play-more').open = true")
    page.get_by_label("What the equations do not say").fill(declared)
    page.get_by_label("Equations, one a line").fill(text)
    page.get_by_label("Equations, one a line").press("Control+Enter")


EQUATIONS = """() => Object.fromEntries([...document.querySelectorAll('.equation[id]')].map(
    line => [line.id, [...line.querySelectorAll('math')].map(math => math.outerHTML)]))"""
CODE = "() => [...document.querySelectorAll('.highlight pre')].map(code => code.textContent).filter(code => code.includes('(B2)'))"


def test_a_gru_that_is_typed_is_that_of_its_page(served: tuple[Any, list[str]], built: Built, browser: Any) -> None:
    page, said = served
    cell = REGISTRY["gru"]
    derive(page, bundle.example(cell)["text"], f'name="gru", title="{cell.title}", ' + ", ".join(declarations(cell)))
    until_derived(page)
    own = browser.new_page()
    own.goto(f"{built.address}cells/gru.html")
    found, wanted = page.evaluate(EQUATIONS), own.evaluate(EQUATIONS)
    numbers = [*(f"F{k + 1}" for k in range(4)), *(f"B{k + 1}" for k in range(20))]
    assert [*found] == numbers and {tag: wanted[tag] for tag in numbers} == found
    assert page.evaluate(CODE) == own.evaluate(CODE) != []
    assert page.locator("#play-result svg.cell").evaluate("svg => svg.outerHTML") == own.locator("svg.cell").evaluate(
        "svg => svg.outerHTML"
    )
    assert page.locator("#play-missing").is_hidden() and page.locator("#play-error").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    with page.expect_download() as download:
        page.get_by_text("Download the file").click()
    assert download.value.suggested_filename == "gru.py"
    assert said == []
    own.close()


def test_an_error_shows_its_place(served: tuple[Any, list[str]]) -> None:
    page, _ = served
    derive(page, "z = sigmoid(W @ x)\nh = z * h_prev + tanh(z")
    page.locator("#play-error").wait_for()
    shown = page.locator("#play-error").inner_text().splitlines()
    assert shown[0].startswith("line 2, column 22: ") and shown[1].strip() == "h = z * h_prev + tanh(z" and shown[2].strip() == "^"
    assert shown[1][shown[2].index("^")] == "("
    box = page.get_by_label("Equations, one a line")
    assert box.get_attribute("aria-invalid") == "true"
    assert box.evaluate("box => box.value.slice(box.selectionStart, box.selectionEnd)") == "("
    derive(page, "z = sigmoid(W @ x)\nh = z * h_prev")
    until_derived(page)
    assert page.locator("#play-error").is_hidden() and box.get_attribute("aria-invalid") is None


def test_a_link_carries_the_cell(served: tuple[Any, list[str]], browser: Any) -> None:
    page, said = served
    text, declared = "h = tanh(W @ x + 0.5 * h_prev)  # ∂ & + # %\n", 'name="linked", title="<img src=x onerror=alert(1)>"'
    derive(page, text, declared)
    until_derived(page)
    page.get_by_role("button", name="Link").click()
    address = page.url
    assert parse_qs(urlsplit(address).fragment) == {"text": [text], "declared": [declared]}
    page.select_option("#play-example", "gru")
    until_derived(page)
    assert "#" not in page.url
    page.evaluate("address => { location.href = address }", address)
    page.get_by_text("from kernels import linked").wait_for()
    until_derived(page)
    assert page.get_by_label("Equations, one a line").input_value() == text
    assert page.locator("#play-result img").count() == 0 and said == []


def test_what_takes_long_is_stopped_and_python_begins_again_from_a_folder(built: Built, browser: Any) -> None:
    page = browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{(built.folder / 'playground.html').as_uri()}#text=h%20%3D%20tanh(W%20%40%20x)")
    until_derived(page)
    derive(page, SLOW)
    page.wait_for_function("playground.page.engine().running")
    assert page.evaluate("1 + 1") == 2  # the page itself goes on
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped: you asked for it").wait_for()
    assert page.get_by_role("button", name="Stop").is_disabled()
    derive(page, "h = tanh(W @ x + U @ h_prev)")
    until_derived(page)
    page.evaluate("playground.page.engine().seconds = 0.5")
    derive(page, SLOW)
    page.get_by_text("Stopped: this takes longer than 0.5 seconds").wait_for()
    assert said == []


def test_without_the_bundle_the_page_says_how_to_get_it(tmp_path: Path, browser: Any) -> None:
    folder = site(tmp_path, None)
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "playground.html").as_uri())
    assert "npm" in page.locator("#play-missing").inner_text() and page.locator("#play-form").is_hidden()
    assert not [address for address in asked if "part-" in address] and not list((folder / "assets" / "playground").glob("part-*"))
