"""`derive bench`: time of generated kernels beside that of other ways to run the same cells."""

from __future__ import annotations

from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    """Measure on the CPU, or with `--cuda` on a device, where other options hold; return the exit status."""
    if "--cuda" in words:
        from ..bench.cuda import device_run

        return device_run.main([word for word in words if word != "--cuda"])
    from ..bench import run

    return run.main(words)
