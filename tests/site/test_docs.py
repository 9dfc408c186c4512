"""The documentation is run: its Python in order, page by page, and its `derive` commands; what is shown below a block is what it prints.

`python tests/site/test_docs.py [PAGE…]` writes what the blocks print into the pages.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import pydoc
import re
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from derive.__main__ import main as command
from derive.bench import export_c
from derive.calculus.derivation import differentiate
from derive.cells import REGISTRY, SHIPPED
from derive.convert import table as layouts
from derive.explain.cpu import tape_size
from derive.language import hints
from derive.language.sizes import Size
from derive.notation import show
from derive.notation.text import tagged_formulas
from derive.site import history
from derive.site.gallery import NAME as GALLERY
from derive.theory import DIAGRAMS, EXPERIMENTS
from generated.runtime.cuda.current import current

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS, OF_EVERY_SITE = ROOT / "docs", ROOT / "derive" / "site" / "pages"
PAGES = [README, *sorted(DOCS.glob("**/*.md")), *sorted(OF_EVERY_SITE.glob("*.md"))]
NAVIGATION, KEYWORDS = (ROOT / "docs" / name for name in ("nav.yml", "keywords.yml"))
RUN = ("list", "show", "new", "generate", "convert", "export")  # commands that are quick and need nothing beside the working directory
MADE = {
    *(f"cells/{name}.md" for name in ("index", GALLERY, *SHIPPED)),
    *(f"figures/{name}.svg" for name in (*EXPERIMENTS, *DIAGRAMS)),
    "theory/lstm-gradient.ipynb",
}  # by the site
COLUMNS = "80"  # that help texts are wrapped to
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where the text begins and ends in the page, and what stands before the fence."""

    language: str
    text: str
    start: int
    end: int
    lead: str


def blocks(text: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ends = [0]
    result = []
    for match in found:
        result.append(Block(match[1], match[2], match.start(2), match.end(2), text[ends[-1] : match.start()]))
        ends.append(match.end())
    return result


def python(block: Block, page: Path, text: str, namespace: dict[str, Any]) -> None:
    """Run a block, with the page's line numbers in tracebacks.

    One that begins with the name of a file is that file too; one that begins by importing torch, JAX or ONNX is run only where that is
    installed, by importing CuPy only where there is a device.
    """
    if file := re.match(r"# (\w+\.py)\n", block.text):
        Path(file[1]).write_text(block.text, encoding="utf-8")
    frameworks = [name for name in ("torch", "jax", "onnx") if block.text.startswith(f"import {name}")]
    if any(importlib.util.find_spec(name) is None for name in frameworks) or (block.text.startswith("import cupy") and not has_device()):
        return
    padding = "\n" * text[: block.start].count("\n")
    exec(compile(padding + block.text, str(page), "exec", dont_inherit=True), namespace)


def has_device() -> bool:
    try:
        current()
    except RuntimeError:
        return False
    return True


def shell(block: Block) -> None:
    """Run the lines of a block that are `derive` commands; a comment such as `# exit status 1` says how one ends that is not to succeed."""
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["derive"] and (words[1] in RUN or words[-1] == "--help"):
            said = re.search(r"# exit status (\d)", line)
            assert status(words[1:]) == int(said[1] if said else 0), line


def status(arguments: list[str]) -> int:
    """Run a command, with its messages among its output, and return its exit status."""
    with mock.patch.dict(os.environ, COLUMNS=COLUMNS), contextlib.redirect_stderr(sys.stdout):
        try:
            return command(arguments)
        except SystemExit as end:  # of argparse, after a help text or a message
            return int(end.code or 0)


def run(page: Path) -> Iterator[tuple[Block, str]]:
    """Run a page in the working directory; yield each block of output, a `text` block just below another, with what was really printed."""
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": f"page_{page.stem}"}
    printed = ""
    for block in blocks(text):
        if block.language == "text" and not block.lead.strip():
            yield block, printed
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            if block.language == "python":
                python(block, page, text, namespace)
            elif block.language == "sh":
                shell(block)
        printed = output.getvalue()


@every_page
def test_page_runs_and_prints_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for block, printed in run(page):
        assert block.text == printed


def test_blocks_are_found() -> None:
    """Guard against a page whose fences are not seen, which would pass by running nothing."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^\s*```", text, re.MULTILINE)) == 2 * len(blocks(text)), page.name
    assert {b.language for page in PAGES for b in blocks(page.read_text(encoding="utf-8"))} <= {"python", "sh", "text", "c"}


def test_derivations_page_shows_the_gru() -> None:
    text = (ROOT / "docs" / "derivations.md").read_text(encoding="utf-8")
    for tag, line in tagged_formulas(differentiate(REGISTRY["gru"])).items():
        assert f"({tag}) {line}\n" in text


def derivation() -> str:
    return f"```text\n{show.text(REGISTRY['gru'])}\n```\n"


def tapes() -> str:
    """Return a table of what the cells' tapes keep."""
    cells: dict[Size, list[str]] = {}
    for name, cell in REGISTRY.items():
        cells.setdefault(tape_size(cell), []).append(f"`{name}`")
    ordered = sorted(cells.items(), key=lambda item: item[0].evaluate(dict.fromkeys(item[0].names, 100)))
    rows = [f"| {str(size).replace('*', '')} | {', '.join(names)} |" for size, names in ordered]
    return "\n".join(["| numbers | cells |", "|---|---|", *rows, ""])


def exported_c() -> str:
    """Return the tables of what exported C takes."""
    return export_c.table(json.loads((ROOT / "docs" / "data" / "export-c.json").read_text(encoding="utf-8"))) + "\n"


MARKED = {  # parts of pages
    README: ("DERIVE-SHOW-GRU", derivation),
    ROOT / "docs" / "interface.md": ("DERIVE-TAPES", tapes),
    ROOT / "docs" / "convert.md": ("DERIVE-LAYOUTS", lambda: f"{layouts()}\n"),
    ROOT / "docs" / "export.md": ("DERIVE-EXPORT-C", exported_c),
    ROOT / "docs" / "theory" / "history.md": ("DERIVE-HISTORY", history.tables),
}


@pytest.mark.parametrize("page", MARKED, ids=lambda page: page.name)
def test_marked_parts_are_what_is_printed(page: Path) -> None:
    assert marked(page, page.read_text(encoding="utf-8"))[1] == MARKED[page][1]()


def marked(page: Path, text: str) -> tuple[int, str]:
    """Return where a page's marked part begins, and the part."""
    match = re.search(f"<!-- {MARKED[page][0]}:.*?-->\n\n?(.*?\n)\n?<!-- /{MARKED[page][0]} -->", text, re.DOTALL)
    assert match is not None
    return match.start(1), match[1]


def test_readme_has_two_commands_and_ci_runs_the_second() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line.split("/")[-1] for line in commands] == ["derive demo", "pytest"]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -E '(.*?)' README.md", script)
    assert pattern is not None and [line for line in commands if re.search(pattern[1], line)] == commands[1:]


def test_no_page_has_the_marks_of_a_merge() -> None:
    marked = [path.name for path in PAGES if re.search(r"^(<{7}|>{7}|\|{7}) ", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert not marked, f"both sides of a merge are in {marked}"


def test_every_page_is_in_the_navigation() -> None:
    pages = re.findall(r"[\w/-]+\.md\b", NAVIGATION.read_text(encoding="utf-8"))
    assert sorted(pages) == sorted(place(page).relative_to(DOCS).as_posix() for page in PAGES if page != README)


def test_a_keyword_is_of_one_page_that_is_there() -> None:
    yaml = pytest.importorskip("yaml", reason="the extra `docs` is not installed")
    keywords = yaml.safe_load(KEYWORDS.read_text(encoding="utf-8"))
    words = [word for page in keywords.values() for word in page]
    assert len(words) == len(set(words))
    assert set(keywords) <= MADE | {place(page).relative_to(DOCS).as_posix() for page in PAGES if page != README}


def place(page: Path) -> Path:
    """Return where a page is among the others when the site is built."""
    return DOCS / page.name if page.parent == OF_EVERY_SITE else page


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    built = {place(other).resolve() for other in PAGES}
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        path = place(page).parent / target
        assert path.exists() or path.resolve() in built or f"{path.parent.name}/{path.name}" in MADE, target


def test_terms_of_the_glossary_are_in_order_and_explained() -> None:
    text = (OF_EVERY_SITE / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^## (.*)\n\n(.*)$", text, re.MULTILINE)
    names = [name for name, _ in terms]
    assert names == sorted(names, key=str.lower) and len(names) == len(set(names)) == text.count("\n## ")
    assert all(meaning.endswith(".") or meaning.endswith(".)") for _, meaning in terms)
    assert {"Adjoint", "Cotangent", "Gate", "Hidden size", "Link", "Stacked", "Static", "Structure", "Tape"} <= set(names)
    for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
        assert anchor in {name.lower().replace(" ", "-").replace(",", "") for name in names}


def test_gradients_are_with_respect_to_something() -> None:
    """Not by it: that would be what made them."""
    wrong = re.compile(
        r"\b(?:gradients?|derivatives?) by (?:the (?!kernel|true|generated)|every|all|its input|\$|`[a-zA-Z]|W\b|U\b|x\b|h\b)"
    )
    for page in PAGES:
        assert not wrong.findall(page.read_text(encoding="utf-8")), page.name


def test_citation_file_agrees_with_the_project() -> None:
    yaml = pytest.importorskip("yaml", reason="the extra `docs` is not installed")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()  # what the format requires
    assert cited["authors"] == project["authors"] and cited["license"] == project["license"]
    assert set(cited["keywords"]) <= set(project["keywords"])


def test_pages_of_the_python_interface_name_what_is_there() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent.name == "api")
    directives = re.findall(r"^::: (\S+)\n((?:    .*\n)*)", text, re.MULTILINE)
    assert directives
    for path, options in directives:
        for name in (path, *(f"{path}.{member}" for member in re.findall(r"^ +- (\w+)$", options, re.MULTILINE))):
            assert pydoc.locate(name) is not None, name


def test_pages_name_modules_and_files_that_are_there() -> None:
    pages = [ROOT / "CONTRIBUTING.md", *(page for page in PAGES if page.parent.name != "api")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`(derive(?:\.[a-z_]+)+)`", text):
            assert pydoc.locate(name) is not None, f"{page.name}: {name}"
        for path in re.findall(r"`(derive/[\w/.]+)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_tree_of_packages_is_that_of_the_code() -> None:
    trees = []
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "compiler.md"):
        found = [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.text.startswith("derive/\n")]
        assert len(found) == 1, page.name
        trees += found
    assert trees[0] == trees[1]
    packages = {path.parent.name + "/" for path in (ROOT / "derive").glob("*/__init__.py")}
    assert set(re.findall(r"^  (\S+)", trees[0], re.MULTILINE)) == packages | {"cell.py"}


def test_messages_point_to_sections_that_are_there() -> None:
    titles = re.findall(r"^## (.*)$", (ROOT / "docs" / "limits.md").read_text(encoding="utf-8"), re.MULTILINE)
    pointers = {value for name, value in vars(hints).items() if name.isupper() and name[0] != "_" and isinstance(value, str)}
    assert pointers and pointers <= {*titles}


def test_the_gallery_shows_every_kind_of_error() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert sum(block.language == "text" for block in blocks(text)) >= 45


def update(pages: list[Path]) -> None:
    """Write what the blocks print into `pages`, and their marked parts."""
    with tempfile.TemporaryDirectory() as folder:  # until the end: packages share kernels, which are compiled when one first needs them
        for page in pages:
            own = Path(tempfile.mkdtemp(dir=folder))
            with contextlib.chdir(own):
                sys.path.insert(0, str(own))
                found = list(run(page))
                sys.path.remove(str(own))
            page.write_text(updated(page, found), encoding="utf-8", newline="\n")


def updated(page: Path, found: list[tuple[Block, str]]) -> str:
    """Return a page's text with what its blocks printed."""
    text = page.read_text(encoding="utf-8")
    for block, printed in reversed(found):
        text = text[: block.start] + printed + text[block.end :]
    if page in MARKED:
        start, old = marked(page, text)
        text = text[:start] + MARKED[page][1]() + text[start + len(old) :]
    return text


if __name__ == "__main__":
    update([Path(name).resolve() for name in sys.argv[1:]] or PAGES)
