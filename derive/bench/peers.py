"""The peers that kernels are measured against."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ..cells import REGISTRY
from ..language.definition import Definition
from ..language.unparse import unparse
from ..verify.problem import Problem
from . import jax_scan, pytorch
from .contender import Contender

LIMIT = 10**10  # operations of an inference call, beyond which the peers that only show the cost of a Python loop or a scan are left out

NOT_INSTALLED, NO_LAYER, OVER_LIMIT, FAILED = "not installed", "no such layer", "over the limit", "failed"


@dataclass(frozen=True)
class Peer:
    """One way to run the same cell.

    Attributes
    ----------
    name, package : str
    what : str
        For people.
    set_threads : callable
        From the number of threads to what is to be said about it.
    make : callable
    cells : collection of str, optional
        The cells that it has, by their names in the registry; all by default.
    limited : bool
        Whether it is left out at sizes beyond `LIMIT`.
    """

    name: str
    package: str
    what: str
    set_threads: Callable[[int], str]
    make: Callable[[Problem], Contender]
    cells: Collection[str] | None = None
    limited: bool = True

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def absence(self, cell: Definition, operations: int) -> str:
        """Return why there is no measurement of a cell whose inference takes so many operations; empty if there is to be one."""
        if not self.installed:
            return NOT_INSTALLED
        if self.cells is not None and not any(_same(cell, REGISTRY[name]) for name in self.cells):
            return NO_LAYER
        return OVER_LIMIT if self.limited and operations > LIMIT else ""


def _same(cell: Definition, other: Definition) -> bool:
    """Say whether two cells of one name have the same equations: a file may have another `gru`."""
    return cell.name == other.name and unparse(cell.equations) == unparse(other.equations)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("torch.nn", "torch", "PyTorch's own layer", pytorch.set_threads, pytorch.built_in, pytorch.LAYERS, limited=False),
        Peer("eager", "torch", "the cell written in PyTorch, in a loop over time", pytorch.set_threads, pytorch.eager),
        Peer("compile", "torch", "the same, its step compiled by torch.compile", pytorch.set_threads, pytorch.compiled),
        Peer("jax", "jax", "the cell under lax.scan, compiled by jit", jax_scan.set_threads, jax_scan.scan),
    )
}
