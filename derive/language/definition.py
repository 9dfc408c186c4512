"""What a cell is: its equations and what is declared of them, checked."""

from __future__ import annotations

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
        }
        for key in ("output", "title", "reference", "description"):
            if not isinstance(values[key], str):
                raise CellError(f"{key} needs a text, not {values[key]!r}")
        for key, value in values.items():
            object.__setattr__(self, key, value)
        wellformed.check_cell_name(self.name)
        declarations.check(self)

    # Identity

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        mappings = (self.declared_shapes, self.constants, self.init, self.latex)
        plain = (self.text, self.name, self.output, self.title, self.reference, self.description, self.inputs, self.context, self.fixed)
        return (*plain, *(tuple((k, content(v)) for k, v in sorted(m.items())) for m in mappings))

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
