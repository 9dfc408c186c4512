"""The pages of cells and the site's build; what is seen of it in a browser is in test_browser.py."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from conftest import ROOT, generated, python

from derive.__main__ import main
from derive.calculus.second import TANGENT, THROUGH, TWICE, second_order
from derive.cell import Cell
from derive.cells import REGISTRY, SHIPPED, SOURCES
from derive.language.errors import CellError
from derive.notation.reasons import reasons
from derive.notation.style import Latex
from derive.notation.text import adjoint_lines, backward_lines, forward_lines, left_side
from derive.package import contents
from derive.verify.problem import complete_sizes
from derive.verify.tolerances import TOLERANCES

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

import yaml

from derive.site.builder import KEYWORDS, LATER, build, found_by, make, only_links_within, own_site, write
from derive.site.define import definition
from derive.site.emitted import listings, rendered
from derive.site.example import example
from derive.site.extra import need_extra
from derive.site.formulas import MARKED
from derive.site.markup import broken, equations, seen, sentence
from derive.site.mathml import FormulaError, mathml
from derive.site.options import whole
from derive.site.page import Links, Page, checks
from derive.site.project import project_site
from derive.site.sections import markdown
from derive.site.serve import server
from derive.site.symbols import count_at, symbols
from derive.site.tape import kept

CHECKED = ROOT / "docs" / "data" / "check.json"
every_cell = pytest.mark.parametrize("name", REGISTRY)


@cache
def page(name: str) -> Page:
    cell = REGISTRY[name]
    module = contents.files([cell], sources=SOURCES, cuda=False)[f"{name}.py"]
    return Page(cell, module, SOURCES[name], "generated", checks(CHECKED).get(name))


@cache
def text(name: str) -> str:
    return markdown(page(name))


def lines_of(cell: Cell) -> dict[str, str]:
    style = Latex(dict(cell.latex))
    return forward_lines(cell, style) | backward_lines(cell, style)


def sizes_of(cell: Cell) -> dict[str, int]:
    """Return different values for the sizes, those that the equations make equal excepted."""
    return complete_sizes(cell, {size: 3 + 2 * k for k, size in enumerate(cell.sizes)})


# The page of a cell


@every_cell
def test_every_equation_has_its_place_and_its_reason(name: str) -> None:
    cell = REGISTRY[name]
    places = re.findall(r'<div class="equation" id="([FB][\d.]+)">', text(name))
    assert places == list(lines_of(cell))
    assert set(reasons(cell)) == set(backward_lines(cell, Latex({})))
    assert all(len(reason) > 10 and "$$" not in reason for reason in reasons(cell).values())


@every_cell
def test_second_order_is_all_there(name: str) -> None:
    """Tangents, and double backward without those of its lines that are the tangents' own, each in its place."""
    found, style = second_order(page(name).derivation), page(name).style
    tangents, twice, through = (adjoint_lines(found, link, style) for link in (TANGENT, TWICE, THROUGH))
    own = {left_side(line) for line in tangents.values()}
    again = [tag for tag, line in twice.items() if left_side(line) in own]
    assert len(again) == len(tangents) == len(own)  # as the page says
    alike = {left_side(line): sorted(line) for line in tangents.values()}
    assert all(sorted(twice[tag]) == alike[left_side(twice[tag])] for tag in again)  # if their terms stand in another order
    if REGISTRY[name].structure.coupling != "matrix":
        assert [twice[tag] for tag in again] == [*tangents.values()] and again == list(twice)[: len(again)]
    places = re.findall(r'<div class="equation" id="([TCD]\d+)">', text(name))
    assert places == [*tangents, *(tag for tag in twice if tag not in again), *through]
    section = text(name).partition("## Second order")[2].partition("\n## ")[0]
    assert section.count("<details") == section.count("</details>") == 2
    assert (r"\sum_{t=1}^{k}" in section) == bool(REGISTRY[name].states)


@pytest.mark.parametrize(
    ("name", "argument", "zero", "parts"),
    [("rnn", "a_{v,t}", False, False), ("lstm_layernorm", "z_{v,t}", True, False), ("lru", "", True, True)],
)
def test_signs_of_second_order_are_told_where_they_stand(name: str, argument: str, zero: bool, parts: bool) -> None:
    section = text(name).partition("## Second order")[2].partition("\n## ")[0]
    told = re.findall(r"\((\w_\{v,t\})\\\)</span> is the argument", section)
    assert told == ([argument] if argument else [])
    assert ("is zero, as the backward pass" in section, "on the way to a parameter" in section) == (zero, parts)


def test_second_order_leads_to_what_explains_it() -> None:
    alone, project = (Page(REGISTRY["gru"], page("gru").module, links=Links(second=where)) for where in ("", "../theory/second.html"))
    assert '<a href="../theory/second.html">' in markdown(project) and "theory/second" not in markdown(alone)


@every_cell
def test_every_formula_is_set(name: str) -> None:
    found = MARKED.findall(text(name))
    assert len(found) >= len(lines_of(REGISTRY[name])) * 2  # left and right sides, and what else there is
    for _, inline, display in found:
        assert mathml(html.unescape(inline or display).strip(), not inline).startswith("<math")


@every_cell
def test_links_within_the_page_hold(name: str) -> None:
    ids = Counter(re.findall(r'\bid="([^"]+)"', text(name)))
    assert not [key for key, count in ids.items() if count > 1]
    wanted = set(re.findall(r'href="#([^"]+)"', text(name)))
    assert wanted <= set(ids) | {f"kernel-{listing.name}" for listing in page(name).listings}


@every_cell
def test_equations_and_code_are_linked_both_ways(name: str) -> None:
    listed = page(name).listed
    for tag in lines_of(REGISTRY[name]):
        assert (f'href="#code-{tag}"' in text(name)) == (tag in listed) == (f'id="code-{tag}"' in text(name))
    assert listed >= {"B1"} | ({"F1"} if name != "flash_lstm" else set())  # nothing is computed without its number: that is a view
    assert len(listed) >= 0.9 * len(lines_of(REGISTRY[name]))


@every_cell
def test_symbols_shapes_and_parameters(name: str) -> None:
    cell = REGISTRY[name]
    rows = {symbol.name: symbol for symbol in symbols(cell)}
    assert set(rows) >= {*cell.inputs, *cell.context, *cell.parameters, *cell.constants, *(f"{s}_prev" for s in cell.states)}
    sizes = sizes_of(cell)
    params = generated(name).init(**sizes)
    assert count_at(cell, sizes) == sum(np.size(array) for array in params)
    for parameter, array in params._asdict().items():
        values = {**sizes, "__builtins__": {}}
        shape = () if rows[parameter].shape == "a number" else eval(rows[parameter].shape, values)
        assert np.shape(array) == shape


@every_cell
def test_the_tape_is_that_of_the_kernels(name: str) -> None:
    sizes = sizes_of(REGISTRY[name])
    spec = generated(name).spec(5, 2, **sizes)["saved"]
    assert [(5 + array.state, 2, array.width.evaluate(sizes)) for array in kept(REGISTRY[name])] == [
        (*shape[:2], int(np.prod(shape[2:]))) for shape in spec.values()
    ]
    assert all(array.readers for array in kept(REGISTRY[name]))  # nothing is kept in vain


@every_cell
def test_the_definition_makes_the_cell(name: str) -> None:
    cell = REGISTRY[name]
    namespace: dict[str, object] = dict(cell.array_constants)
    exec(definition(cell), namespace)
    made = namespace[name]
    assert isinstance(made, Cell)
    for what in ("equations", "inputs", "context", "fixed", "output", "shapes", "init", "latex", "scalar_constants"):
        assert getattr(made, what) == getattr(cell, what), what


def test_a_definition_holds_whatever_is_written_in_it() -> None:
    """A text that would end its own quotation stays a text: the file that is made of it runs nothing else."""
    hostile = 'h = tanh(W @ x + U @ h_prev)  # """, open("made", "w"), """ \\n \\'
    cell = Cell(hostile, name="mine", output="h", latex={"W": 'a", open("made", "w"), "\\', "U": r"\hat U"})
    namespace: dict[str, object] = {"open": None}
    exec(definition(cell), namespace)
    made = namespace["mine"]
    assert isinstance(made, Cell) and made.text.strip() == hostile.strip() and made.latex == cell.latex


@pytest.mark.parametrize("name", ["rnn", "lstm", "lmu", "softmax_cross_entropy", "squared_error", "qrnn"])
def test_the_example_runs(name: str) -> None:
    namespace: dict[str, object] = {}
    exec(example(REGISTRY[name], "generated"), namespace)
    assert namespace["grads"] is not None


BEYOND = {("mesanet", "float32")}  # conjugate gradients lose digits: 6e-5; `derive check` says so


def test_checks_are_those_that_were_measured() -> None:
    found = checks(CHECKED)
    assert list(found) == list(SHIPPED), "docs/data/check.json is not of these cells: derive docs --measure"
    for name, entry in found.items():
        assert entry["ok"] == (name not in {cell for cell, _ in BEYOND})
        assert entry["parameters"] == count_at(SHIPPED[name], entry["sizes"])
        for witness, errors in entry["errors"].items():
            within = max(errors.values(), default=0.0) <= TOLERANCES[witness]
            assert within == ((name, witness) not in BEYOND), (name, witness)


@every_cell
def test_errors_that_were_measured_are_on_the_page(name: str) -> None:
    assert all(f"<td>{max(errors.values()):.1e}</td>" in text(name) for errors in checks(CHECKED)[name]["errors"].values())


def test_what_is_no_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"none\.json"):
        checks(tmp_path / "none.json")
    (tmp_path / "other.json").write_text(json.dumps([1, 2]))
    with pytest.raises(CellError, match="derive check --json"):
        checks(tmp_path / "other.json")


def test_pages_are_the_same_under_every_hash_seed() -> None:
    code = (
        "import hashlib; from derive.cells import REGISTRY; from derive.package import contents;"
        "from derive.site.page import Page; from derive.site.sections import markdown;"
        "print([hashlib.sha256(markdown(Page(c, contents.files([c], cuda=False)[f'{c.name}.py'])).encode()).hexdigest()"
        " for c in map(REGISTRY.get, ('slstm', 'gru_layernorm', 'rhn'))])"
    )
    assert python(code, PYTHONHASHSEED="0") == python(code, PYTHONHASHSEED="1")


# Pieces


def test_long_formulas_are_broken_between_their_terms() -> None:
    terms = [rf"\operatorname{{Diag}}\left(a_{k} + b\right) \, U_{k}" for k in range(9)]
    formula = " + ".join(terms)
    lines = broken(formula)
    assert len(lines) > 1
    assert " ".join(lines) == formula  # nothing is lost
    assert all(line.startswith("+ ") for line in lines[1:])
    assert broken(r"\left(a + b\right) \, c") == [r"\left(a + b\right) \, c"]
    assert broken("-a - b") == ["-a - b"]


def test_how_much_is_seen_of_a_formula() -> None:
    assert seen(r"\bar{h}_{t}") <= 4
    assert seen(r"\frac{\partial L}{\partial h_{t}}") <= 4
    assert seen(r"\left(a\right)") == 3


def test_sentences_escape_what_is_not_markup() -> None:
    made = sentence("a < b, [F5] and `x < y` and $u < v$")
    assert made == ('a &lt; b, <a href="#F5">F5</a> and <code>x &lt; y</code> and <span class="arithmatex">\\(u &lt; v\\)</span>')


def test_an_equation_links_to_code_only_where_there_is_some() -> None:
    made = equations({"F1": "a = b", "F2": "c = d"}, listed=["F1"])
    assert 'href="#code-F1"' in made and 'href="#code-F2"' not in made


def test_an_option_stays_on_one_line() -> None:
    option = '<code class="option">'
    assert whole("<p><code>--no-playground</code>, <code>-k</code></p>") == f"<p>{option}--no-playground</code>, {option}-k</code></p>"
    assert whole("<code>--versions DIR</code>") == f"{option}--versions DIR</code>"
    for text in (
        "<code>torchrun --nproc-per-node 2</code>",
        "<code>--</code>",
        "<pre><code>--help\nusage</code></pre>",
        "<code>-x * y</code>",
    ):
        assert whole(text) == text


def test_a_number_is_a_place_once() -> None:
    found = listings("def f():\n    # (F1)  a = b\n    # (F1)  again\n    pass\n\n\ndef g():\n    return 1  # no number\n")
    assert [listing.name for listing in found] == ["f"]
    done: set[str] = set()
    made = rendered(found[0], done)
    assert made.count('id="code-F1"') == 1 and made.count('href="#F1"') == 2
    assert 'id="code-F1"' not in rendered(found[0], done)


def test_letters_of_other_alphabets_are_characters() -> None:
    assert "𝐬" in mathml(r"\mathbf{s}", False) and "𝟏" in mathml(r"\mathbf{1}", False)
    assert "𝒲" in mathml(r"\mathcal{W}", False) and "ℝ" in mathml(r"\mathbb{R}", False)


def test_what_browsers_know_without_being_told_is_left_out() -> None:
    made = mathml(r"\operatorname{Diag}\left(\left|a\right|, \partial b\right)^{(2)} + \lVert c \rVert", False)
    assert "fence" not in made and "separator" not in made and "<mi>Diag</mi>" in made
    assert '<mi mathvariant="normal">∂</mi>' in made  # alone, it would be slanted
    assert (
        "<mrow><mo>|</mo><mi>a</mi><mo>|</mo></mrow>" in made and made.count('<mo stretchy="false" lspace="0em" rspace="0em">‖</mo>') == 2
    )
    assert "<mtext>(2)</mtext>" in made  # a mark, and no operators
    assert '<mo stretchy="false">(</mo>' in mathml("f(2)", False)


def test_a_mark_above_a_mark_is_given_room() -> None:
    for tex, count in ((r"\bar{\bar{h}}_t", 1), (r"\bar{\bar{\hat{u}}}", 2), (r"\dot{i}", 1), (r"\dot{h} + \bar{x} + \bar{i}", 0)):
        assert mathml(tex, False).count('<mrow class="lower">') == count, tex


def test_a_formula_that_is_refused_is_named() -> None:
    with pytest.raises(FormulaError, match=r"\\nonsense"):
        mathml(r"a + \nonsense", True)


# The build


def test_a_bad_formula_stops_the_build(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev)", name="bad", output="h", latex={"W": r"\nonsense"})
    assert build(own_site({"bad.py": [cell]}), tmp_path / "site") != 0
    said = capfd.readouterr().err
    assert "bad.md" in said and r"\nonsense" in said


def test_cells_of_ones_own_from_another_folder(tmp_path: Path) -> None:
    """As where derive is installed: no checkout, no hand-written pages."""
    shutil.copytree(ROOT / "derive", tmp_path / "lib" / "derive", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "my_cell.py").write_text(
        'from derive import Cell\n\nmine = Cell("h = tanh(W @ x + u * h_prev)", name="mine", output="h", title="Mine")\n'
    )
    command = [sys.executable, "-m", "derive", "docs", "my_cell.py", "--out", "site"]
    env = {"PYTHONPATH": str(tmp_path / "lib"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stderr
    made = (tmp_path / "site" / "mine.html").read_text(encoding="utf-8")
    assert "<math" in made and "arithmatex" not in made and "derive check my_cell.py" in made
    assert "no number of its kernels has been compared" in made  # what was not checked is said
    assert 'href="notation.html"' in made and "cotangent" in (tmp_path / "site" / "notation.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "index.html").is_file() and (tmp_path / "site" / "glossary.html").is_file()
    index = (tmp_path / "site" / "search" / "search_index.js").read_text(encoding="utf-8")
    found = {entry["location"]: entry for entry in json.loads(index.removeprefix("var __index = "))["docs"]}
    assert found["mine.html"]["tags"] == ["mine"] and "glossary.html#cotangent" in found


def test_links_to_pages_that_a_site_does_not_have_are_left_out(tmp_path: Path) -> None:
    text = "See [Gates](theory/gates.md#x), [Notation](notation.md) and [a link](#link)."
    assert only_links_within(text, tmp_path) == "See Gates, [Notation](notation.md) and [a link](#link)."
    (tmp_path / "theory").mkdir()
    (tmp_path / "theory" / "gates.md").touch()
    assert only_links_within(text, tmp_path) == text


def test_a_cell_whose_name_begins_others_is_found_first() -> None:
    cells = [REGISTRY[name] for name in ("lstm", "lstmp", "slstm")]
    assert ["boost: 1\n" in found_by(cell, cells) for cell in cells] == [True, False, True]
    names, every = ("lstm", "lstm_concat", "lstm_concat_nobias", "gated_oja"), list(REGISTRY.values())
    boosts = [head(found_by(REGISTRY[name], every))["search"]["boost"] for name in names]
    assert boosts == [1, LATER, LATER**2, LATER]


def head(text: str) -> dict[str, Any]:
    """Return what stands at the head of a page, for those who make it HTML."""
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_a_page_is_found_by_its_keywords(tmp_path: Path) -> None:
    texts = {"index.md": "# Mine", "nav.yml": "[{Home: index.md}, {Cells: cells/}]", KEYWORDS: "{index.md: [mine], cells/rnn.md: [plain]}"}
    (tmp_path / "docs").mkdir()
    for name, written in texts.items():
        (tmp_path / "docs" / name).write_text(written)
    (tmp_path / "made").mkdir()
    write(replace(own_site({"rnn.py": [REGISTRY["rnn"]]}), docs=tmp_path / "docs"), tmp_path / "made")
    pages = tmp_path / "made" / "docs"
    tags = [head((pages / name).read_text(encoding="utf-8"))["tags"] for name in ("index.md", "cells/rnn.md")]
    assert tags == [["mine"], ["rnn", "plain"]] and not (pages / KEYWORDS).exists()


def test_what_was_checked_and_what_was_not_is_said() -> None:
    section = text("gru").partition("## What was checked")[2].partition("\n## ")[0]
    assert "not a proof" in section and "derive check gru --order 2" in section and "CUDA" in section


@pytest.mark.parametrize(("name", "said", "not_said"), [("lstm", "A bar", "⊗"), ("deltanet", "⊗", "A bar"), ("linear", "$", "Red")])
def test_a_caption_says_what_its_picture_has(name: str, said: str, not_said: str) -> None:
    caption = re.search(r"<figcaption>(.*?)</figcaption>", text(name), re.DOTALL)
    assert caption is not None
    assert said.replace("$", "One step:") in caption[1] and not_said not in caption[1]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "my_cell.py").write_text("kept")
    with pytest.raises(CellError, match="name another folder"):
        build(own_site({"rnn.py": [REGISTRY["rnn"]]}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my_cell.py"]


def test_a_site_is_built_again_in_its_folder(tmp_path: Path) -> None:
    site = own_site({"rnn.py": [REGISTRY["rnn"]]})
    assert build(site, tmp_path / "site") == build(site, tmp_path / "site") == 0


def test_measured_numbers_are_shown_for_cells_of_ones_own(tmp_path: Path) -> None:
    cell = REGISTRY["rnn"]
    site = own_site({"rnn.py": [cell]}, CHECKED)
    assert site.checked["rnn"] == checks(CHECKED)["rnn"]


def test_a_build_that_fails_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "mkdocs.yml").write_text("site_name: mine\nnav: [index.md]\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# mine")
    (tmp_path / "file").touch()
    with pytest.raises(CellError, match=r"site` could not be built: .*Error: .*file"):
        make(tmp_path / "mkdocs.yml", tmp_path / "file" / "site")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CellError, match=r"mkdocs.*pip install 'derive-rnn\[docs\]'"):
        need_extra()


def test_the_project_site_needs_its_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("derive.site.project.DOCS", tmp_path)
    with pytest.raises(CellError, match="checkout"):
        project_site()


def test_what_the_package_needs_is_in_it() -> None:
    """Files that are no modules are in a wheel only if they are named."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]["derive.site"]
    folder = ROOT / "derive" / "site"
    packed = {path for pattern in named for path in folder.glob(pattern)}
    assert packed == {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}


def test_a_built_site_is_served_on_this_machine_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>here</h1>")
    with server(tmp_path) as running:
        threading.Thread(target=running.handle_request, daemon=True).start()
        host, port = running.server_address[:2]
        assert host == "127.0.0.1"
        with urlopen(f"http://127.0.0.1:{port}/index.html", timeout=10) as answer:
            assert answer.read() == b"<h1>here</h1>"


@pytest.mark.parametrize("words", [["docs", "--checked", "check.json"], ["docs", "cell.py", "--measure"]])
def test_options_that_do_not_go_together(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "--measure is for the project's own site" in capsys.readouterr().err
