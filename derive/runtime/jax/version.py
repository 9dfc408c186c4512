"""Which JAX these primitives are for: the one place that says so."""

from __future__ import annotations

import hashlib
import re
import struct
import warnings
from pathlib import Path

import jax

from ..common.version import source

TRIED = ((0, 10), (0, 11))
"""Of JAX: from the first of these, and below the second. Others may do; who imports one is told."""
INTERFACE = (0, 3)
"""The version of XLA's interface for functions of others (`xla/ffi/api/c_api.h`) whose layouts `frame` has; later minor ones only add."""
HEADER = Path("xla", "ffi", "api", "c_api.h")
# Of this part of the runtime, as an emitted file says it in its second line: code of one version never meets what another has.
VERSION = hashlib.sha256(source(__name__, __file__).splitlines()[1]).hexdigest()[:8]


def tell() -> None:
    """Warn of a JAX that these primitives were not tried with."""
    if said := untried():
        warnings.warn(said, RuntimeWarning, stacklevel=2)


def untried() -> str:
    """Return what is said of a JAX that these primitives were not tried with; empty if they were."""
    return outside("JAX", jax.__version__, TRIED)


def outside(library: str, version: str, tried: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """Return what is said of a library whose version was not tried; empty if it was."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if tried[0] <= numbers < tried[1]:
        return ""
    first, last = (".".join(map(str, each)) for each in tried)
    return f"{library} {version} was not tried with this package, which was with {library} from {first} and below {last}"


def unlike() -> str:
    """Return why XLA cannot call our machine code here; empty if it can."""
    if struct.calcsize("P") != 8:
        return "its layouts are known for 64-bit machines alone"
    try:
        text = Path(jax.ffi.include_dir(), HEADER).read_text(encoding="utf-8")
    except (AttributeError, OSError):
        return "this jaxlib does not say what its interface for functions of others is"
    found = tuple(int(number) for number in re.findall(r"#define XLA_FFI_API_M[AI][JN]OR (\d+)", text))
    if len(found) != 2 or found[0] != INTERFACE[0] or found[1] < INTERFACE[1]:
        version = ".".join(map(str, found)) or "unknown"
        return f"its interface for functions of others has version {version}, and {'.'.join(map(str, INTERFACE))} is needed"
    return ""


if not hasattr(getattr(jax, "typeof", type)(0.0), "manual_axis_type"):
    raise ImportError(f"{untried() or f'JAX {jax.__version__}'}: this one lacks types of values, of which the primitives are made")
