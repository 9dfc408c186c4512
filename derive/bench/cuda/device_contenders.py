"""The contenders on a device: all of them get the same tensors of PyTorch, and agree on the results before they are timed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ...language.definition import Definition
from ...runtime.cuda.kind import KINDS
from ...verify.problem import Problem, initial
from ...verify.tolerances import FLOAT32, SMALL, root_mean_square
from ...verify.witnesses import arguments, gradients
from ..compare import failure
from ..contender import Contender, sizes_of
from ..peers import PEERS
from ..pytorch import numbers
from .cases import Case

PLACE = "cuda"  # where PyTorch puts tensors


def on_device(case: Case, module: ModuleType, cell: Definition) -> Problem:
    """Return the numbers that all contenders get, as tensors in the dtype that the kind stores."""
    torch = importlib.import_module("torch")
    batch, steps, d, n = case.size
    on_host = importlib.import_module(module.__name__.replace(".cuda.", "."))  # the same cell's module for the CPU draws them
    exact = "float64" if case.kind == "float64" else "float32"
    p = initial(on_host, cell, sizes=sizes_of(cell, d, n), steps=steps, batch=batch, dtype=exact)
    dtype = getattr(torch, KINDS[case.kind].stored)

    def tensor(value: Any) -> Any:
        return torch.tensor(value, device=PLACE, dtype=dtype if value.dtype.kind == "f" else None)

    return p.mapped(tensor)


def ours(module: ModuleType, p: Problem, kind: str) -> Contender:
    """Return the calls of a generated module for devices."""
    given, keywords = arguments(module, p)
    keywords["tf32"] = kind == "tf32"
    return Contender(
        infer=lambda: module.infer(*given, **keywords)[0],
        train=lambda: module.backward(p.dy, module.forward(*given, **keywords)[2]),
        gradients=lambda found: {name: numbers(value) for name, value in gradients(p, found).items()},
    )


def peer(name: str, p: Problem) -> Contender | str:
    """Return a peer's calls, or why there are none."""
    try:
        return PEERS[name].absence(p.cell, 0) or PEERS[name].make(p)
    except Exception as error:
        return failure(error)


@contextmanager
def rounding(allowed: bool) -> Iterator[None]:
    """Let PyTorch's products of float32, those of its layers among them, round their operands to TF32, or not; then it is as before."""
    backends = importlib.import_module("torch").backends
    layers = backends.cudnn.flags(enabled=None, benchmark=None, deterministic=None, allow_tf32=allowed)  # an assignment may be refused
    with warnings.catch_warnings(action="ignore", category=UserWarning), layers:  # newer versions have other names, older ones these alone
        before, backends.cuda.matmul.allow_tf32 = backends.cuda.matmul.allow_tf32, allowed
        try:
            yield
        finally:
            backends.cuda.matmul.allow_tf32 = before


def disagreement(own: Contender, other: Contender) -> float:
    """Return the largest error of a peer's output and gradients beside ours, norm by norm.

    A gradient that is nearly zero is measured beside the others: sLSTM's ∇b_i is zero, and what both have of it is rounding.
    """
    got: Mapping[str, Any] = own.gradients(own.train())
    want: Mapping[str, Any] = other.gradients(other.train())
    least = SMALL[FLOAT32] * max(map(root_mean_square, want.values()), default=0.0)
    apart = [_distance(got[name], want[name], least) for name in want]
    return max([_distance(numbers(own.infer()), numbers(other.infer()), 0.0), *apart])


def _distance(a: Any, b: Any, least: float) -> float:
    apart, size = root_mean_square(np.subtract(a, b, dtype=np.float64)), max(root_mean_square(b), least)
    return apart / size if size else apart
