"""What the measurements were made on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import llvmlite.binding

from ..runtime.cpu.processors import available

PACKAGES = ("numpy", "numba", "torch", "jax", "fla-core")
FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512dq", "neon", "sve", "sve2")


def describe() -> dict[str, Any]:
    """Return the processor, how many cores this process may use, its vector features, and versions."""
    found = llvmlite.binding.get_host_cpu_features()
    return {
        "processor": _processor(),
        "cores": available(),
        "features": [name for name in FEATURES if found.get(name)],
        "system": platform.system(),
        "versions": {"python": platform.python_version()} | {name: version for name in PACKAGES if (version := _version(name))},
    }


def busy() -> str:
    """Return what is to be said of other programs if they keep all cores busy; empty if they do not."""
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, available()
    return f"other programs were at work when it began, a load of {load:.1f} on {cores} cores: times are too long" if load > cores else ""


def _processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        names = [x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
