"""Exported C: compiled strictly, run under sanitizers, and compared with the kernels of the generated package."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import generated, ordinary, python
from fuzz.strategy import Drawn, cells
from fuzz.test_fuzz import FOUND
from helpers.c_programs import CHECKS, COMPILER, compiled, driver, run
from hypothesis import HealthCheck, Phase, given, settings

from derive.__main__ import main
from derive.cell import Cell
from derive.cells import SHIPPED
from derive.language.errors import CellError
from derive.package import c
from derive.program.streaming import step
from derive.verify.evaluate import unroll
from derive.verify.problem import Problem, Scales, sample

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler `cc`")
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
CASES = [(name, dtype) for name in SHIPPED for dtype in TOLERANCES]
DIFFICULT = ("lstm", "gru_v3", "slstm", "lmu", "gated_deltanet", "lsnn")
CHOSEN = {*((name, "float64") for name in DIFFICULT), ("lstm", "float32"), ("gla", "float32")}


def exported(p: Problem, **options: Any) -> dict[str, str]:
    """Return the files of a problem's cell, of its sizes and dtype."""
    sizes = {name: value for name, value in p.sizes.items() if name in p.cell.sizes}
    return c.source(p.cell, sizes, dtype=str(p.dy.dtype), **options)


def inferred(module: ModuleType, p: Problem) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return what a generated module's kernels make of a problem."""
    first, *others = p.inputs.items() or [("x", None)]
    steps = {} if p.inputs else {"steps": p.steps}
    y, final = module.infer(first[1], module.Params(**p.parameters), module.State(**p.states), **dict(others), **p.context, **steps)
    return y, final._asdict()


def close(got: np.ndarray, want: np.ndarray, tolerance: float, exact: np.ndarray | None = None) -> None:
    """Compare values with those of kernels; where rounding moves the kernels' own further away from `exact` ones, as far as that."""
    moved = 0.0 if exact is None else 2 * float(np.abs(want - exact).max(initial=0.0))
    np.testing.assert_allclose(got, want, rtol=0, atol=max(tolerance * max(1.0, np.abs(want).max(initial=0.0)), moved))


@needs_compiler
@pytest.mark.parametrize(("name", "dtype"), ordinary(CASES, CHOSEN))
def test_agrees_with_the_kernels(name: str, dtype: str, tmp_path: Path) -> None:
    cell, module = SHIPPED[name], generated(name)
    p = sample(cell, batch=1, steps=6).cast(dtype)
    files = exported(p)
    first, y, final = run(compiled(tmp_path, files, driver(p, files), "-O1", *CHECKS), p)
    want, want_final = inferred(module, p)
    exact, exact_final = inferred(module, p.cast(np.float64)) if dtype == "float32" else (want, want_final)
    close(y, want, TOLERANCES[dtype], exact)
    begun = module.LAYER.zero_state(1, dict(p.sizes), np.dtype(dtype))._asdict()
    for state in cell.states:
        close(final[state], want_final[state], TOLERANCES[dtype], exact_final[state])
        np.testing.assert_array_equal(first[state], begun[state])


def agrees_with_the_text(cell: Cell, sizes: dict[str, int], folder: Path) -> None:
    """Compare a cell's program with its text on NumPy, where its values are of a size at which they say something."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = sample(cell, sizes=sizes, batch=1, steps=4, scales=Scales(parameters=0.6, states=1.0))
        want, want_final = unroll(cell, p.inputs, p.parameters, p.states, np, context=p.context, steps=p.steps)
    files = exported(p)
    _, y, final = run(compiled(folder, files, driver(p, files), "-O1", *CHECKS), p)
    pairs = [(y, want), *((final[state], want_final[state]) for state in cell.states)]
    if all(np.isfinite(b).all() and np.abs(b).max(initial=0.0) < 1e6 for _, b in pairs):
        for a, b in pairs:
            close(a, b, 1e-9)


SHUFFLED = Cell(  # states that are read after others, and after themselves, have new values
    """
    a = tanh(W @ x + a_prev)
    b = U @ a + V @ a_prev
    c = b_prev * c_prev + a
    y = c + c_prev + b_prev
    """,
    name="shuffled",
    output="y",
)
HOSTILE = Cell(  # keywords of C and C++, macros, functions of its library, names of the emitted code, letters that are not ASCII
    """
    double = sigmoid(register @ params + I @ state_prev + y0)
    j = tanh(NULL * double + α * expf)
    i = where(j > real, j, LANES * R)
    state = double * state_prev + i * multiply
    new = outer(i, state) + 0.5 * new_prev
    head = new @ made
    """,
    name="template",
    output="head",
    inputs=("params",),
    shapes={"params": "k", "register": "int, k", "I": "int, int", "made": "int", "real": "", "new": "int, int"},
)
HIDDEN = Cell(  # sizes with names of arguments and variables of the emitted code
    """
    a = softplus(W @ x + U @ h_prev)
    h = tanh(h_prev) * sigmoid(V @ a)
    """,
    name="hidden",
    output="h",
    shapes={"x": "r", "W": "k, r", "U": "k, i", "V": "i, k", "a": "k", "h": "i"},
)


@needs_compiler
@pytest.mark.parametrize("cell", [SHUFFLED, HOSTILE, HIDDEN], ids=lambda cell: cell.name)
def test_states_and_names(cell: Cell, tmp_path: Path) -> None:
    agrees_with_the_text(cell, {"int": 5, "k": 3, "r": 2, "i": 3}, tmp_path)


@needs_compiler
@pytest.mark.exhaustive
@pytest.mark.parametrize("found", [found for found in FOUND if found.cell], ids=lambda found: found.text.splitlines()[0])
def test_cells_that_the_fuzzer_found(found: Drawn, tmp_path: Path) -> None:
    assert found.cell is not None
    agrees_with_the_text(found.cell, found.sizes, tmp_path)


@needs_compiler
@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", [{}, {"matrices": True}, {"heads": True}, {"matrices": True, "heads": True}], ids=str)
def test_random_cells(kind: dict[str, bool], tmp_path: Path) -> None:
    @settings(max_examples=40, derandomize=True, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(cells(**kind))
    def check(drawn: Drawn) -> None:
        if drawn.cell is not None:
            agrees_with_the_text(drawn.cell, drawn.sizes, tmp_path)

    check()


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_exponentials_are_accurate_to_the_ends(dtype: str, tmp_path: Path) -> None:
    """Within 3 units in the last place, and what they must be of infinities, NaN, and numbers beyond the range."""
    cell = Cell("y = [exp(x), tanh(x), sigmoid(x)]", name="exponentials", output="y")
    random = np.random.default_rng(0)
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 700.0, -700.0, 90.0, -90.0, 1e-30, -1e-30])
    x = np.concatenate([ends, *(scale * random.uniform(-1, 1, 5000) for scale in (1e-3, 1.0, 20.0, 85.0))]).astype(dtype)
    p = sample(cell, batch=1, steps=2, sizes={"d": x.size, "n": x.size}).cast(dtype).at("x", np.stack([x, x])[:, None])
    files = exported(p)
    _, y, _ = run(compiled(tmp_path, files, driver(p, files), "-O3", *CHECKS), p)
    wide = x.astype(np.longdouble)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = [np.exp(wide), np.tanh(wide), 1 / (1 + np.exp(-wide))]
        for got, want in zip(np.split(y[1, 0], 3), exact, strict=True):
            rounded = want.astype(dtype)
            same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
            tiny = np.abs(want) < np.finfo(dtype).tiny  # where results may be 0
            unit = np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, 1)))
            assert (same | (tiny & (np.abs(got) <= np.finfo(dtype).tiny)) | (np.abs(got - want) <= 3 * unit)).all()


def test_states_are_written_over_where_nothing_reads_them_later() -> None:
    assert step(SHIPPED["lstm"]).overwritten == {"c_state", "h_state"}
    assert step(SHIPPED["lmu"]).overwritten == {"h_state"}
    assert step(SHIPPED["gated_deltanet"]).overwritten == {"S_state"}


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_weights_are_exact(dtype: str, tmp_path: Path) -> None:
    p = sample(SHIPPED["gated_deltanet"], batch=1).cast(dtype)
    raw, files = exported(p), c.source(p.cell, {}, dtype=dtype, weights=p.parameters)
    results = []
    for k, text in enumerate((raw, files)):
        (tmp_path / str(k)).mkdir()
        results.append(run(compiled(tmp_path / str(k), text, driver(p, text)), p, weights=text is raw))
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_array_equal(results[0][2]["S"], results[1][2]["S"])


@needs_compiler
def test_the_program_on_the_page_compiles(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```c\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    p = sample(SHIPPED["gru"], batch=1, sizes={"n": 3, "d": 2}).cast(np.float32)
    compiled(tmp_path, exported(p, weights=p.parameters), program, *CHECKS)
    subprocess.run([tmp_path / "program"], check=True)


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler `c++`")
def test_headers_are_those_of_cplusplus_too(tmp_path: Path) -> None:
    for cell in (SHIPPED["lmu"], SHIPPED["softmax_cross_entropy"], HOSTILE):
        files = exported(sample(cell, batch=1, sizes={"int": 5, "k": 3}))
        (header,) = (name for name in files if name.endswith(".h"))
        (tmp_path / header).write_text(files[header])
        command = ["c++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++", str(tmp_path / header)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert "error" not in done.stderr.replace("#pragma once", ""), done.stderr


def test_the_same_bytes_under_any_hash_seed() -> None:
    code = "from derive.cells import get; from derive.package.c import source; print(source(get('gsa'), {'d': 3, 'm': 2, 'H': 2, **SIZES}))"
    sizes = {name: 3 for name in SHIPPED["gsa"].sizes}
    first, second = (python(code.replace("SIZES", repr(sizes)), PYTHONHASHSEED=seed) for seed in ("0", "1"))
    assert first == second and "gsa_step" in first


@pytest.mark.parametrize(
    ("sizes", "options", "said"),
    [
        ({"n": 4}, {}, "in C sizes are numbers: `d` is missing"),
        ({"n": 4, "d": 2, "m": 3}, {}, "there is no size `m`"),
        ({"n": 0, "d": 2}, {}, "the size `n` needs a number above 0, not 0"),
        ({"n": True, "d": 2}, {}, "not True"),
        ({"n": 4, "d": 2}, {"dtype": "float16"}, "`float16` cannot be exported to C"),
        ({}, {"weights": {}}, "`d`, `n` is missing"),
        ({"n": 4, "d": 2}, {"weights": {}}, "`W_i` is missing"),
        ({"n": 4, "d": 2}, {"weights": {"W": np.ones(3)}}, "`W` is not a parameter of lstm"),
    ],
)
def test_what_cannot_be_exported_is_refused(sizes: dict[str, int], options: dict[str, Any], said: str) -> None:
    with pytest.raises(CellError, match=said):
        c.source(SHIPPED["lstm"], sizes, **options)


def test_weights_of_other_shapes_and_no_numbers_are_refused() -> None:
    weights = dict(sample(SHIPPED["lstm"]).parameters)
    with pytest.raises(CellError, match=r"`b_o` needs the shape \(7,\), \(n\), and has \(6,\)"):
        c.source(SHIPPED["lstm"], {}, weights={**weights, "b_o": np.zeros(6)})
    with pytest.raises(CellError, match="`b_o` is not finite in float32"):
        c.source(SHIPPED["lstm"], {}, weights={**weights, "b_o": np.full(7, 1e300)})
    with pytest.raises(CellError, match=r"`W_i` needs the shape \(5, 3\)"):
        c.source(SHIPPED["lstm"], {"n": 5}, weights=weights)


def test_the_command_writes_files_whole_and_over_none_of_yours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "weights.npz", **sample(SHIPPED["gru"]).parameters)
    words = ["export", "c", "gru", "--out", str(tmp_path), "--weights", str(tmp_path / "weights.npz")]
    assert main(words) == 0 and "d = 3, n = 7" in capsys.readouterr().out
    assert "const gru_params gru_weights = {" in (tmp_path / "gru.c").read_text(encoding="utf-8")
    assert main(words) == 0 and capsys.readouterr().out  # over its own
    (tmp_path / "gru.c").write_text("mine")
    assert main(words) == 1
    said = capsys.readouterr()
    assert "nothing was written" in said.err and not said.out
    assert (tmp_path / "gru.c").read_text() == "mine"
    assert main(["export", "c", "lstm", "--out", str(tmp_path), "--size", "n=4"]) == 0
    assert "d = 8 (default), n = 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lstm", "--size", "n"], "--size needs a name and a number, n=64, not `n`"),
        (["lstm", "--size", "m=4"], "there is no size `m`"),
        (["lstm", "--size", "n=3", "--size", "n=4"], "--size: n was given twice, as 3 and as 4"),
        (["lstmm"], "there is no cell `lstmm`"),
        (["lstm", "--weights", "nothing.npz"], "there is no file `nothing.npz`"),
    ],
)
def test_words_that_are_wrong(words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", "c", *words, "--out", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())
