"""Programs that another process has exported."""

from __future__ import annotations

import re
from typing import Any

from jax import export

from . import calls
from .lowering import TARGET, plan, refused


def read_exported(data: bytes | bytearray) -> Any:
    """Return a program that was exported and serialized, ready to be called where nothing like it was traced.

    What it calls, and its derivatives that were serialized with it, is compiled, or read from the cache.

    Parameters
    ----------
    data : bytes
        From `jax.export.Exported.serialize`. If it takes or gives parameters or states, their cell's function must have been imported.

    Returns
    -------
    exported : jax.export.Exported

    Raises
    ------
    ValueError
        If it was exported by another version of this package, calls kernels of a package that is not loaded, or cannot be run by this JAX.
    """
    exported = export.deserialize(bytearray(data))
    _make_ready(exported)
    return exported


def _make_ready(exported: Any) -> None:
    program = exported.mlir_module()
    if others := {*re.findall(r"@(derive_\w+)\(", program)} - {TARGET}:
        raise ValueError(f"the program calls `{min(others)}`, and this version of the package is `{TARGET}`: export it anew")
    if why := refused():
        raise ValueError(f"the program calls kernels without Python, and here that cannot be done: {why}")
    for call in calls.found(program):
        plan(*call)
    if exported.has_vjp():
        _make_ready(exported.vjp())
