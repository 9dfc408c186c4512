"""The page of dates: its years are those of the cells' references, its links lead to what is there, and no cell is left out."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from conftest import ROOT

from derive.cells import REGISTRY
from derive.language.errors import CellError
from derive.site.history import ERAS, Event, by_year

EVENTS = list(chain(*ERAS.values()))
PAGES = ROOT / "docs" / "theory"


@pytest.mark.parametrize("event", [event for event in EVENTS if event.cells], ids=lambda event: event.work)
def test_a_cell_shows_a_work_that_it_refers_to(event: Event) -> None:
    """Each cell, not only the first: some name more of the authors, or a later version."""
    year, cited = event.citation
    assert event.work.endswith(str(year)) and cited.startswith(event.work.removesuffix(f" {year}"))
    first = re.split(r", | et al", event.work)[0].removesuffix(f" {year}")
    for name in event.cells:
        assert re.search(rf"(^|; |: )(in the notation of )?{first}[^;]*? {year}\b", REGISTRY[name].reference), name


@pytest.mark.parametrize("event", [event for event in EVENTS if not event.cells], ids=lambda event: event.work.split(",")[0])
def test_a_work_without_a_cell_leads_to_a_section(event: Event) -> None:
    year, cited = event.citation
    assert f" {year}" in event.work and f" {year}" not in cited and len(cited.split(", ")) >= 3  # authors, title and where
    target, anchor = re.fullmatch(r"\[[^]]+\]\(([^)#]+)(?:#([^)]+))?\)", event.page).groups()
    headings = re.findall(r"^#+ (.*)$", (PAGES / target).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor is None or anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_dates_are_in_order() -> None:
    years = [event.citation[0] for event in EVENTS]
    assert years == sorted(years)
    with pytest.raises(CellError, match="reference of `rnn` has no work Elman 1991"):
        _ = Event("Elman 1991", "", ("rnn",)).citation


def test_each_cell_with_a_state_has_its_year_or_is_a_variant_of_one_that_has() -> None:
    found = by_year()
    listed = [name for names in found.values() for name in names]
    assert len(listed) == len(set(listed)) and list(found) == sorted(found)
    for year, names in found.items():
        assert all(str(year) in REGISTRY[name].reference for name in names)
    for name, cell in REGISTRY.items():
        assert (name in listed) == bool(cell.states) or any(name.startswith(f"{other}_") for other in listed), name
