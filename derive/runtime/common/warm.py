"""Compile kernels ahead of their first call, as while an image is built, and keep their machine code where any process finds it.

    python -m PACKAGE.warm lstm gru --dtypes float32
    python -m PACKAGE.warm lstm --cpu x86-64-v3
    python -m PACKAGE.warm lstm --second x --second x,params,state

Everything that `forward`, `backward`, `infer` and `step` need is called on small arrays, in a process of its own, and with `--second`
what the functions of second order need where those fields of a `Grads` are given and others are None. Machine code is for one kind of
processor: this one, or that of `--cpu`. A process that is to use the code for another than its own has to be told, by the
variables that are printed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

CPU, FEATURES = "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"
DTYPES = ("float32", "float64")
SIZE = 64  # of everything: products of this size have all of their branches
LOOK_UP = "from numba.core.registry import cpu_target; cpu_target.target_context.codegen()"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile what is asked for; return the exit status: 0 done, 1 it cannot be done here, 2 wrong usage."""
    known = cells()
    options = _parser(known).parse_args(arguments)
    if unknown := [name for name in options.cells if name not in known]:
        print(f"warm: there is no cell `{unknown[0]}` in this package; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    wanted = {CPU: options.cpu, FEATURES: os.environ.get(FEATURES, "")} if options.cpu else {}
    if wanted and not _is_known(wanted):
        print(f"warm: LLVM knows no processor `{options.cpu}`: needs a name such as x86-64-v3, skylake or neoverse-n1", file=sys.stderr)
        return 2
    return _in_a_process(options.cells or known, options.dtypes, [fields.split(",") for fields in options.second], wanted)


def _parser(known: Sequence[str]) -> argparse.ArgumentParser:
    program = f"python -m {__package__}.warm"
    parser = argparse.ArgumentParser(prog=program, description="Compile kernels ahead of their first call, and keep the machine code.")
    parser.add_argument("cells", metavar="CELL", nargs="*", help=f"(default: all: {', '.join(known)})")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES, help="(default: both)")
    told = "also second order, where these fields of a Grads are given, such as x or x,params,state; once for each choice of fields"
    parser.add_argument("--second", metavar="FIELDS", action="append", default=[], help=told)
    parser.add_argument("--cpu", metavar="NAME", help="LLVM's name of the processor to compile for, such as x86-64-v3 (default: this one)")
    return parser


def cells() -> list[str]:
    """Return the names of the package's cells."""
    package = importlib.import_module(str(__package__))
    others = {"runtime", "training", "warm", "cuda", "torch", "jax", "flax", "equinox"}
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in others)


def _is_known(variables: dict[str, str]) -> bool:
    """Say whether LLVM knows the processor, which it tells nobody but standard error."""
    done = subprocess.run([sys.executable, "-c", LOOK_UP], env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    return "not a recognized processor" not in done.stderr


def _in_a_process(names: Sequence[str], dtypes: Sequence[str], second: Sequence[Sequence[str]], variables: dict[str, str]) -> int:
    """Compile in a new process, which sees the variables before it imports Numba."""
    code = f"import sys; from {__package__}.warm import compile_all; sys.exit(compile_all({list(names)!r}, {list(dtypes)!r}, {second!r}))"
    path = os.pathsep.join(path or os.curdir for path in sys.path)
    status = subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables, "PYTHONPATH": path}, check=False).returncode
    if status < 0:
        print(f"warm: the process ended with signal {-status}: can this machine run code for that processor?", file=sys.stderr)
        return 1
    if status == 0 and variables:
        print("to use it, a process needs:", *(f"{name}={value}" for name, value in variables.items()))
    return status


def compile_all(names: Sequence[str], dtypes: Sequence[str], second: Sequence[Sequence[str]] = ()) -> int:
    """Compile in this process, for the processor that Numba compiles for here."""
    cache = importlib.import_module(f"{__package__}.runtime.common.cache")
    crew = importlib.import_module(f"{__package__}.runtime.cpu.crew")
    warnings.simplefilter("error", cache.NotKeptWarning)
    try:
        crew.serve(crew.TRIAL, 1)
        for name in names:
            for dtype in dtypes:
                begin = time.perf_counter()
                module = importlib.import_module(f"{__package__}.{name}")
                if said := next(filter(None, (unfit(module, fields) for fields in second)), ""):
                    print(f"warm: {said}", file=sys.stderr)
                    return 1
                call_all(module, dtype)
                for fields in second:
                    call_second(module, dtype, fields)
                print(f"{name} {dtype}: {time.perf_counter() - begin:.1f} s", flush=True)
    except cache.NotKeptWarning as warning:
        print(f"warm: {warning}", file=sys.stderr)
        return 1
    return 0


def call_all(module: Any, dtype: str) -> None:
    """Call all that a cell's module has, on small arrays, in each of the ways that use kernels of their own."""
    rows = importlib.import_module(f"{__package__}.runtime.cpu.tile").ROWS
    threads = importlib.import_module(f"{__package__}.runtime.cpu.threads").get_threads()
    often = importlib.import_module(f"{__package__}.runtime.cpu.quick").OFTEN
    sizes = dict.fromkeys(module.LAYER.sizes, SIZE)
    params = module.LAYER.init(sizes, 0, dtype)
    for batch in (2, rows * threads):  # products of the inputs before all steps, and at each
        x, others, state = _arguments(module.LAYER, sizes, batch, dtype)
        steps = {} if module.LAYER.inputs else {"steps": 2}
        for options in ({}, {"tape": "recompute"}, {"lengths": [2] + [1] * (batch - 1), "reverse": True}):
            y, final, tape = module.forward(x, params, state, **others, **steps, **options)
            module.backward(y, tape, final)
        for weights in (params, module.pack(params)):
            module.infer(x, weights, state, **others, **steps)
            now = {name: value[0] if name in module.LAYER.inputs else value for name, value in others.items()}
            # A packed step goes the ordinary way once, then so many are done as recorded: at the last of these its entry is compiled.
            for _ in range(1 if weights is params else 1 + often):
                module.step(None if x is None else x[0], weights, state, **now)


def unfit(module: Any, fields: Sequence[str]) -> str:
    """Return why a module's second order cannot be called where only some fields of a `Grads` are given; empty if it can."""
    layer, known = module.LAYER, module.Grads._fields
    if not layer.links:
        return str(layer.no_second_order("backward with second=True"))
    unknown = sorted(set(fields) - set(known))
    return f"{layer.name} has no field `{unknown[0]}` in its Grads; there are: {', '.join(known)}" if unknown else ""


def call_second(module: Any, dtype: str, fields: Sequence[str]) -> None:
    """Call the functions of second order where only some fields of a `Grads` are given."""
    layer, rows = module.LAYER, importlib.import_module(f"{__package__}.runtime.cpu.tile").ROWS
    x, others, state = _arguments(layer, dict.fromkeys(layer.sizes, SIZE), rows, dtype)
    params = layer.init(dict.fromkeys(layer.sizes, SIZE), 0, dtype)
    y, final, tape = module.forward(x, params, state, **others, **({} if layer.inputs else {"steps": 2}))
    grads, tape2 = module.backward(y, tape, final, second=True)
    given = grads._replace(**dict.fromkeys(set(grads._fields) - set(fields)))
    module.backward_backward(given, tape2)
    module.tangent(given, tape)
    for curvature in (None, lambda tangent: tangent):
        module.hvp(given, tape, y, final, curvature=curvature)


def _arguments(layer: Any, sizes: dict[str, int], batch: int, dtype: str) -> tuple[Any, dict[str, Any], Any]:
    """Return the first input, if there is one, the others with contexts, and states of a call of two steps."""
    spec = layer.spec(2, batch, sizes)
    kinds = {name: dtype if name not in layer.indices else "int64" for name in (*layer.inputs, *layer.context)}
    given = {name: layer.full(shape, 0, kinds[name]) for name, shape in (spec["inputs"] | spec["context"]).items()}
    x = given.pop(next(iter(layer.inputs))) if layer.inputs else None
    return x, given, layer.zero_state(batch, sizes, dtype)


if __name__ == "__main__":
    sys.exit(main())
