"""What makes a `Packed` whole: it is read as `pack` made it, or refused, and a copy of it is packed anew.

Kernels trust what was packed: its sizes, and that it begins at a cache line. A copy in memory may begin anywhere, one from another machine
may be laid out for another processor, and a part that is put in by hand may be anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import is_
from typing import Any, NamedTuple, TypeVar

P = TypeVar("P", bound=tuple[Any, ...])


class Seal(NamedTuple):
    """The last field of a `Packed`.

    Attributes
    ----------
    module : str
        The generated module that packed it.
    parts : tuple
        Its other fields, as `pack` made them.
    """

    module: str
    parts: tuple[Any, ...]

    def again(self, params: Any) -> tuple[Callable[[Any], Any], tuple[Any]]:
        """Return how a copy of a `Packed` is made, as pickles have it: the module's `pack`, and its argument."""
        return sys.modules[self.module].pack, (params,)


def sealed(kind: Callable[..., P], make: Callable[..., Any], *parts: Any) -> P:
    """Return a `Packed` of a device, of such parts, which `make`, a function of the generated module, has made."""
    return kind(*parts, Seal(make.__module__, parts))


def check_packed(packed: Any, name: str, kind: type) -> None:
    """Refuse a `Packed` for parameters of another `kind`, or with a part that `pack` did not make."""
    if not isinstance(packed.seal, Seal) or not all(map(is_, packed, packed.seal.parts)):
        raise ValueError(f"{name}: params.{_altered(packed)} is not what pack made: a Packed cannot be altered, pack the new parameters")
    if not isinstance(packed.params, kind):
        raise ValueError(f"{name}: params are packed for another module")


def _altered(packed: Any) -> str:
    made = getattr(packed.seal, "parts", ())
    return next((field for field, got, want in zip(packed._fields, packed, made, strict=False) if got is not want), "seal")
