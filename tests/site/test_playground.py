"""The playground: what runs in the browser, run here, and the bundle; the page itself is in test_playground_page.py."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from derive.cells import REGISTRY
from derive.cells.load import cells_of
from derive.command.docs import pyodide_if_any, size
from derive.language.errors import CellError

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

from derive.site import facts
from derive.site.mathml import mathml
from derive.site.page import Page
from derive.site.playground import bundle, pyodide
from derive.site.playground.browser import cell_of, declarations, derived, home


def katex(tex: str, display: bool) -> str:
    """What KaTeX makes of a formula, with the site's own MathML put back into its wrapping."""
    made = mathml(tex, display)
    return f'<span class="katex"><math xmlns="http://www.w3.org/1998/Math/MathML"><semantics>{made}</semantics></math></span>'


def pieces(text: str, declared: str = "") -> list[dict[str, Any]]:
    return [json.loads(piece) for piece in derived(text, declared, katex)]


# What runs in the browser


def test_a_cell_becomes_its_sections() -> None:
    found = pieces("h = tanh(W @ x + u * h_prev)", 'name="mine"')
    assert found[0]["name"] == "mine" and "derive check mine.py" in found[0]["file"]
    titles = [piece["title"] for piece in found[1:]]
    assert titles[:2] == ["Equations", "Symbols"] and titles[-2:] == ["Kernels", "One step"] and len(titles) == 9
    assert all("arithmatex" not in piece["html"] for piece in found[1:])
    assert "forward" in found[-2]["html"] and 'href="#F1"' in found[-2]["html"] and "<svg" in found[-1]["html"]


def test_errors_are_those_of_derive_with_their_place() -> None:
    (found,) = pieces("z = sigmoid(W @ x)\nh = (1 - z) * h_prev + tanh(z", "")
    assert (found["line"], found["column"]) == (2, 27)
    assert found["error"].splitlines()[1:] == ["    h = (1 - z) * h_prev + tanh(z", " " * (4 + 27) + "^"]
    (found,) = pieces("h = x", 'shape={"x": ""}')
    assert found["line"] == 0 and "`shape` is none of" in found["error"] and found["error"].endswith("^")


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("3", "keyword arguments are needed"),
        (") + print(", "keyword arguments are needed"),
        ("output=", "declarations: "),
        ("init={'b': f(1)}", "`init` needs texts, numbers"),
        ("**{'output': 'h'}", "is none of"),
        ("output=" + "(" * 300, "declarations: "),
        ("init=" + "-" * 10_000 + "1", "declarations: "),
        ("text='h = x'", "`text` is none of"),
        ("output=3", "output"),
    ],
)
def test_declarations_that_are_none(declared: str, said: str) -> None:
    (found,) = pieces("h = tanh(W @ x + b)", declared)
    assert said in found["error"]


def test_the_output_is_what_the_last_line_assigns() -> None:
    assert cell_of("a = W @ x\ny = tanh(a)  # h = y", "").output == "y"
    assert cell_of("a = W @ x\ny = tanh(a)", 'output="a"').output == "a"
    assert cell_of("a, b = split(W @ x, 2)", "").output == "b"


def test_declarations_may_be_written_as_in_python() -> None:
    written = 'inputs=("x", "m"),  # two\nshapes={\n    "a": "",\n},'
    assert declarations(written) == {"inputs": ("x", "m"), "shapes": {"a": ""}} and declarations("") == {}


def test_a_formula_that_is_refused_is_named() -> None:
    found = pieces("h = tanh(W @ x)", r'latex={"W": r"\nonsense"}')[-1]
    assert r"\nonsense" in found["error"] and "is refused" in found["error"]


def test_a_section_that_is_too_long_says_so_and_the_others_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(page: Page) -> str:
        raise CellError("the Jacobian is <too long>")

    monkeypatch.setattr("derive.site.playground.browser.SECTIONS", (("Jacobian", refused), ("Symbols", facts.known)))
    _, jacobian, symbols = pieces("h = tanh(W @ x)")
    assert jacobian["html"] == '<p class="warning">the Jacobian is &lt;too long&gt;</p>' and "<table>" in symbols["html"]


@pytest.mark.parametrize("name", bundle.EXAMPLES)
def test_examples_are_the_cells_and_may_be_taken_home(name: str, tmp_path: Path) -> None:
    cell, shown = REGISTRY[name], bundle.example(REGISTRY[name])
    made = cell_of(shown["text"], shown["declared"])
    (tmp_path / "my_cell.py").write_text(home(made), encoding="utf-8")
    (taken,) = cells_of(str(tmp_path / "my_cell.py"))
    for what in ("inputs", "context", "fixed", "output", "shapes", "init", "latex", "scalar_constants"):
        assert getattr(taken, what) == getattr(made, what) == getattr(cell, what), what
    assert [str(line.value) for line in taken.equations] and taken.name == "my_cell"


def test_what_was_typed_is_no_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    declared = f'title="{evil}", description="{evil}", latex={{"W": r"\\text{{{evil}}}"}}'
    found = pieces(f"h = tanh(W @ x + U @ h_prev)  # {evil}", declared)
    assert found[-1].get("title") == "One step"
    assert all("<img" not in piece.get("html", "") for piece in found)


# The bundle


def test_a_stream_in_parts_is_the_files_again() -> None:
    files = {"a": os.urandom(3_000_000), "b": b"", "c": b"end"}
    parts, names = bundle.packed(files)
    stream = gzip.decompress(base64.b64decode("".join(parts)))
    assert len(parts) > 3 and max(map(len, parts)) == bundle.PART and stream == b"".join(files.values())
    assert names == [(name, len(data)) for name, data in files.items()]
    assert bundle.packed(files) == (parts, names)


def test_modules_are_those_that_are_needed() -> None:
    names = zipfile.ZipFile(io.BytesIO(bundle.sources())).namelist()
    assert {"derive/cell.py", "derive/site/playground/browser.py", "sympy/__init__.py", "pygments/lexers/python.py"} <= set(names)
    assert not [name for name in names if "/tests/" in name or name.startswith(("derive/runtime", "derive/demo", "sympy/physics"))]
    assert not [
        name for name in names if name.startswith("pygments/lexers/") and name not in {f"pygments/{kept}" for kept in bundle.PYGMENTS}
    ]


def npm(folder: Path, script: str) -> None:
    """Put a command `npm` into a folder, as the only one on the path."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "fetched by npm, which is not installed"),
        ("echo no network >&2; exit 1", "npm does not bring Pyodide .*: no network"),
        ("exit 0", "it says nothing"),
        (f"echo other > pyodide-{pyodide.VERSION}.tgz", "another archive .* SHA-512"),
    ],
)
def test_what_npm_does_not_bring_is_told_and_the_site_is_built(
    script: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DERIVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    if script:
        npm(tmp_path / "bin", script)
    with pytest.raises(CellError, match=said):
        pyodide.fetched()
    assert not list((tmp_path / "cache").glob("*"))
    assert pyodide_if_any() is None and "the page Playground only says how to get it" in capsys.readouterr().err


def test_the_size_of_a_site_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"678")
    assert size(tmp_path) == 8
