"""Packages that are imported when they are needed."""

from __future__ import annotations

import importlib
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
