"""What a cell is: its equations and what is declared of them, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any

from . import declarations, wellformed
from .constants import content
from .errors import CellError
from .names import canonical, canonical_keys
from .reading import Reading


class Definition(Reading):
    """A cell's text and declarations, of which nothing is wrong; arguments as for `derive.Cell`, which can do more."""

    def __init__(
        self,
        text: str,
        *,
        name: str,
        output: str,
        title: str = "",
        reference: str = "",
        description: str = "",
        inputs: tuple[str, ...] = ("x",),
        context: tuple[str, ...] = (),
        fixed: tuple[str, ...] = (),
        shapes: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        init: Mapping[str, float | str] | None = None,
        latex: Mapping[str, str] | None = None,
        functions: Mapping[str, Any] | None = None,
        heads: str = "",
        shared: tuple[str, ...] = (),
    ) -> None:
        values: dict[str, Any] = {
            "text": text,
            "name": canonical(name) if isinstance(name, str) else name,
            "output": canonical(output) if isinstance(output, str) else output,
            "title": title,
            "reference": reference,
            "description": description,
            "inputs": _names("inputs", inputs),
            "context": _names("context", context),
            "fixed": _names("fixed", fixed),
            "declared_shapes": _mapping("shapes", shapes),
            "constants": _mapping("constants", constants),
            "init": _mapping("init", init),
            "latex": _mapping("latex", latex),
            "functions": _mapping("functions", functions),
            "heads": heads,
            "shared": _names("shared", shared),
        }
        for key in ("output", "title", "reference", "description", "heads"):
            if not isinstance(values[key], str):
                raise CellError(f"{key} needs a text, not {values[key]!r}")
        for key, value in values.items():
            object.__setattr__(self, key, value)
        wellformed.check_cell_name(self.name)
        self._spread()
        try:
            declarations.check(self)
        except CellError as error:
            raise self._in_authors_words(error) from None

    def _spread(self) -> None:
        """Let what is declared of `W` hold for the numbered parameters `W[0]`, `W[1]`, …"""
        for family, members in self.unrolled.families.items():
            for what in ("declared_shapes", "init", "latex"):
                given = dict(getattr(self, what))
                if family in given and family not in self.parameters:
                    value = given.pop(family)
                    tex = what == "latex" and isinstance(value, str)
                    spread = {member: f"{value}_{{{member.rpartition('_')[2]}}}" if tex else value for member in members}
                    object.__setattr__(self, what, {**spread, **given})
            for what in ("fixed", "shared"):
                names = getattr(self, what)
                if family in names and family not in self.parameters:
                    object.__setattr__(self, what, (*(name for name in names if name != family), *members))

    def _in_authors_words(self, error: CellError) -> CellError:
        """Return an error with the author's names for the values that a name has in a block."""
        versions = self.unrolled.versions
        message = re.sub(r"\w+", lambda word: versions[word[0]][0] if word[0] in versions else word[0], error.message)
        return CellError(message, error.line, error.column, error.text)

    # Identity

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        mappings = (self.declared_shapes, self.constants, self.init, self.latex)
        plain = (self.text, self.name, self.output, self.title, self.reference, self.description, self.inputs, self.context, self.fixed)
        own = tuple((key, text if isinstance(text, str) else tuple(text)) for key, text in sorted(self.functions.items()))
        return (*plain, self.heads, self.shared, *(tuple((k, content(v)) for k, v in sorted(m.items())) for m in mappings), own)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Definition) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy or a pickle makes it again: from its definition, without what has followed from that."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {name: value.nested() for name, value in self.constant_arrays.items()}
        shapes, constants = given.pop("declared_shapes"), {**self.constants, **arrays}
        return _defined, (type(self), {**given, "shapes": shapes, "constants": constants})


def _defined(kind: type[Definition], definition: dict[str, Any]) -> Definition:
    return kind(**definition)


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise CellError(f'{what} needs a tuple of names, such as ("{names}",), not a text')
    if not isinstance(names, Iterable):
        raise CellError(f'{what} needs a tuple of names, such as ("x",), not {names!r}')
    return tuple(canonical(name) if isinstance(name, str) else name for name in names)


def _mapping(what: str, mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping) or not all(isinstance(name, str) for name in mapping):
        raise CellError(f'{what} needs a mapping from names, such as {{"W": …}}, not {mapping!r}')
    return canonical_keys(what, mapping)
