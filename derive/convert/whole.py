"""Files written whole or not at all, and packages that are imported when they are needed."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXTRAS = {"torch": "torch", "h5py": "derive-rnn[keras]", **{name: f"derive-rnn[{name}]" for name in ("safetensors", "keras", "onnx")}}


def need(name: str, module: str = "") -> Any:
    """Return a package or one of its modules; ImportError that says what to install, if it is missing."""
    try:
        return importlib.import_module(module or name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(f"this needs {name}: pip install '{EXTRAS[name]}'", name=name) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path of the same suffix beside `path` to write to; put what was written in its place at the end, unless there was an error."""
    with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
