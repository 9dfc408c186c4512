"""On which threads our kernels run while they are measured: on those that a program with the same peers would give them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from conftest import generated

from derive.bench.compare import Settings, compare
from derive.bench.measure import Limits
from derive.bench.peers import PEERS
from derive.bench.phases import HVP, INFERENCE, TANGENT, TRAINING
from derive.cells import REGISTRY


def pools(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *peers: str) -> set[str]:
    """Return the pools that the module's passes ask for when they are measured beside peers, none of which is run."""
    threads, asked = import_module(f"{module.__package__}.runtime.cpu.threads"), set[str]()

    def noting(function: Any) -> Any:
        def noted(*args: Any, **kwargs: Any) -> Any:
            asked.add(threads._pool.get())
            return function(*args, **kwargs)

        return noted

    with monkeypatch.context() as patched:
        for name in ("infer", "forward", "backward", "tangent", "hvp"):
            patched.setattr(module, name, noting(getattr(module, name)))
        for name in peers:
            patched.setattr(type(PEERS[name]), "absence", lambda *_: "not run")
        settings = Settings(peers=peers, phases=(INFERENCE, TRAINING, TANGENT, HVP), limits=Limits(runs=1, least=1))
        assert len(list(compare(REGISTRY["rnn"], module, (2, 3, 4, 5), settings))) == 4
    return asked


def test_beside_pytorch_alone_kernels_ask_for_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    module = generated("rnn")
    assert pools(module, monkeypatch, "jax", "eager") == pools(module, monkeypatch, "norse") == {"torch"}
    assert pools(module, monkeypatch, "jax") == pools(module, monkeypatch, "jax", "jax-kernels") == pools(module, monkeypatch) == {"crew"}
