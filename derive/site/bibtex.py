"""What to cite: BibTeX made from a cell's reference.

A reference is a list of works, separated by semicolons, each ``Authors year, title, where, arXiv:number``, or ``Title, year, where`` where
no authors are named.  Only what is written there gets into an entry: surnames where there are surnames, and no title where there is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from .page import Page

WORK = re.compile(r"(?:[^;]*?: )??(?:also |in the notation of )?(?P<who>[^\d:,]+(?:, [^\d:,]+)*?) (?P<year>\d{4})(?:, (?P<rest>.+))?$")
UNSIGNED = re.compile(r"(?P<title>[^;:,]+), (?P<year>\d{4})(?:, (?P<rest>.+))?$")
ARXIV, DOI = re.compile(r"^arXiv:(\S+?)(?: \(.*\))?$"), re.compile(r"^doi:(\S+)$")
VOLUME = re.compile(r"^(?P<journal>[^\d:]+) (?P<volume>\d+)(?:\((?P<number>\d+)\))?(?::(?P<pages>[\w-]+))?$")
PART = re.compile(r"^(section|eqs?\.|equations?|table|chapter) ")  # a place in a work
MEETING = re.compile(r"^[A-Z]\w*[A-Z]\w*$")  # ICML, NeurIPS


PAGE = """@software{{derive,
  author = {{{{the derive authors}}}},
  title = {{{{derive: recurrent cells from their equations}}}},
  note = {{{note}}},{version}
}}"""


def citation(page: Page) -> str:
    """The works that the cell is from, and this page."""
    works = entries(page.cell.reference)
    own = of_page(f"Page of the cell {page.cell.name}: {page.cell.title or page.cell.name}", page.version)
    parts = [f"The papers, as far as the reference above names them:\n\n```bibtex\n{works}\n```"] if works else []
    return "\n\n".join([*parts, own])


def of_page(note: str, version: str) -> str:
    """A page of the site, which `note` names."""
    of = f"\n  version = {{{version}}}," if version else ""
    return f"This page:\n\n```bibtex\n{PAGE.format(note=_escaped(note), version=of)}\n```"


def entries(reference: str) -> str:
    """Return BibTeX entries of the works that a reference names; nothing, where it names none that has a year."""
    taken: set[str] = set()
    return "\n\n".join(_entry(found, taken) for found in works(reference))


def works(reference: str) -> list[re.Match[str]]:
    """Return the works that a reference names: who wrote each, or else its title, the year, and the rest."""
    return [found for part in reference.split("; ") if (found := WORK.match(part) or UNSIGNED.match(part))]


def _entry(work: re.Match[str], taken: set[str]) -> str:
    parts = work.groupdict()
    whose = {"author": _authors(parts["who"])} if "who" in parts else {"title": f"{{{parts['title']}}}"}
    fields = {**whose, **_where(re.split(r", (?=\S)", work["rest"] or "")), "year": work["year"]}
    kind = "article" if "journal" in fields else "inproceedings" if "booktitle" in fields else "book" if "publisher" in fields else "misc"
    lines = [f"  {name} = {{{_escaped(value)}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{_key(work, taken)},", *lines, "}"])


def _authors(names: str) -> str:
    return " and ".join(_surname(name) for name in re.split(r", | (?=et al\.)", names.strip()))


def _surname(name: str) -> str:
    """Return a surname as BibTeX reads one: in braces where it has several words."""
    return "others" if name == "et al." else f"{{{name}}}" if " " in name else name


def _where(parts: list[str]) -> dict[str, str]:
    """Return title, venue, number in arXiv and DOI, as far as there are any."""
    fields: dict[str, str] = {}
    title: list[str] = []
    for part in filter(None, parts):
        if found := dict(_venue(part)):
            fields |= {name: value for name, value in found.items() if name not in fields}
        elif not fields and not PART.match(part):
            title.append(part)
    return ({"title": f"{{{', '.join(title)}}}"} if title else {}) | fields


def _venue(part: str) -> Iterator[tuple[str, str]]:
    """Yield the fields that a part of a reference gives; none, if it is a title's or tells a place in the work."""
    if arxiv := ARXIV.match(part):
        yield from (("eprint", arxiv[1]), ("archiveprefix", "arXiv"))
    elif doi := DOI.match(part):
        yield "doi", doi[1]
    elif MEETING.match(part):
        yield "booktitle", part
    elif part.startswith("in "):
        yield "booktitle", part.removeprefix("in ")
    elif part.endswith(" Press"):
        yield "publisher", part
    elif part == "Zenodo":
        yield "howpublished", part
    elif re.fullmatch(r"\d+-\d+", part):
        yield "pages", part.replace("-", "--")
    elif volume := VOLUME.match(part):
        series = volume["journal"] == "PMLR"
        for name in ("journal", "volume", "number", "pages"):
            if volume[name]:
                yield (
                    ("series" if series and name == "journal" else name),
                    volume[name].replace("-", "--") if name == "pages" else volume[name],
                )


def _key(work: re.Match[str], taken: set[str]) -> str:
    """Return a key that no other entry has: the first author's name, or else the title, and the year."""
    plain = unicodedata.normalize("NFKD", re.split(r", | et al\.", work[1])[0])
    key = re.sub(r"[^a-z]", "", plain.encode("ascii", "ignore").decode().lower()) + work["year"]
    free = next(key + letter for letter in ("", *"abcdefghij") if key + letter not in taken)
    taken.add(free)
    return free


def _escaped(value: str) -> str:
    return re.sub(r"([&%#_])", r"\\\1", value)
