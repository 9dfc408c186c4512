"""Which version a site is of, and the sites of several versions side by side: a folder each, and a page that leads to them."""

from __future__ import annotations

import html
import importlib.metadata
from pathlib import Path

from packaging.version import InvalidVersion, Version

from ..language.errors import CellError

INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{name}: versions</title>
<body style="font-family: sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em">
<h1>{name}</h1>
<ul>
{entries}
</ul>
</body>
</html>
"""


def version() -> str:
    """Return the version of the package; nothing where it is not installed."""
    try:
        return importlib.metadata.version("derive-rnn")
    except importlib.metadata.PackageNotFoundError:
        return ""


def place(folder: Path) -> Path:
    """Return where in a folder of versions the site of this one goes.

    Raises
    ------
    CellError
        If derive is not installed, so that its version is not known.
    """
    if not (own := version()):
        raise CellError("the version is not known, since derive is not installed: pip install -e '.[docs]'")
    return folder / own


def versions(folder: Path) -> list[str]:
    """Return the versions that a folder has sites of, the newest first; what else is there is left out."""
    found = [path.parent.name for path in folder.glob("*/sitemap.xml") if _is_version(path.parent.name)]
    return sorted(found, key=Version, reverse=True)


def _is_version(name: str) -> bool:
    try:
        Version(name)
    except InvalidVersion:
        return False
    return True


def write_index(folder: Path, name: str) -> None:
    """Write the page of a folder of versions that lists them: links that hold wherever the folder lies."""
    found = versions(folder)
    entries = [f'<li><a href="{one}/index.html">{one}</a>{" (newest)" if one == found[0] else ""}</li>' for one in found]
    (folder / "index.html").write_text(INDEX.format(name=html.escape(name), entries="\n".join(entries)), encoding="utf-8")
