"""The extra `docs`: what the site is built with, beside what derive itself needs."""

from __future__ import annotations

import importlib.util

from ..language.errors import CellError

NEEDED = ("mkdocs", "material", "quickjs", "sphinxcontrib.katex", "ziamath")


def need_extra() -> None:
    """Raise CellError if the extra `docs` is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name.split(".")[0]) is None or importlib.util.find_spec(name) is None]
    if missing:
        raise CellError(f"the site needs {', '.join(missing)}: pip install 'derive-rnn[docs]'")
