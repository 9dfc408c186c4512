"""axe-core, which looks for what keeps people from using a page: taken from npm once, and kept beside the compiled kernels."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT

VERSION = "4.11.4"
SHA512 = "KunSNx+TVpkAw/6ULfhnx+HWRecjqZGTOyquAoWHYLRSdK1tB5Ihce1ZW+UY3fj33bYAFWPu7W/GRSmmrCGuxA=="  # of the package, as npm's index has it
KEPT = ROOT / ".pytest_cache" / f"axe-core-{VERSION}.tgz"


def script() -> str:
    """Return the script; skip the test where npm is not there, or gets nothing."""
    if not KEPT.is_file():
        _take()
    found = base64.b64encode(hashlib.sha512(KEPT.read_bytes()).digest()).decode()
    assert found == SHA512, f"{KEPT} is not axe-core {VERSION}"
    with tarfile.open(KEPT) as package:
        member = package.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def _take() -> None:
    if shutil.which("npm") is None:
        pytest.skip("axe-core comes from npm, which is not there")
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"axe-core@{VERSION}", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"npm got no axe-core: {done.stderr.strip()}")
        KEPT.parent.mkdir(exist_ok=True)
        whole = KEPT.with_suffix(f".{os.getpid()}")  # written beside, then put in its place at once
        shutil.copy(Path(folder) / KEPT.name, whole)
        whole.replace(KEPT)
