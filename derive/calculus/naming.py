"""Names that are not taken yet."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable


class Names:
    """A set of identifiers in use, which hands out new ones.

    >>> names = Names({"a"})
    >>> names.fresh("a"), names.fresh("r * h")
    ('a_2', 'r_h')
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: Counter[str] = Counter()  # up to where the numbered names of a stem are known to be taken

    def fresh(self, wish: str) -> str:
        """Return `wish` as an identifier, numbered if it is taken, and take it."""
        base = re.sub(r"\W+", "_", wish).strip("_") or "v"
        if base[0].isdigit():
            base = "v" + base
        name, count = base, max(self._counts[base], 1)
        while name in self._taken or keyword.iskeyword(name):
            count += 1
            name = f"{base}_{count}"
        self._counts[base] = count
        self._taken.add(name)
        return name
