"""The first hour on a device: ``python tests/gpu/first_run.py [OUT.json [STEP ...]]`` tries what no test without one can.

Each step is a process of its own: one that fails, hangs or leaves the device unusable is recorded, and the rest goes on.  What is timed
runs alone, at the end; everything else side by side, since kernels take longer to compile than to run.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [folder for folder in (str(Path(__file__).parents[2]), str(Path(__file__).parent)) if folder not in sys.path]

HANGS = 200.0  # seconds after which a step is over
WRONG = "wrong"
MARK = "\n--- found ---\n"  # before what a step found, at the end of what it prints
COMMAND = [sys.executable, __file__, "--step"]
PACKAGES = (
    "numpy",
    "ml_dtypes",
    "llvmlite",
    "numba",
    "numba-cuda",
    "cuda-core",
    "cuda-bindings",
    "cupy-cuda13x",
    "torch",
    "triton",
    "pytest",
)
KINDS = ("float64", "float32", "tf32", "bfloat16", "float16")
# Cells, kinds and sizes (n, B) whose plans are timed.
TIMED = (("lstm", "bfloat16", 768, 16), ("gru", "bfloat16", 768, 16), ("lstm", "tf32", 768, 16), ("lstm", "bfloat16", 128, 256))
PLANS, STEPS_TIMED = 6, 256
ALONE = ("barrier", "launch", "plans")  # what the names of steps that are timed begin with
WORKERS = 8


# Steps: each returns what it found, and under WRONG what is not as it must be


def packages() -> dict[str, Any]:
    """Versions; needs no device."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def device() -> dict[str, Any]:
    """The device, as runtime and planner see it."""
    found, number = _current(), _current().xp.cuda.Device().id
    runtime = found.xp.cuda.runtime
    properties = {name: _text(value) for name, value in runtime.getDeviceProperties(number).items()}
    versions = {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}
    return {"limits": vars(found.limits), "cooperative launch": properties.get("cooperativeLaunch"), **versions, "properties": properties}


def arrays() -> dict[str, Any]:
    """What the host functions of generated modules do with CuPy's arrays, by dtype and operation: done, or how it failed."""
    found = dict[str, Any]()
    for name in ("float64", "float32", "float16", "bfloat16"):
        for operation, (make, want) in _operations(_current().xp, _current().dtype(name)).items():
            found[f"{name}: {operation}"] = _outcome(make, want)
    return found | {WRONG: [operation for operation, outcome in found.items() if outcome != "done"]}


def _operations(xp: Any, dtype: np.dtype) -> dict[str, tuple[Callable[[], Any], Any]]:
    """Return operations with what they are to give."""
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    a = xp.asarray(host.astype(dtype))
    wide = xp.float64 if dtype == np.float64 else xp.float32
    bits = {2: xp.uint16, 4: xp.uint32, 8: xp.uint64}[dtype.itemsize]

    def written() -> Any:
        rows = xp.empty((8, 6), dtype)
        rows[:4], rows[4:][...] = a, 0
        return rows[:4]

    return {
        "from the host and back": (lambda: a, host),
        "full, zeros_like": (lambda: xp.full((4, 6), 0.5, dtype) + xp.zeros_like(a), np.full((4, 6), 0.5)),
        "rows written": (written, host),
        "narrowed, widened": (lambda: a.astype(wide).astype(dtype), host),
        "concatenate": (lambda: xp.concatenate((a, a)), np.concatenate((host, host))),
        "tile": (lambda: xp.tile(a, (3, 1)), np.tile(host, (3, 1))),
        "spread": (lambda: xp.ascontiguousarray(xp.broadcast_to(a[0], (5, 6))), np.tile(host[0], (5, 1))),
        "transposed": (lambda: xp.ascontiguousarray(a.T), host.T),
        "sum of rows": (lambda: a.sum(axis=0, dtype=wide), host.sum(axis=0)),
        "as bits": (lambda: a.view(bits).view(dtype), host),
        "as words": (lambda: a.reshape(-1).view(xp.uint32).view(dtype).reshape(4, 6), host),
        "to PyTorch and back": (lambda: xp.from_dlpack(import_module("torch").from_dlpack(a)), host),
        "to Numba and back": (lambda: xp.asarray(import_module("numba.cuda").as_cuda_array(a.view(bits))).view(dtype), host),
    }


def _outcome(make: Callable[[], Any], want: Any) -> str:
    try:
        got = make().get().astype(np.float64)
        return "done" if got.shape == want.shape and (got == want).all() else f"wrong: {got.ravel()[:4]}, not {np.ravel(want)[:4]}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def instructions() -> dict[str, Any]:
    """Tensor cores and conversions beside what the simulator takes them for."""
    from instructions import BOUNDS, PRODUCTS, conversion, converted, expected, fragments, numbers, product, run, worst

    xp, found = _current().xp, dict[str, Any]()
    for kind in PRODUCTS:
        words, sums = fragments(kind)
        got = run(product(kind), xp, 1, 32, words, sums)[1]
        found[f"mma {kind}"] = float(np.abs(got - expected(kind, words, sums)).max())
    x = numbers()
    want = converted(x)
    _, words, values = run(conversion(), xp, -(-x.size // 128), 128, x, np.zeros_like(want[0]), np.zeros_like(want[1]))
    found |= worst((words, values), want)
    return found | {WRONG: [name for name, error in found.items() if not error <= BOUNDS.get(name, 0.0)]}


def measured(name: str) -> dict[str, Any]:
    """One of the functions of `latencies`."""
    found: dict[str, Any] = getattr(import_module("latencies"), name)()
    return found


def lstm(kind: str) -> dict[str, Any]:
    """The LSTM beside the CPU: small and odd, then alone and spread; errors relative to the norm of each result."""
    import witness

    found, wrong = dict[str, Any](), list[str]()
    for name, choose in {"step by step": witness.stepwise, "alone": witness.alone, "spread": witness.spread}.items():
        case = witness.Case("lstm", kind) if choose is witness.stepwise else witness.Case("lstm", kind, 64, steps=6, batch=17)
        begin = time.perf_counter()
        with witness.planned(choose) as said:
            errors = witness.compared(case)
        found[name] = {"plans": [witness.label(plan) for plan in said], "seconds": time.perf_counter() - begin, "errors": errors}
        wrong += [f"{name}: {line}" for line in witness.beyond(case, errors)]
    return found | {WRONG: wrong}


def plans(cell: str, kind: str, n: int, batch: int) -> dict[str, Any]:
    """Microseconds a step of the kernels that stay, by plan, beside the planner's estimate."""
    import latencies
    import witness

    case = witness.Case(cell, kind, n, steps=STEPS_TIMED, batch=batch)
    module, given, found = import_module(f"generated.cuda.{cell}"), witness.stored(case, _current().xp.asarray), dict[str, Any]()
    for name in witness.labels(case, _current().limits, PLANS):
        try:
            with witness.planned(witness.called(name)):
                found[name] = latencies.resident(module, partial(witness.found, case, given))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found | {WRONG: [name for name, value in found.items() if isinstance(value, str)]}


STEPS: dict[str, Callable[[], Mapping[str, Any]]] = {
    "packages": packages,
    "device": device,
    "arrays": arrays,
    "instructions": instructions,
    **{name: partial(measured, name) for name in ("shared", "together", "barrier", "barrier_of_the_grid", "launch", "products")},
    **{f"lstm {kind}": partial(lstm, kind) for kind in KINDS},
    **{f"plans {' '.join(map(str, case))}": partial(plans, *case) for case in TIMED},
}


def _current() -> Any:
    return import_module("generated.runtime.cuda.current").current()


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


# Running them


def step(name: str) -> dict[str, Any]:
    """Run a step in this process."""
    try:
        found = json.loads(json.dumps(STEPS[name](), default=_plain))
        return {"ok": not found.get(WRONG), "found": found}
    except Exception:
        return {"ok": False, "traceback": traceback.format_exc()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def separately(name: str) -> dict[str, Any]:
    """Run a step in a process of its own."""
    begin = time.perf_counter()
    return {"name": name, **_ended(name), "seconds": time.perf_counter() - begin}


def _ended(name: str) -> dict[str, Any]:
    try:
        ended = subprocess.run([*COMMAND, name], capture_output=True, text=True, timeout=HANGS, check=False)
    except subprocess.TimeoutExpired as error:
        said = [text.decode() if isinstance(text, bytes) else text or "" for text in (error.stdout, error.stderr)]
        return {"ok": False, "traceback": "\n".join([repr(error), *said])}
    _, mark, found = ended.stdout.rpartition(MARK)
    if not mark:
        return {"ok": False, "traceback": f"the process ended with {ended.returncode}\n{ended.stdout}{ended.stderr}"}
    return json.loads(found) | ({"warnings": ended.stderr} if ended.stderr else {})


def results(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what each step found."""
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(separately, [name for name in names if not name.startswith(ALONE)])
    yield from (separately(name) for name in names if name.startswith(ALONE))


def main(arguments: Sequence[str]) -> int:
    """Run steps, print and record each; return how many failed."""
    if arguments[:1] == ["--step"]:
        print(MARK + json.dumps(step(arguments[1])), flush=True)
        return 0
    record: dict[str, Any] = {}
    for found in results(arguments[1:] or list(STEPS)):
        record[found.pop("name")] = found
        print(f"== {[*record][-1]}: {'ok' if found['ok'] else 'FAILED'}, {found['seconds']:.0f} s")
        print("\n".join(_lines(found.get("found", found.get("traceback")))), flush=True)
        if arguments:
            Path(arguments[0]).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return sum(not found["ok"] for found in record.values())


def _lines(found: Any) -> list[str]:
    """Return nested findings, a line each."""
    if not isinstance(found, dict):
        return [f"  {line}" for line in str(found).splitlines()]
    lines = []
    for name, value in found.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines += [f"  {name}:", *(f"  {line}" for line in _lines(value))] if isinstance(value, dict) else [f"  {name}: {shown}"]
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
