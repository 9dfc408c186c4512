"""What ptxas makes of the emitted kernels; ``python tests/gpu/registers.py`` measures anew and writes the data that the tests hold."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path[:0] = [folder for folder in (str(Path(__file__).parents[2]), str(Path(__file__).parent)) if folder not in sys.path]

import numpy as np  # noqa: E402
from device import DTYPES, SimulatedDevice, using  # noqa: E402
from helpers.devices import MATRICES, VECTORS  # noqa: E402
from report import Report, device, report  # noqa: E402

from derive.cells import REGISTRY  # noqa: E402
from generated.runtime.cuda import current, planner  # noqa: E402
from generated.runtime.cuda.kind import KINDS, Kind  # noqa: E402
from generated.runtime.cuda.limits import H200  # noqa: E402
from generated.runtime.cuda.plan import Plan, Steps  # noqa: E402
from generated.runtime.cuda.tiling import Shape, Tiling  # noqa: E402

DATA = Path(__file__).with_name("registers.json")
# Kind of numbers, hidden size and batch: what an H200 runs with members, with one, and step by step.
VARIANTS: dict[str, tuple[str, int, int, bool]] = {
    "steps": ("bfloat16", 64, 8, False),
    "bfloat16, members": ("bfloat16", 512, 16, True),
    "bfloat16, alone": ("bfloat16", 64, 64, True),
    "float16, many rows": ("float16", 256, 512, True),
    "tf32, members": ("tf32", 512, 16, True),
    "float32, members": ("float32", 256, 16, True),
    "float64, members": ("float64", 128, 16, True),
}
CELLS = (
    "rnn",
    "lstm",
    "lstm_peephole",
    "lstmp",
    "slstm",
    "gru",
    "gru_v3",
    "mut1",
    "mut3",
    "rhn",
    "lstm_layernorm",
    "softmax_cross_entropy",
)
ORDINARY = ("steps", "bfloat16, members")
# Of cells with heads and matrices, whose loops one kernel runs if rows need nothing of each other: all sizes but the number of heads.
APART: dict[str, tuple[str, int, int, bool]] = {
    "bfloat16, apart": ("bfloat16", 128, 8, True),
    "float64, apart": ("float64", 64, 8, True),
}
OF_MATRICES = ("gated_deltanet", "ttt_linear", "rwkv7", "mamba")
LOOPS_APART = ("gated_deltanet", "ttt_linear")
HEADS = 8
# What an ordinary run assembles.
QUICK = (
    ("lstm", "tf32, members"),
    ("gru_v3", "bfloat16, members"),
    ("slstm", "steps"),
    ("rhn", "steps"),
    ("lstm_layernorm", "steps"),
    ("gated_deltanet", "bfloat16, apart"),
    ("mamba", "steps"),
)
THOROUGH = ("lstm", "gru_v3")  # in every variant in the data


def cases(every: bool = False) -> list[tuple[str, str]]:
    """Return what is measured: cells and variants; `every` cell in every variant, or those of the data."""
    vectors, matrices = (VECTORS, MATRICES) if every else (CELLS, OF_MATRICES)
    found = [(name, variant) for name in vectors for variant in (VARIANTS if every or name in THOROUGH else ORDINARY)]
    return found + [(name, variant) for name in matrices for variant in ("steps", *(APART if every or name in LOOPS_APART else ()))]


class CompilingDevice(SimulatedDevice):
    """A device that compiles what it is to launch, and launches nothing."""

    def __init__(self, resident: bool) -> None:
        super().__init__()
        self.resident = resident
        self.reports: dict[str, Report] = {}

    def plan(self, steps: Steps, sizes: Any, batch: int, kind: Kind) -> Plan | None:
        return planner.best(steps, sizes, batch, kind, H200) if self.resident else None

    def tiling(self, features: int, matrices: tuple[Shape, ...], kept: tuple[Shape, ...], kind: Kind) -> Tiling | None:
        return super().tiling(features, matrices, kept, kind) if self.resident else None

    def machine(self, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> Any:
        from generated.runtime.cuda.numba_machine import NumbaMachine

        return NumbaMachine(kind, threads, plan)

    def launch(self, kernel: Any, grid: tuple[int, int], threads: int, shared: int, given: tuple[Any, ...], *, together: bool) -> None:
        from numba import typeof

        if kernel.__name__ not in self.reports:
            signature = tuple(typeof(self._bits(value)) for value in given)
            self.reports[kernel.__name__] = report(kernel.py_func, signature, threads=threads)


def measured(name: str, variant: str, *, second: bool = False) -> dict[str, Report]:
    """Return what the kernels of one step forward and backward take, by name; with `second`, those of second order too."""
    kind, n, batch, resident = {**VARIANTS, **APART}[variant]
    module, dtype = importlib.import_module(f"generated.cuda.{name}"), DTYPES[KINDS[kind].stored]
    layer, made = module.LAYER, CompilingDevice(resident)
    cell = REGISTRY[name]
    spec = layer.spec(1, batch, {size: HEADS if size == cell.heads else n for size in cell.sizes})

    def zeros(group: str) -> dict[str, np.ndarray]:
        return {key: np.zeros(shape, np.int64 if key in layer.indices else dtype) for key, shape in spec[group].items()}

    given = zeros("inputs")
    first, named = (given.pop(next(iter(given))), given) if given else (None, {"steps": 1})
    named = {**named, **zeros("context"), **({"tf32": True} if kind == "tf32" else {})}
    with using(made, current), device(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # what was not launched has left no numbers
        _, _, tape = module.forward(first, module.Params(**zeros("params")), module.State(**zeros("state")), **named)
        dy = zeros("output")["y"]
        grads, tape2 = module.backward(dy, tape, second=True) if second else (module.backward(dy, tape), None)
        if second:
            for u in (grads, grads._replace(params=None)):
                module.backward_backward(u, tape2)
            module.tangent(grads, tape)
            module.hvp(grads, tape, dy)
    return made.reports


def main() -> None:
    """Measure the ordinary cases and write their registers."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, variant in cases():
        found.setdefault(name, {})[variant] = {kernel: made.registers for kernel, made in sorted(measured(name, variant).items())}
        print(name, variant, found[name][variant])
    DATA.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
