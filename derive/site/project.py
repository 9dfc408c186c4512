"""The project's own site: all cells beside the hand-written pages, and the data that these show."""

from __future__ import annotations

import inspect
from pathlib import Path

from ..cells import FAMILIES, MADE, SHIPPED, SOURCES
from ..language.errors import CellError
from ..verify.report import run
from .builder import ROOT, Site
from .page import checks

DOCS = ROOT / "docs"
CHECKED = DOCS / "data" / "check.json"
EXPERIMENTS = DOCS / "data" / "theory"


def project_site() -> Site:
    """Return the project's own site, which is built from a checkout.

    Raises
    ------
    CellError
        If the hand-written pages are not there.
    """
    if not (DOCS / "nav.yml").is_file():
        raise CellError("the project's site is built from a checkout; for cells of your own: derive docs my_cell.py --out site/")
    groups = {_title(inspect.getdoc(family) or family.__name__): family.CELLS for family in (*FAMILIES, *MADE)}
    return Site("derive", groups, SOURCES, "generated", DOCS, _figures, checks(CHECKED))


def _title(docstring: str) -> str:
    return docstring.splitlines()[0].split(":")[0].rstrip(".")


def _figures(folder: Path) -> None:
    from ..theory import draw  # its modules run the generated kernels, which only a checkout is sure to have

    draw(EXPERIMENTS, folder)


def measure() -> None:
    """Measure again what the project's pages show, and write it to `docs/data`: the check of every cell, and the pages' experiments."""
    from ..theory import measure as experiments

    run(list(SHIPPED.values()), str(CHECKED))
    experiments(EXPERIMENTS)
