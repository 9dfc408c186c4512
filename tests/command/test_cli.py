"""The command line, as it is used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, without_rights

from derive import Cell
from derive.__main__ import main
from derive.cells import get
from derive.cells.load import cells_of
from derive.command import COMMANDS
from derive.command.export import KINDS

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
MINE = '''
from derive import Cell

leaky = Cell(
    """
    g = tanh(W @ x + U @ h_prev + b)
    h = sigmoid(a) * h_prev + (1 - sigmoid(a)) * g
    """,
    name="leaky", output="h", shapes={"a": ""},
)
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "my_cell.py"
    path.write_text(MINE)
    return path


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "gru_v3_flipped" in out and out.splitlines()[-1].endswith("cells")


@pytest.mark.parametrize("form", [[], ["--text"], ["--latex"], ["--code"], ["--stages"], ["--structure"]])
def test_show(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "rnn", *form]) == 0
    assert capsys.readouterr().out.strip()


def test_show_a_file(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(mine)]) == 0
    assert "∇a" in capsys.readouterr().out


def test_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The template is a cell that can be shown and generated as it is, and is never written over a file."""
    path = tmp_path / "my_cell.py"
    assert main(["new", str(path)]) == 0
    assert main(["show", str(path), "--latex"]) == 0
    assert r"\tag{B1}" in capsys.readouterr().out
    assert main(["generate", str(path), "--out", str(tmp_path / "kernels")]) == 0
    assert (tmp_path / "kernels" / "my_cell.py").is_file()
    text = path.read_text()
    assert main(["new", str(path)]) == 1 and path.read_text() == text
    assert main(["new", str(tmp_path / "my-cell.py")]) == 1
    assert "identifier" in capsys.readouterr().err


def test_an_unknown_cell_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "gru_v4"]) == 1
    err = capsys.readouterr().err
    assert "gru_v4" in err and "gru_v3" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("x = 1", "makes no Cell"),
        ("1 / 0", "ZeroDivisionError"),
        ("from derive import Cell\nc = Cell('h = tanh(W @ x', name='c', output='h')", "line 1"),
        ("def", "line 1: SyntaxError"),
        ("import sys\nsys.exit(3)", "line 2: it ends the program"),
        ("import json\n\njson.loads('x')", "line 3: JSONDecodeError"),
    ],
)
def test_files_that_fail(text: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    assert main(["show", str(path)]) == 1
    err = capsys.readouterr().err
    assert part in err and "Traceback" not in err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nowhere.py"]) == 1
    assert "nowhere.py" in capsys.readouterr().err


def test_a_folder_that_is_called_as_a_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").mkdir()
    for command in (["show"], ["check"], ["generate", "--out", str(tmp_path / "out")], ["docs"]):
        assert main([*command, str(tmp_path / "a.py")]) == 1
        assert "a.py` is a folder" in capsys.readouterr().err


def test_a_package_or_a_site_needs_a_folder(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("generate", "docs"):
        assert main([command, str(mine), "--out", str(mine)]) == 1
        assert "my_cell.py` is not a folder" in capsys.readouterr().err
    assert mine.read_text() == MINE


def test_what_cannot_be_written_is_an_error_in_words(mine: Path) -> None:
    closed = mine.parent / "closed"
    closed.mkdir(mode=0o555)
    for command in ("generate my_cell.py --out closed/kernels", "new closed/new.py"):
        done = without_rights("-m", "derive", *command.split(), folder=mine.parent)
        assert done.returncode == 1 and "ermission denied" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert list(closed.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_an_error_in_words() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "derive", "list"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
    assert (done.returncode, done.stderr) == (1, "derive: No space left on device\n")


def test_docs_without_its_extra(mine: Path) -> None:
    names = ["mkdocs", "material", "quickjs", "sphinxcontrib", "ziamath", "yaml", "markdown", "pygments", "matplotlib"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({names})); from derive.__main__ import main; sys.exit(main(['docs', 'my_cell.py']))"
    )
    done = without_rights("-c", code, folder=mine.parent)
    assert done.returncode == 1 and "pip install 'derive-rnn[docs]'" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_generate_a_package_of_ones_own(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my_kernels"
    assert main(["generate", str(mine), "--out", str(out)]) == 0
    assert main(["generate", str(mine), "--out", str(out), "--check"]) == 0
    (out / "leaky.py").write_text((out / "leaky.py").read_text() + "# changed\n")
    capsys.readouterr()
    assert main(["generate", str(mine), "--out", str(out), "--check"]) == 1
    assert "leaky.py" in capsys.readouterr().out
    assert main(["generate", str(mine), "--out", str(out)]) == 0
    assert main(["generate", str(mine), "--out", str(out), "--check"]) == 0


def test_a_package_of_ones_own_works_by_itself(mine: Path, tmp_path: Path) -> None:
    main(["generate", str(mine), "--out", str(tmp_path / "my_kernels")])
    script = (
        "import sys, numpy as np\n"
        "from my_kernels import leaky\n"
        "p = leaky.init(3, 5, dtype=np.float64)\n"
        "y, final, tape = leaky.forward(np.ones((4, 2, 3)), p)\n"
        "grads = leaky.backward(np.ones_like(y), tape)\n"
        "assert grads.params.a.shape == () and np.isfinite(grads.params.a)\n"
        "assert 'sympy' not in sys.modules and 'derive' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CELL = "Cell('h = tanh(W @ x + U @ h_prev)', name='{0}', output='h')"


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["show", str(path), "--code"]) == 0
    return capsys.readouterr().out


def test_cells_in_collections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In lists, tuples and dicts, each once; a collection of derive's own that was imported is none of the file's."""
    cells, out = tmp_path / "many.py", tmp_path / "out"
    a, b, c, d = (CELL.format(name) for name in "abcd")
    lines = ["from derive import Cell", "from derive.cells import FAMILIES, REGISTRY", f"one = {a}", f"more = [one, {b}, ({c},), 5]"]
    cells.write_text("\n".join([*lines, f"named = {{'d': {d}, 'again': more}}", "more.append(named)"]))
    assert main(["generate", str(cells), "--out", str(out)]) == 0
    modules = {path.stem for path in out.glob("*.py")}
    assert modules == {"a", "b", "c", "d", "__init__", "training", "warm", "torch", "jax", "flax", "equinox"}


@pytest.mark.parametrize("framework", ["torch", "jax", "flax", "equinox"])
def test_no_module_hides_a_framework(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cells.py").write_text(f"from derive import Cell\na = {CELL.format('a')}")
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "cells.py", "--out", "."]) == 0
    assert f"no module `{framework}`: Python looks for modules there" in capsys.readouterr().out
    assert not (tmp_path / f"{framework}.py").exists() and not (tmp_path / "runtime" / framework).exists()
    assert main(["generate", "cells.py", "--out", ".", "--check"]) == 0
    assert main(["generate", "cells.py", "--out", "inside"]) == 0 and (tmp_path / "inside" / f"{framework}.py").exists()


def test_a_file_imports_what_lies_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a program would; and another file imports what lies beside that, though the names are the same."""
    for name in ("one", "other"):
        (tmp_path / name / "parts").mkdir(parents=True)
        (tmp_path / name / "parts" / "__init__.py").write_text("from . import lines")
        (tmp_path / name / "parts" / "lines.py").write_text(f"NAME = {name!r}")
        text = "from derive import Cell\nimport parts\ncell = " + CELL.format("{0}").replace("'{0}'", "parts.lines.NAME")
        (tmp_path / name / "cells.py").write_text(text)
    before = list(sys.path)
    for name in ("one", "other"):
        assert f'name="{name}"' in shown(tmp_path / name / "cells.py", capsys)
    assert sys.path == before and "parts" not in sys.modules


def test_generate_with_transformations(mine: Path, tmp_path: Path) -> None:
    """Each is a cell more, and those with a plus are one; cells are named, or in files."""
    out = tmp_path / "kernels"
    assert main(["generate", "gru", str(mine), "--with", "masked,zoneout+residual", "--out", str(out)]) == 0
    own = next(iter(cells_of(str(mine)))).name
    expected = {f"{cell}{end}" for cell in ("gru", own) for end in ("", "_masked", "_zoneout_residual")}
    assert expected == {path.stem for path in out.glob("*.py")} & expected
    assert main(["generate", "gru", str(mine), "--with", "masked,zoneout+residual", "--out", str(out), "--check"]) == 0


def test_generate_with_what_is_no_transformation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "gru", "--with", "zonout", "--out", str(tmp_path / "kernels")]) == 1
    assert "there is no transformation `zonout` (did you mean `zoneout`?)" in capsys.readouterr().err
    assert main(["generate", "linear", "--with", "masked", "--out", str(tmp_path / "kernels")]) == 1
    assert "masked: linear has no state" in capsys.readouterr().err


def test_generate_for_files_needs_a_folder(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(mine)]) == 2
    assert "--out" in capsys.readouterr().err


def test_every_command_is_a_module_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    modules = {path.stem for path in (ROOT / "derive" / "command").glob("*.py")} - {"__init__", *KINDS.values()}
    assert modules == {*COMMANDS}
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    listed = re.findall(r"^    (\w+)  +\w", capsys.readouterr().out, re.MULTILINE)
    assert listed == [*COMMANDS]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: derive {name} ")


@pytest.mark.parametrize("words", [["list"], ["new", "cell.py"], ["show", "rnn"], ["--help"]])
def test_no_command_waits_for_what_it_does_not_need(words: list[str], tmp_path: Path) -> None:
    code = (
        "import contextlib, sys\nfrom derive.__main__ import main\n"
        f"with contextlib.suppress(SystemExit):\n    assert main({words}) == 0\n"
        "assert not {'numba', 'derive.verify.report', 'derive.site.builder', 'derive.bench.run'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_command_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_check_of_all_cells_leaves_out_those_that_have_no_second_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = Cell("h = tanh(W @ x + U @ h_prev)", name="small", output="h"), get("lstm").replace(name="large")
    monkeypatch.setattr("derive.command.check.SHIPPED", {cell.name: cell for cell in (large, small)})
    monkeypatch.setattr("derive.program.pipeline.LARGEST", 200)
    checked = list[Cell]()
    monkeypatch.setattr("derive.command.check.report.run", lambda cells, *_, **more: checked.extend(cells) or 0)
    assert main(["check", "--order", "2"]) == 0
    assert checked == [small]
    said = capsys.readouterr().err
    assert re.match(r"left out: large: to second order, its passes have \d+ operations, and above 200 ", said)
