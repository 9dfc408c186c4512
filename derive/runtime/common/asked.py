"""Which gradients a caller of `backward` asks for: what else it would make is not made, where that saves a product."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any


class _All:
    """Every gradient that there is."""

    def __contains__(self, name: object) -> bool:
        return True


ALL = _All()


def asked(only: Any, known: Iterable[str], function: str) -> Container[str]:
    """Return the names of the gradients that are asked for, checked: some of those that are `known`.

    Raises
    ------
    ValueError
        If `only` is something else; it names the `function`.
    """
    names = list(known)
    if isinstance(only, str) or not isinstance(only, Iterable):
        raise ValueError(f"{function}: only must be a sequence of names, got {only!r}")
    found = list(only)
    if wrong := [name for name in found if name not in names]:
        raise ValueError(f"{function}: only has {wrong[0]!r}, but there are gradients with respect to {', '.join(names)}")
    return frozenset(found)


def of_values(table: Any, needed: Sequence[bool]) -> list[str] | None:
    """Return what a framework asks a module's `backward` for: None if it needs the gradients by all values, of which it has a list.

    Parameters
    ----------
    table : Table
    needed : sequence of bool
        Of each input, context, parameter and state, in this order; those after the parameters may be fewer.
    """
    if all(needed):
        return None
    given, count = (*table.inputs, *table.context), len(table.params)
    found = [name for name, wanted in zip(given, needed, strict=False) if wanted and name not in table.indices]
    rest = needed[len(given) :]
    return [*found, *(["params"] if any(rest[:count]) else []), *(["state"] if any(rest[count:]) else [])]
