"""The peers that kernels are measured against."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from ..cells import REGISTRY
from ..language.definition import Definition
from ..language.unparse import unparse
from ..verify.problem import Arrays, Problem
from . import (
    jax_kernels,
    jax_scan,
    jax_second,
    pytorch,
    pytorch_compiled,
    pytorch_delta,
    pytorch_layers,
    pytorch_network,
    pytorch_second,
    pytorch_spiking,
)
from .contender import Calls, Contender, Trainer
from .network import Network
from .second import SecondOrder

LIMIT = 10**10  # operations of an inference call, beyond which the peers that only show the cost of a Python loop or a scan are left out

NOT_INSTALLED, NO_LAYER, OVER_LIMIT, FAILED = "not installed", "no such layer", "over the limit", "failed"
TOO_LONG, NOT_IN_PHASE = "too long to compile", "not measured in this phase"

Second = Callable[[Problem, Arrays], SecondOrder]
Layers = Mapping[str, Callable[[Problem], Calls]]


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
        Returns what is measured of the cell alone.
    train : callable
        Returns what is measured of a network around it.
    second : callable, optional
        Returns what is measured of second order, along a direction; a peer may have none.
    layers : mapping
        Returns what is measured beside our layers, by phase; a peer need not have them all.
    cells : collection of str, optional
        The cells that it has, by their names in the registry; all by default.
    limited : bool
        Whether it is left out at sizes beyond `LIMIT`.
    usual : bool
        Whether it is measured unless others are asked for.
    """

    name: str
    package: str
    what: str
    set_threads: Callable[[int], str]
    make: Callable[[Problem], Contender]
    train: Callable[[Network], Trainer]
    second: Second | None = None
    layers: Layers = field(default_factory=dict)
    cells: Collection[str] | None = None
    limited: bool = True
    usual: bool = True

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    @property
    def on_torch(self) -> bool:
        """Whether it runs on PyTorch's threads."""
        return self.package != "jax"

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


def _pytorch(
    name: str,
    what: str,
    layer: Callable[[Problem], pytorch.Layer],
    second: Second | None = None,
    *,
    layers: Layers | None = None,
    cells: Collection[str] | None = None,
    limited: bool = True,
) -> Peer:
    """Return a peer that is a layer of PyTorch."""
    return Peer(
        name,
        "torch",
        what,
        pytorch.set_threads,
        lambda p: pytorch.contender(p, layer(p)),
        lambda network: pytorch_network.trainer(network, layer(network.p)),
        second,
        layers or {},
        cells,
        limited,
    )


def _of_package(package: str, name: str, what: str, layer: Callable[[Problem], pytorch.Layer], *cells: str) -> Peer:
    """Return a peer that is a layer of another package on PyTorch for some cells, measured where it is asked for."""
    return replace(_pytorch(name, what, layer, cells=cells, limited=False), package=package, usual=False)


JAX = Peer(
    "jax",
    "jax",
    f"the cell under lax.scan, compiled by jit, with the best unroll of {', '.join(map(str, jax_scan.UNROLLS))}",
    jax_scan.set_threads,
    jax_scan.scan,
    jax_scan.trainer,
    jax_second.scan,
)
PEERS = {
    peer.name: peer
    for peer in (
        _pytorch(
            "torch.nn",
            "PyTorch's own layer",
            pytorch.built_in,
            pytorch_second.built_in,
            layers=pytorch_layers.BUILT_IN,
            cells=pytorch.LAYERS,
            limited=False,
        ),
        _pytorch(
            "nn-compile",
            "the same under torch.compile, max-autotune, weights frozen in inference; unrolled but for the LSTM's inference",
            pytorch_compiled.frozen,
            cells=pytorch.LAYERS,
            limited=False,
        ),
        _pytorch(
            "eager",
            "the cell written in PyTorch, in a loop over time",
            pytorch.looped,
            pytorch_second.looped,
            layers=pytorch_layers.written(pytorch.looped),
        ),
        _pytorch(
            "compile",
            "the same, its step compiled by torch.compile",
            pytorch_compiled.step,
            pytorch_second.compiled,
            layers=pytorch_layers.written(pytorch_compiled.step),
        ),
        _pytorch("scan", "the cell under PyTorch's scan, a prototype, all compiled by torch.compile", pytorch_compiled.scan),
        JAX,
        replace(
            JAX,
            name="jax-kernels",
            what="our kernels as functions of generated.jax, in a program that jit compiles",
            make=jax_kernels.kernels,
            train=jax_kernels.trainer,
            second=None,
            limited=False,
            usual=False,
        ),
        _of_package("norse", "norse", "Norse's LSNNRecurrent, its own loop over time", pytorch_spiking.norse, "lsnn"),
        _of_package("snntorch", "snntorch", "a Linear and snnTorch's Leaky, in a loop over time", pytorch_spiking.snntorch, "lif"),
        _of_package(
            "fla",
            "fla",
            "a layer around flash-linear-attention's reference in PyTorch, step by step",
            lambda p: pytorch_delta.deltanet(p, pytorch_delta.stepped),
            "deltanet",
            "gated_deltanet",
        ),
        _of_package(
            "fla",
            "fla-chunk",
            "the same around its reference in chunks of 64 steps",
            lambda p: pytorch_delta.deltanet(p, pytorch_delta.chunked),
            "gated_deltanet",
        ),
    )
}
USUAL = tuple(name for name, peer in PEERS.items() if peer.usual)
