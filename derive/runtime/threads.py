"""Which threads run the kernels of this package, and how many: what its users set."""

from __future__ import annotations

from .cpu.threads import get_threads, pool, set_threads

__all__ = ["get_threads", "pool", "set_threads"]
