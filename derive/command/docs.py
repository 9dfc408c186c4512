"""`derive docs`: the pages of the derivations, and the site that they make."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from ..cells.load import cells_of
from ..language.errors import CellError
from ..site.extra import need_extra
from ..site.serve import serve


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` which cells, and where the site goes."""
    add = parser.add_argument
    add("files", metavar="FILE.py", nargs="*", help="files of cells (default: the project's own site, from a checkout)")
    where = parser.add_mutually_exclusive_group().add_argument
    where("--out", type=Path, default=Path("site"), metavar="DIR", help="folder of the built site (default: site)")
    where("--versions", type=Path, metavar="DIR", help="build into a folder of DIR named after the version; a page in DIR lists all")
    add("--checked", type=Path, metavar="FILE.json", help="what `derive check --json` wrote of the cells in the files")
    add("--url", default="", metavar="URL", help="where the site will stand: then its sitemap and llms.txt have whole addresses")
    add("--serve", action="store_true", help="then open the site in a browser; Ctrl-C ends it")
    add("--no-playground", action="store_true", help="without what the page needs to run derive in the browser, which npm fetches")
    add("--measure", action="store_true", help="first measure again what the project's pages show: docs/data")


def run(options: argparse.Namespace) -> int:
    """Build the site; return MkDocs' exit status, or 2 for wrong usage."""
    if (options.files and options.measure) or (options.checked and not options.files):
        print("derive docs: --measure is for the project's own site, --checked for files of cells", file=sys.stderr)
        return 2
    if options.url and not options.url.startswith(("http://", "https://")):
        print(f"derive docs: --url needs a whole address, such as https://example.org/cells/, not {options.url!r}", file=sys.stderr)
        return 2
    need_extra()
    return _built(options)


def _built(options: argparse.Namespace) -> int:
    from ..site.builder import build, own_site  # these import what the extra has
    from ..site.project import measure, project_site
    from ..site.versions import place, write_index

    out = place(options.versions) if options.versions else options.out
    if options.measure:
        measure()
    if options.files:
        site = own_site({name: cells_of(name) for name in options.files}, options.checked)
    else:
        site = replace(project_site(), pyodide=None if options.no_playground else pyodide_if_any())
    status = build(replace(site, url=f"{options.url.rstrip('/')}/" if options.url else ""), out)
    if status == 0:
        if options.versions:
            write_index(options.versions, site.name)
        print(f"{out}: {len(site.cells)} cells, {size(out) / 1e6:.1f} MB, open {out / 'index.html'}")
        if options.serve:
            serve(out)
    return status


def pyodide_if_any() -> dict[str, bytes] | None:
    """Return what the playground runs on; where it cannot be had, the site is built without it, and a message says so."""
    from ..site.playground.pyodide import fetched

    try:
        return fetched()
    except CellError as error:
        print(f"derive docs: the page Playground only says how to get it: {error}", file=sys.stderr)
        return None


def size(folder: Path) -> int:
    """Return how many bytes the files in a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
