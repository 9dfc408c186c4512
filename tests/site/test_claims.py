"""What descriptions of cells, and sentences of pages, say in numbers, computed again: nothing in them is generated."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.converted import TOLERANCE

from derive.bench.deadline import SECONDS
from derive.bench.export_c import ROUNDS, STEPS
from derive.bench.goals import SHARES
from derive.bench.peers import LIMIT as LARGE
from derive.cells import REGISTRY
from derive.codegen.onnx.graph import OPSET
from derive.convert.onnx_files import OPSETS
from derive.demo.data import KEYS, LOWEST
from derive.demo.published import MOST_BYTES
from derive.language.vocabulary import MAX_COPIES
from derive.program.pipeline import LARGEST
from derive.runtime.cpu import quick, replay
from derive.runtime.cpu.threads import ATTENTION
from derive.runtime.tapes import LIMIT
from derive.theory.norms import HIDDEN, INPUTS, Network, median, rate
from generated import janet, rnn, slstm

DOCS = Path(__file__).parents[2] / "docs"


def sigma(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def time_constant(kept: float) -> float:
    return -1 / math.log(kept)


def starts(cell: str, parameter: str) -> float:
    value = REGISTRY[cell].init[parameter]
    assert isinstance(value, float)
    return value


RHO, ALPHA, BETA = (float(REGISTRY["alif"].constants[name]) for name in ("rho", "alpha", "beta"))
SAID = [
    ("lstm", "f = {:.2f} where", sigma(starts("lstm", "b_f"))),
    ("lstm", "its time constant is {:.1f} steps", time_constant(sigma(starts("lstm", "b_f")))),
    ("lstm", "against {:.1f} with a bias of 0", time_constant(sigma(0))),
    ("alif", "a time constant of {:.1f} steps", time_constant(RHO)),
    ("alif", "the potential's, one of {:.1f}", time_constant(ALPHA)),
    ("gla", "a gate of 0.5 still keeps {:.2f}", 0.5 ** (1 / 16)),
    ("rhn", "carries about {:.2f} of what", 1 - sigma(starts("rhn", "b_T1"))),
    ("fastrnn", "σ(-3) = {:.2f} and", sigma(starts("fastrnn", "alpha"))),
    ("fastrnn", "σ(3) = {:.2f}, so", sigma(starts("fastrnn", "beta"))),
    ("lru", "|λ| starts at {:.2f} for all", math.exp(-math.exp(starts("lru", "nu")))),
    ("janet", "With β, which is {:g}, it", float(REGISTRY["janet"].constants["beta"])),
    ("retnet", "1 - 2⁻⁵ for the first", 1 - 2**-5),
]


@pytest.mark.parametrize(("cell", "words", "value"), SAID)
def test_numbers_in_descriptions(cell: str, words: str, value: float) -> None:
    assert words.format(value) in REGISTRY[cell].description


def test_the_simple_network_as_it_starts_lets_gradients_vanish() -> None:
    """Less than half is left at each step, as `rnn` says; U is not scaled here, as it is on the page about vanishing."""
    network = Network(rnn, lambda seed: rnn.init(INPUTS, HIDDEN, seed=seed, dtype=np.float64))
    assert f"({rate(median(network)):.2f} at d = {INPUTS}, n = {HIDDEN})" in REGISTRY["rnn"].description


def test_janet_takes_in_more_than_it_forgets() -> None:
    """Of a candidate near 1 and a memory of 1, the weights are 1 - σ(s - β) and σ(s): their sum exceeds 1."""
    params = janet.init(2, 3, dtype=np.float64)
    params = params._replace(**{name: np.zeros_like(getattr(params, name)) for name in ("W_f", "U_f", "W_c", "U_c")}, b_c=np.full(3, 40.0))
    y, _ = janet.infer(np.zeros((1, 1, 2)), params, janet.State(c=np.ones((1, 3))))
    taken, forgotten = y - sigma(1.0), 1 - sigma(1.0)
    assert np.allclose(taken, 1 - sigma(0.0)) and (taken > forgotten).all()


def test_the_stabiliser_of_the_slstm_has_no_gradient_unless_a_loss_reads_more_than_h() -> None:
    """By (B16) and (B17), what a step hands back for m is that of c times c, of n times n, and m̄ where the forget gate set the maximum."""
    random = np.random.default_rng(0)
    params, x = slstm.init(3, 16, seed=1, dtype=np.float64), random.standard_normal((7, 2, 3))
    _, before, _ = slstm.forward(x[:6], params)
    y, final, tape = slstm.forward(x[6:], params, before)

    def cotangents_of_m(back: slstm.State) -> np.ndarray:
        return back.m - back.c * before.c - back.nn * before.nn

    assert np.abs(cotangents_of_m(slstm.backward(random.standard_normal(y.shape), tape).state)).max() < 1e-14
    read = final._replace(m=np.zeros_like(final.m), h=np.zeros_like(final.h))  # of ½ ‖c‖² + ½ ‖n‖²
    assert np.abs(cotangents_of_m(slstm.backward(None, tape, dfinal=read).state)).max() > 1


def test_adaptive_thresholds_are_the_shorter_memory_with_these_constants() -> None:
    assert RHO < ALPHA and "β (1 - ρ)" in REGISTRY["alif"].description and BETA > 0


def test_a_cell_without_biases_says_what_start_goes_with_them() -> None:
    for cell in REGISTRY.values():
        if cell.name.endswith("_nobias"):
            whole = REGISTRY[cell.name.removesuffix("_nobias")]
            lost = [name for name in whole.parameters if name not in cell.parameters and whole.init.get(name)]
            assert all(f"the start of `{name}` at" in cell.description for name in lost), cell.name
    assert "`b_f` at 1" in REGISTRY["lstm_nobias"].description


def test_limits_on_pages_are_those_of_the_code() -> None:
    pages = ("cli.md", "own-cell.md", "pytorch.md", "limits.md", "convert.md", "export.md")
    line, cells, torch, limits, convert, export = ((DOCS / page).read_text(encoding="utf-8") for page in pages)
    assert f"where a state is a matrix; else {LIMIT >> 30} GiB |" in line
    assert f"all of it up to {LIMIT >> 30} GiB" in torch
    assert f"a file of more than {MOST_BYTES >> 20} MiB" in line
    assert f"the MIDI numbers from {LOWEST} to {LOWEST + KEYS - 1} that sound" in line
    assert f"more than {LARGEST:,} operations" in limits and f"at most {MAX_COPIES} times" in limits
    assert f"| opsets of ONNX below {OPSETS[0]} or above {OPSETS[-1]} |" in convert
    assert f"agree within {TOLERANCE / 1e-6:.0f}·10⁻⁶ of the" in convert
    assert f"the fastest of {ROUNDS}\nrounds of {STEPS} steps" in export
    assert f"Models are of opset {OPSET}, the first with" in export
    steps = re.search(r"NOTHING, QUESTION, T, B = 4, 5, (\d+), 32", cells)
    assert steps is not None and f"then for {int(steps[1]) - 2} steps nothing" in cells
    assert f"A guess among four has the loss ln 4 = {math.log(4):.3f}" in cells


def test_what_the_page_on_benchmarks_says_of_peers_and_of_the_peak() -> None:
    page = " ".join((DOCS / "benchmarks.md").read_text(encoding="utf-8").split())
    assert f"takes more than {SECONDS:.0f} s" in page
    assert LARGE == 10**10 and "more than 10¹⁰ operations" in page
    assert f"{100 * min(SHARES.values()):.0f} to {100 * max(SHARES.values()):.0f} %, depending on cell and phase" in page
    record = json.loads((DOCS / "benchmarks-cells.json").read_text(encoding="utf-8"))
    rows = [row for row in record["rows"] if (row["batch"], row["n"], row["phase"]) == (32, 256, "training")]
    times = [row["peers"]["eager"]["seconds"] * 1e9 * record["peak"] / row["operations"] for row in rows]
    assert f"only {min(times):.1f} to {max(times):.1f} times as fast as the eager cell in training" in page


def test_what_the_page_on_modules_says_of_small_calls_and_of_threads() -> None:
    page = (DOCS / "interface.md").read_text(encoding="utf-8")
    assert quick.OFTEN == 16 and f"The last {replay.KEPT} kinds" in page and "like the sixteen before it" in page
    assert f"up to {replay.RECORDED >> 20} MiB" in page and replay.OFTEN == 1000 and "done a thousand times" in page
    assert f"stay awake for {1000 * ATTENTION:.1f} ms" in page
