"""What to cite: BibTeX that a cell's reference gives, and links at arXiv numbers and DOIs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from derive.cells import SHIPPED

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("quickjs", reason="the extra `docs` is not installed")

from derive.site.bibtex import citation, entries, of_page
from derive.site.builder import THEORY, own_site, write
from derive.site.page import Page
from derive.site.references import linked
from derive.site.versions import version

NEEDED = {
    "article": {"author", "journal", "year"},
    "inproceedings": {"author", "booktitle", "year"},
    "book": {"author", "title", "publisher"},
}


def parsed(text: str) -> list[tuple[str, str, dict[str, str]]]:
    """Return kind, key and fields of BibTeX entries; an error, where the text is anything else."""
    found, at = [], 0
    while at < len(text):
        head = re.compile(r"\s*@(\w+)\{([\w-]+),\s*").match(text, at)
        assert head is not None, text[at:]
        at, fields = head.end(), {}
        while text[at] != "}":
            name = re.compile(r"(\w+) = \{").match(text, at)
            assert name is not None, text[at:]
            end = closing(text, name.end())
            assert name[1] not in fields
            fields[name[1]] = text[name.end() : end]
            rest = re.compile(r"\},\s*").match(text, end)
            assert rest is not None, text[end:]
            at = rest.end()
        at += 1
        found.append((head[1], head[2], fields))
    return found


def closing(text: str, start: int) -> int:
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise AssertionError(f"a brace is not closed: {text[start:]}")


@pytest.mark.parametrize("name", [name for name, cell in SHIPPED.items() if cell.reference])
def test_whatever_a_reference_names_can_be_cited(name: str) -> None:
    """Each of its parts with a year is a work; a cell without any is the form of a layer of PyTorch, and that is all its reference says."""
    works = [part for part in SHIPPED[name].reference.split("; ") if re.search(r"\b(19|20)\d\d\b", part)]
    assert len(parsed(entries(SHIPPED[name].reference))) == len(works)
    assert works or ("_torch" in name and SHIPPED[name].reference.startswith("the form of torch.nn."))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_a_page_has_to_cite_is_bibtex(name: str) -> None:
    cell = SHIPPED[name]
    code = "\n".join(re.findall(r"```bibtex\n(.*?)\n```", citation(Page(cell, "")), re.DOTALL))
    works = parsed(code)
    assert len({key for _, key, _ in works}) == len(works) and works[-1][:2] == ("software", "derive")
    for kind, _, fields in works[:-1]:
        assert fields.keys() >= NEEDED.get(kind, {"author", "year"})
        for value in fields.values():  # only what the reference says
            for word in re.findall(r"[^\W\d_]{3,}", value):
                assert word in cell.reference or word in ("and", "others", "arXiv"), word
    named = re.findall(r"arXiv:(\d+\.\d+(?:v\d+)?)", cell.reference)
    assert [fields["eprint"] for _, _, fields in works if "eprint" in fields] == named


def test_a_page_of_the_course_can_be_cited(tmp_path: Path) -> None:
    texts = {
        "index.md": "# Mine\n",
        "nav.yml": "[{Home: index.md}, {A: theory/a.md}, {Cells: cells/}]",
        "theory/a.md": "# Why A & B\n\nSo.\n",
    }
    (tmp_path / "docs" / THEORY).mkdir(parents=True)
    for name, text in texts.items():
        (tmp_path / "docs" / name).write_text(text)
    (tmp_path / "made").mkdir()
    write(replace(own_site({"rnn.py": [SHIPPED["rnn"]]}), docs=tmp_path / "docs"), tmp_path / "made")
    made = tmp_path / "made" / "docs"
    before, after = (made / "theory" / "a.md").read_text(encoding="utf-8").split("\n## Cite { data-search-exclude }\n\n")
    assert before == texts["theory/a.md"] and "## Cite" not in (made / "index.md").read_text(encoding="utf-8")
    ((kind, _, fields),) = parsed(re.findall(r"```bibtex\n(.*?)\n```", after, re.DOTALL)[0])
    assert kind == "software" and fields["note"] == r"Page: Why A \& B" and fields.get("version", "") in of_page("", version())


def test_works_of_all_kinds() -> None:
    ((kind, key, fields),) = parsed(
        entries("in the notation of Greff, Koutník 2017, A Title, with a comma, IEEE X 28(10), arXiv:1503.04069")
    )
    assert (kind, key) == ("article", "greff2017") and fields["title"] == "{A Title, with a comma}"
    assert fields["author"] == "Greff and Koutník" and (fields["journal"], fields["volume"], fields["number"]) == ("IEEE X", "28", "10")
    first, second = parsed(entries("van Dam 1990, A Book & More, Some Press, section 1.3; later: van Dam et al. 1990, ICML, PMLR 37:1-9"))
    assert first[:2] == ("book", "vandam1990") and first[2]["author"] == "{van Dam}" and first[2]["title"] == r"{A Book \& More}"
    assert second[:2] == ("inproceedings", "vandam1990a") and second[2]["author"] == "{van Dam} and others"
    assert (second[2]["series"], second[2]["pages"]) == ("PMLR", "1--9")
    ((kind, key, fields),) = parsed(entries("Some Nets 2, 2026, arXiv:2605.22791; as in a library, its/folder"))
    assert (kind, key) == ("misc", "somenets2026") and "author" not in fields
    assert (fields["title"], fields["eprint"], fields["year"]) == ("{Some Nets 2}", "2605.22791", "2026")
    assert entries("the form of torch.nn.GRU") == ""


def test_numbers_are_links_but_in_code_and_links() -> None:
    assert linked("<p>see arXiv:1503.04069v3, eq. 1</p>") == (
        '<p>see <a href="https://arxiv.org/abs/1503.04069v3">arXiv:1503.04069v3</a>, eq. 1</p>'
    )
    assert (
        linked("doi:10.5281/zenodo.4422025; next")
        == '<a href="https://doi.org/10.5281/zenodo.4422025">doi:10.5281/zenodo.4422025</a>; next'
    )
    for text in (
        "<code>arXiv:1503.04069</code>",
        '<a href="x">arXiv:1503.04069</a>',
        '<svg aria-label="arXiv:1503.04069"></svg>',
        "arXiv:12",
    ):
        assert linked(text) == text
