"""What runs PyTorch's own tests with our layers; and these tests themselves, where a checkout is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from pytorch.upstream import choice, reasons, run
from pytorch.upstream.__main__ import DATA
from pytorch.upstream.run import Outcome

CHECKOUT = "DERIVE_PYTORCH_CHECKOUT"
PAGE = run.ROOT / "docs" / "pytorch.md"

FILE = """
import os, time, unittest

def helper():
    from torch import nn
    return nn.LSTM(2, 3)

def other():
    return "nn.Linear"

class Tests(unittest.TestCase):
    def make(self):
        return helper()

    def test_direct(self):
        from torch import nn
        self.assertTrue(type(nn.GRU(2, 3)).__module__.startswith("torch."))

    def test_by_helper(self):
        self.make()

    def test_other(self):
        other()

    def test_skips_rnn(self):
        self.skipTest("so")

    def test_dies_gru(self):
        os._exit(3)

    def test_sleeps_lstm_cell(self):
        time.sleep(600)

    def test_subtests_rnn(self):
        for k in range(3):
            with self.subTest(k=k):
                self.assertEqual(k, 1)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_made.py").write_text(dedent(FILE), encoding="utf-8")
    (tmp_path / "test" / "test_none.py").write_text("grunt = 1\n", encoding="utf-8")
    return tmp_path


def test_tests_are_chosen_by_what_they_come_to_and_by_name(checkout: Path) -> None:
    (file,) = choice.files(checkout / "test")
    functions = choice.tests(file.read_text(encoding="utf-8"))
    assert {name for name, reaches in functions.items() if reaches} == {"test_direct", "test_by_helper"}
    chosen = {name for name in functions if choice.chosen(name, functions)}
    assert set(functions) - chosen == {"test_other"}
    assert choice.chosen("test_direct_cpu_float32", functions) and not choice.chosen("test_other_cpu_float32", functions)
    assert choice.chosen("test_forward_nn_LSTMCell_cpu_float64", functions) and not choice.chosen("test_grunt", functions)


def test_what_comes_of_tests(checkout: Path) -> None:
    """One that kills its process is the only one that is lost."""
    path = checkout / "test" / "test_made.py"
    names = run.names(path)
    assert names is not None and len(names) == 7
    theirs = run.outcomes(path, "theirs", [name for name in names if "sleeps" not in name])
    assert {name.partition(".")[2]: outcome.what for name, outcome in theirs.items()} == {
        "test_by_helper": "passed",
        "test_dies_gru": "died",
        "test_direct": "passed",
        "test_other": "passed",
        "test_skips_rnn": "skipped",
        "test_subtests_rnn": "failed",
    }
    ours = run.outcomes(path, "ours", ["Tests.test_direct"])
    assert ours["Tests.test_direct"].what == "failed", "PyTorch's layers were still in their place"


@pytest.mark.exhaustive
def test_one_that_says_nothing_for_too_long(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LIMIT", 20.0)
    names = ["Tests.test_sleeps_lstm_cell", "Tests.test_other"]
    found = run.outcomes(checkout / "test" / "test_made.py", "theirs", names)
    assert [found[name].what for name in names] == ["late", "passed"]


def test_a_file_that_cannot_be_imported(checkout: Path) -> None:
    path = checkout / "test" / "test_made.py"
    path.write_text("import nothing_of_this_name\n", encoding="utf-8")
    assert run.names(path) is None


def test_reasons_are_held_against_what_comes_of_tests() -> None:
    found = {"a::T.x": Outcome("passed"), "a::T.y": Outcome("failed", "1 is not 2"), "b::T.z_cpu": Outcome("late")}
    assert reasons.complaints(found, {"a::T.y": "so", "b::T.z_*": "thus"}) == []
    without, in_spite = reasons.complaints(found, {"a::T.x": "so", "b::T.z_*": "thus"})
    assert "a::T.x passed" in without and "a::T.y failed" in in_spite and "1 is not 2" in in_spite


def test_the_page_has_what_was_measured() -> None:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    known, counts = reasons.read(), data["all"]
    assert counts["theirs"] - counts["ours"] == len(data["reasons"])
    assert all(reason == reasons.of(test, known) for test, reason in data["reasons"].items())
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"{counts['chosen']} tests" in text and data["of"] in text and data["torch"] in text
    assert f"{counts['theirs']} pass with PyTorch's own layers, and {counts['ours']} of these with ours" in text
    assert f"{counts['skipped']} are skipped" in text


@pytest.mark.exhaustive
@pytest.mark.skipif(
    CHECKOUT not in os.environ, reason=f"PyTorch's own tests are not at hand: {CHECKOUT} names no checkout of its repository"
)
def test_tests_of_pytorch(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.pytorch.upstream",
        os.environ[CHECKOUT],
        "--of",
        "a checkout",
        "--out",
        str(tmp_path / "out.json"),
    ]
    result = subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
