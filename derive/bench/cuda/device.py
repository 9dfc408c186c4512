"""What the measurements on a device were made on."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
from importlib import metadata
from typing import Any

from .. import machine

PACKAGES = ("ml_dtypes", "numba-cuda", "cupy-cuda13x", "cupy-cuda12x", "triton")


def require_torch() -> None:
    """Raise RuntimeError unless PyTorch can use the device: contenders get its tensors, and times are those of its events."""
    if importlib.util.find_spec("torch") is None:
        raise RuntimeError("times are measured by PyTorch's events, but PyTorch is not installed")
    if not importlib.import_module("torch").cuda.is_available():
        raise RuntimeError("times are measured by PyTorch's events, but PyTorch finds no device")


def describe() -> dict[str, Any]:
    """Return device and driver, the processor beside it, and versions."""
    torch, host = importlib.import_module("torch"), machine.describe()
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    libraries = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    versions = {**host["versions"], **{name: version for name in PACKAGES if (version := _version(name))}, **libraries}
    versions.pop("jax", None)
    return {
        "device": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory": found.total_memory,
        "driver": _driver(),
        **host,
        "versions": {name: str(version) for name, version in versions.items()},
    }


def _driver() -> str:
    """Return the driver's version, as far as its own tool tells."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
