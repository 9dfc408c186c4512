"""Exported C: how large its code is, how much memory it has, and how long a step takes.

``python -m derive.bench.export_c docs/data/export-c.json --measure`` writes the numbers, and without `--measure` prints the tables of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ..cells import get
from ..codegen.c.module import TYPES, CModule
from ..package import c
from .machine import describe

CELLS = ("rnn", "fastgrnn", "mgu", "gru", "lstm", "indrnn", "lmu", "slstm", "lsnn", "mamba", "gated_deltanet")
SMALL = ("-std=c99", "-Os")
FAST = ("-std=c99", "-O3", "-march=native")
TIMED = (8, 16, 32, 64)
ROUNDS, STEPS = 400, 500

TIMER = """
#define _POSIX_C_SOURCE 199309L
#include "lstm.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static lstm_params params;
static lstm_state state;
static lstm_real x[STEPS * LSTM_D], y[STEPS * LSTM_N];

static lstm_real drawn(void)
{
    return ((lstm_real)rand() / (lstm_real)RAND_MAX - (lstm_real)0.5) / 4;
}

int main(void)
{
    lstm_real *weights = (lstm_real *)&params;
    for (size_t k = 0; k < sizeof params / sizeof *weights; ++k) weights[k] = drawn();
    for (size_t k = 0; k < sizeof x / sizeof *x; ++k) x[k] = 4 * drawn();
    lstm_init_state(&state);
    double best = 1e9;
    for (int round = 0; round < ROUNDS; ++round) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        lstm_infer(&params, &state, STEPS, x, y);
        clock_gettime(CLOCK_MONOTONIC, &to);
        double took = 1e6 * (double)(to.tv_sec - from.tv_sec) + 1e-3 * (double)(to.tv_nsec - from.tv_nsec);
        best = took < best ? took : best;
    }
    printf("%.4f\\n", best / STEPS);
    return y[STEPS * LSTM_N - 1] > 1;
}
"""


def measure() -> dict[str, Any]:
    """Return the size of each cell's code and memory, and the time of an LSTM's step, with the machine and the compiler."""
    compiler = _said("cc", "--version").splitlines()[0]
    return {
        "machine": describe(),
        "compiler": compiler,
        "cells": {n: size(n) for n in CELLS},
        "lstm": {str(n): step_time(n) for n in TIMED},
    }


def size(name: str) -> dict[str, Any]:
    """Return the bytes of a cell's code, of its records, and of the stack that a step works in, in float32 and of the default sizes."""
    cell = get(name)
    made = CModule(cell, c.complete(cell, {}, default=True), TYPES["float32"])
    with tempfile.TemporaryDirectory() as folder:
        _written(Path(folder), made.files())
        _said("cc", *SMALL, "-c", f"{folder}/{name}.c", "-o", f"{folder}/{name}.o")
        text = int(_said("size", f"{folder}/{name}.o").splitlines()[1].split()[0])
    return {"sizes": dict(made.sizes), "text": text, **made.memory()}


def step_time(n: int) -> float:
    """Return the microseconds of a step of an LSTM with one input, the fastest of many rounds."""
    with tempfile.TemporaryDirectory() as folder:
        _written(Path(folder), {**c.source(get("lstm"), {"d": 1, "n": n}), "timer.c": TIMER})
        numbers = (f"-DROUNDS={ROUNDS}", f"-DSTEPS={STEPS}")
        _said("cc", *FAST, *numbers, f"{folder}/timer.c", f"{folder}/lstm.c", "-lm", "-o", f"{folder}/timer")
        return float(_said(f"{folder}/timer"))


def _written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def table(found: dict[str, Any]) -> str:
    """Return the tables of what was measured, as Markdown."""
    lines = ["| cell | sizes | code | parameters | made once | state | stack |", "|---|---|---:|---:|---:|---:|---:|"]
    for name, row in found["cells"].items():
        sizes = ", ".join(f"{size} = {value}" for size, value in row["sizes"].items())
        lines.append(
            f"| {name} | {sizes} | " + " | ".join(f"{row.get(key, 0):,}" for key in ("text", "params", "made", "state", "stack")) + " |"
        )
    times = ["| n | microseconds a step |", "|---:|---:|", *(f"| {n} | {time:.2f} |" for n, time in found["lstm"].items())]
    return "\n".join([*lines, "", *times])


def main() -> None:
    """Measure, or print the tables."""
    parser = argparse.ArgumentParser(prog="python -m derive.bench.export_c", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--measure", action="store_true", help="first measure, and write the file")
    options = parser.parse_args()
    if options.measure:
        options.file.write_text(json.dumps(measure(), indent=2) + "\n", encoding="utf-8")
    print(table(json.loads(options.file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
