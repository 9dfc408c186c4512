"""Cells of recent papers, as the files in `tests/verify/data` have them."""

from typing import Any

from derive import Cell


def published(entry: dict[str, Any]) -> Cell:
    """Return a cell as its paper prints it."""
    return Cell(
        entry["eqs"],
        name=entry["key"],
        output=entry["out"],
        inputs=tuple(entry["inputs"]),
        shapes={**entry["params"], **entry["states"], **entry["inputs"]},
        constants=entry["const"],
        fixed=tuple(entry["fixed"]),
        functions={name: text if isinstance(text, str) else tuple(text) for name, text in entry["functions"].items()},
        heads=entry.get("heads", ""),
        shared=tuple(entry.get("shared", ())),
    )
