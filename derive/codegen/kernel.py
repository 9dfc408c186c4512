"""What every kernel is, whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass

from .source import Block, Source


@dataclass(frozen=True)
class Kernel:
    """A kernel, and the arguments that its call must pass, in order: its name in the kernel, and the caller's expression."""

    name: str
    code: Block
    arguments: tuple[tuple[str, Source], ...]
