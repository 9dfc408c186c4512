"""Exported C, compiled and run: a program that reads raw numbers and writes raw numbers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from derive.codegen.c.names import spelled
from derive.language.names import previous
from derive.verify.problem import Problem

COMPILER = shutil.which("cc")
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Werror")
CHECKS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
C_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def compiled(folder: Path, files: Mapping[str, str], main: str, *options: str) -> Path:
    """Return a program that is compiled of files and a main function."""
    for name, text in {**files, "main.c": main}.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [str(folder / name) for name in (*files, "main.c") if name.endswith(".c")]
    done = subprocess.run([COMPILER, *WARNINGS, *options, *sources, "-lm", "-o", str(folder / "program")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "program"


def driver(p: Problem, files: Mapping[str, str]) -> str:
    """Return the main function of a program for a problem of one sequence.

    It writes the states before the first step; reads parameters (unless they are in the files), states, inputs and contexts; makes the
    first step by `step` and the others by `infer`; and writes outputs and states.
    """
    cell, prefix = p.cell, spelled(p.cell.name)
    header = files[f"{prefix}.h"]
    real = C_TYPES[p.dy.dtype]
    exported = f"{prefix}_weights" in header
    records = [record for record in ("params", "static", "state") if f"}} {prefix}_{record};" in header]
    given = {f"given_{k}": (name, name in cell.inputs) for k, name in enumerate((*cell.inputs, *cell.context))}
    widths = {variable: p.arrays[name][0, 0].size if each else p.arrays[name][0].size for variable, (name, each) in given.items()}
    kinds = {variable: "int" if name in cell.integers else real for variable, (name, _) in given.items()}
    width = p.dy[0, 0].size
    declared = [f"static {prefix}_{record} {record}_;" for record in records if not (record == "params" and exported)]
    declared += [f"static {kinds[v]} {v}[{widths[v] * (p.steps if each else 1)}];" for v, (_, each) in given.items()]
    read = [f"{record}_" for record in records if record != "static" and not (record == "params" and exported)] + [*given]
    leading = [f"&{prefix}_weights" if record == "params" and exported else f"&{record}_" for record in records]

    def call(function: str, first: int, *steps: str) -> str:
        rows = [f"{v} + {first * widths[v] if each else 0}" for v, (_, each) in given.items()]
        return f"{prefix}_{function}({', '.join([*leading, *steps, *rows, f'y + {first * width}'])});"

    work = [f"{prefix}_init_state(&state_);", "fwrite(&state_, sizeof state_, 1, stdout);"] if "state" in records else []
    work += [f"ok = ok && fread(&{variable}, sizeof {variable}, 1, stdin) == 1;" for variable in read]
    work += [f"{prefix}_prepare({', '.join(leading[: records.index('static') + 1])});"] if "static" in records else []
    work += [call("step", 0), call("infer", 1, str(p.steps - 1)), "fwrite(y, sizeof y, 1, stdout);"]
    work += ["fwrite(&state_, sizeof state_, 1, stdout);"] if "state" in records else []
    lines = [*declared, f"static {real} y[{width * p.steps}];", "int ok = 1;", *work, "return ok ? 0 : 3;"]
    head = [f'#include "{prefix}.h"', "#include <stdio.h>", "", "int main(void)", "{"]
    return "\n".join([*head, *(f"    {line}" for line in lines), "}", ""])


def run(program: Path, p: Problem, *, weights: bool = True) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """Return the states before the first step, outputs and final states of a problem of one sequence, `(T, 1, ·)` and `(1, ·)`."""
    kinds = {name: np.int32 if name in p.cell.integers else p.dy.dtype for name in p.arrays}
    order = [*(p.cell.parameters if weights else ()), *map(previous, p.cell.states), *p.cell.inputs, *p.cell.context]
    given = b"".join(np.ascontiguousarray(p.arrays[name], kinds[name]).tobytes() for name in order)
    done = subprocess.run([program], input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    numbers = np.frombuffer(done.stdout, p.dy.dtype)

    def states(part: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.cumsum([p.states[name].size for name in p.cell.states])
        return {name: np.asarray(v).reshape(p.states[name].shape) for name, v in zip(p.cell.states, np.split(part, ends), strict=False)}

    size = sum(state.size for state in p.states.values())
    first, y, last = np.split(numbers, [size, size + p.dy.size])
    return states(first), y.reshape(p.dy.shape), states(last)
