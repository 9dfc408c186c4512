"""How many threads run the kernels of this package: what its users set."""

from __future__ import annotations

from .cpu.threads import get_threads, set_threads

__all__ = ["get_threads", "set_threads"]
