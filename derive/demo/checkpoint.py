"""How far a training has come, in a file: written whole or not at all, and read only where it belongs to the same training."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .data import Split
from .train import Settings

FORMAT = 1  # of the file: raise it with any change to what a state holds
State = dict[str, Any]
"""Tensors, numbers and texts in dicts and lists: what `torch.load` reads without running anything."""


class CheckpointError(ValueError):
    """A file that is not the checkpoint of this training; it says why."""


def made_with(settings: Settings, data: Split) -> State:
    """Return what makes two trainings the same, how many processes apart: all settings, and the data."""
    digest = hashlib.sha256()
    for part in data:
        for roll in part:
            digest.update(repr(roll.shape).encode() + np.packbits(roll).tobytes())
        digest.update(b"end of a part")
    return {**settings._asdict(), "data": digest.hexdigest()[:16], "format": FORMAT}


def write(path: Path, this: Mapping[str, Any], states: Mapping[str, State]) -> None:
    """Put the states of all cells so far in place of the file, when all of it lies on the disk.

    Whoever is stopped meanwhile leaves what was there, and perhaps a part beside it, over which the next one writes.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        torch.save({"made with": dict(this), "states": dict(states)}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def read(path: Path, this: Mapping[str, Any]) -> dict[str, State]:
    """Return the states of a file by cell; none, if there is no such file.

    Raises
    ------
    CheckpointError
        If it is not whole, or of another training: it names what differs.
    """
    if not path.exists():
        return {}
    found = _whole(path)
    differ = [name for name, value in this.items() if found["made with"].get(name) != value]
    if differ:
        theirs, ours = (", ".join(f"{name} {of.get(name)}" for name in differ) for of in (found["made with"], this))
        raise CheckpointError(f"{path} is of another training: it has {theirs}, this one {ours}; name another file, or remove it")
    states: dict[str, State] = found["states"]
    return states


def _whole(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # its parts have sums, which PyTorch does not look at
        found = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of zipfile, pickle, PyTorch: there is no list of what files that are not whole lead to
        raise CheckpointError(_refusal(path)) from error
    if not isinstance(found, dict) or found.keys() != {"made with", "states"}:
        raise CheckpointError(_refusal(path))
    return found


def _refusal(path: Path) -> str:
    return f"{path} is no checkpoint of this demo, or not a whole one; name another file, or remove it"
