"""Pyodide, which is CPython for browsers: its files, fetched once by npm and kept in the user's cache."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ...language.errors import CellError, in_words
from ...package.memory import cache_folder

VERSION = "314.0.7"
INTEGRITY = "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
"""The SHA-512 of npm's archive of this version, in base64."""
FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
SECONDS = 300.0


def fetched() -> dict[str, bytes]:
    """Return Pyodide's files by name, from the cache or else by npm.

    Raises
    ------
    CellError
        If there is no npm, it fails, or what it brings is not the archive that is named here.
    """
    kept = cache_folder() / f"pyodide-{VERSION}.tgz"
    try:
        if not (kept.is_file() and _digest(kept) == INTEGRITY):
            _fetch(kept)
        with tarfile.open(kept) as archive:
            return {name: _member(archive, f"package/{name}") for name in FILES}
    except OSError as error:
        raise CellError(f"Pyodide cannot be kept: {in_words(error)}") from None


def _fetch(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CellError("Pyodide is fetched by npm, which is not installed")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:  # beside its place, which it is moved to as a whole
        command = [npm, "pack", f"pyodide@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise CellError(f"npm did not bring Pyodide within {SECONDS:g} seconds") from None
        archive = Path(folder) / kept.name
        if done.returncode or not archive.is_file():
            said = done.stderr.strip().splitlines() or ["it says nothing"]
            raise CellError(f"npm does not bring Pyodide {VERSION}: {said[-1]}")
        if (found := _digest(archive)) != INTEGRITY:
            raise CellError(f"npm brings another archive of Pyodide {VERSION}: its SHA-512 is {found}, not {INTEGRITY}")
        archive.replace(kept)


def _digest(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
