"""What this package is made from, and what all packages with the same version of the runtime have in common in a process."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def source(name: str, file: str) -> bytes:
    """Return what is in the file of a module, which may lie in an archive; OSError if it cannot be read."""
    loader: Any = getattr(sys.modules.get(name), "__loader__", None)
    return loader.get_data(file) if hasattr(loader, "get_data") else Path(file).read_bytes()


def made_from() -> bytes:
    """Return what an emitted file says in its second line that it was made from; where none was emitted, all of the runtime's text."""
    mark = source(__name__, __file__).splitlines()[1]
    return mark or b"".join(file.read_bytes() for file in sorted(Path(__file__).parents[1].rglob("*.py")))


# Code of one version never meets what another has.
VERSION = hashlib.sha256(made_from()).hexdigest()[:8]
common: Any = sys.modules.setdefault(f"derive_common_{VERSION}", ModuleType(f"derive_common_{VERSION}"))
