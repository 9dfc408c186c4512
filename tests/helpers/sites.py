"""Sites that are built for a browser to look at, once for all files of tests that do (fixtures, which `conftest.py` loads)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ordinary

from derive.cells import REGISTRY
from helpers.chromium import chromium

if TYPE_CHECKING:
    from derive.site.builder import Site

DESKTOP, PHONE = {"width": 1300, "height": 900}, {"width": 390, "height": 844}
PICTURED = ("lstm", "gru", "lstm_peephole", "qrnn", "slstm")


@dataclass
class Built:
    """A site: what it is made from, its folder, its sources, and where it is served."""

    site: Site
    folder: Path
    sources: Path
    address: str

    def page(self, cell: str) -> str:
        """Return where the page of a cell is."""
        return f"cells/{cell}.html" if self.site.docs else f"{cell}.html"

    def pages(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.html") if path.name != "404.html")


@pytest.fixture(scope="session", params=ordinary(["own", "project"], ["own"]))
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """A site of a few cells, as a user has one; and the project's, which takes minutes to build."""
    from derive.site.builder import make, own_site, write
    from derive.site.project import project_site
    from derive.site.serve import server

    site = project_site() if request.param == "project" else own_site({"mine.py": [REGISTRY[name] for name in PICTURED]})
    folder = tmp_path_factory.mktemp("site")
    (folder / "sources").mkdir()
    assert make(write(site, folder / "sources"), folder / "out") == 0
    with server(folder / "out") as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Built(site, folder / "out", folder / "sources" / "docs", f"http://127.0.0.1:{running.server_address[1]}/")
        running.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found
