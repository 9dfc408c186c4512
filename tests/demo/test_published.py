"""The published data set, read from a file that a stranger may have made."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.rolls import random_rolls

from derive.__main__ import main
from derive.demo import published, run
from derive.demo.corpora import CELLS, FIGURES, SETTINGS, corpus
from derive.demo.data import KEYS, LOWEST
from derive.demo.train import Settings
from derive.demo.unpickle import Refused, plain

PIECES = {"train": [[(60, 64), (), (21, 108)], [(70,), (71,)]], "valid": [[(50,), (51, 52)]], "test": [[(40,)]]}


def kept(folder: Path, data: bytes) -> Path:
    path = folder / "chorales.pickle"
    path.write_bytes(data)
    return path


def with_numpy(value: Any) -> Any:
    """Return a value with NumPy's integers in place of Python's."""
    if isinstance(value, dict):
        return {name: with_numpy(part) for name, part in value.items()}
    return type(value)(map(with_numpy, value)) if isinstance(value, list | tuple) else np.int64(value)


def of_python_2(kind: str = "i8", order: str = "<", number: str = "H\\0\\0\\0\\0\\0\\0\\0") -> bytes:
    """Return the pickle of [n] as Python 2 wrote it of one of NumPy's integers, whose bytes are a string."""
    state = f"(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntb"
    return f"(lp0\ncnumpy.core.multiarray\nscalar\np1\n(cnumpy\ndtype\np2\n(S'{kind}'\nI0\nI1\ntR{state}S'{number}'\ntRa.".encode("latin-1")


# What is read


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    found = published.read(kept(tmp_path, pickle.dumps(PIECES, protocol)))
    assert [len(part) for part in found] == [2, 1, 1]
    for rolls, part in zip(found, PIECES.values(), strict=True):
        for roll, piece in zip(rolls, part, strict=True):
            assert roll.dtype == np.bool_ and roll.shape == (len(piece), KEYS)
            assert [tuple(np.flatnonzero(step) + LOWEST) for step in roll] == piece


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_integers_of_numpy_are_integers(protocol: int) -> None:
    assert plain(pickle.dumps(with_numpy(PIECES), protocol)) == PIECES


def test_json_is_the_same(tmp_path: Path) -> None:
    got, want = published.read(kept(tmp_path, json.dumps(PIECES).encode())), published.read(kept(tmp_path, pickle.dumps(PIECES)))
    assert all(np.array_equal(a, b) for one, other in zip(got, want, strict=True) for a, b in zip(one, other, strict=True))


def test_what_python_2_has_written() -> None:
    assert plain(b"(dp1\nS'test'\np2\n(lp3\n(lp4\n(I72\nL76L\ntp5\naas.") == {"test": [[(72, 76)]]}
    assert plain(of_python_2()) == [72]
    assert plain(of_python_2("u2", ">", "\\x01\\x02")) == [258] and plain(of_python_2("i1", "|", "\\xff")) == [-1]


# What is refused


class Calls:
    """Would make a file when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_that_a_file_names_is_called(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = kept(tmp_path, pickle.dumps({**PIECES, "more": Calls()}, protocol))
    with pytest.raises(ValueError, match=r"chorales\.pickle is no file of chorales: it names (posix|nt)\.mkdir"):
        published.read(path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    pickle.loads(path.read_bytes())
    assert (tmp_path / "made-by-a-pickle").is_dir()  # with Python's own it is


MEMO = b"]r\xff\xff\xff\x7f."  # kept as number 2³¹ - 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "it names builtins.eval"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "it names numpy.load"),
        (b"(S'1'\nibuiltins\neval\n.", "the operation INST"),
        (b"(cnumpy\ndtype\nS'i8'\no.", "the operation OBJ"),
        (b"\x80\x02cnumpy\ndtype\n(S'i8'\nt\x81.", "the operation NEWOBJ"),
        (b"Pwhat\n.", "the operation PERSID"),
        (b"\x80\x02\x82\x01.", "the operation EXT1"),
        (pickle.dumps(2.5, 2), "the operation BINFLOAT"),
        (pickle.dumps({1, 2}, 4), "the operation EMPTY_SET"),
        (pickle.dumps({(1,): 2}, 2), "keys are no strings"),
        (pickle.dumps({"a": 1, 2: 2}, 2), "keys are no strings"),
        (b"(I1\nI2\nd.", "keys are no strings"),
        (b"\x80\x02]}S'a'\nK\x01sb.", "sets the state of an object"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\nN}S'__defaults__'\nNs\x86b.", "sets the state of an object"),
        (of_python_2("f8"), "NumPy's kind 'f8'"),
        (of_python_2("O8"), "NumPy's kind 'O8'"),
        (of_python_2(number="H"), "a number of NumPy's that is none"),
        (pickle.dumps(PIECES)[:-9], "it is no whole pickle"),
        (b"", "it is no whole pickle: EOFError"),
        (b"\xff\xfe", "the operation 255"),
        (b"R.", "it is no whole pickle"),
        (b"I" + b"9" * 10_000 + b"\n.", "it is no whole pickle: ValueError"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "it is no whole pickle"),
    ],
)
def test_what_plain_values_do_not_need_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(Refused) as refused:
        plain(data)
    assert said in str(refused.value)


def test_files_that_would_take_all_memory_or_the_whole_stack() -> None:
    begin = time.perf_counter()
    assert plain(MEMO) == []
    deep = b"\x80\x02)" + b"\x85" * 300_000
    with pytest.raises(Refused, match="keys are no strings"):
        plain(b"\x80\x02}" + deep[2:] + b"K\x01s.")
    assert isinstance(plain(deep + b"."), tuple)
    assert time.perf_counter() - begin < 20


def changed(part: str, value: Any) -> bytes:
    return pickle.dumps({**PIECES, part: value})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps([1]), "it needs a dict with train, valid, test, got list"),
        (pickle.dumps({}), "got an empty one"),
        (pickle.dumps({"train": [], "valid": []}), "it needs a dict with train, valid, test, got train, valid"),
        (changed("valid", "abc"), "valid: needs a list, got str"),
        (changed("valid", []), "valid: needs 1 to 500000 items, got 0"),
        (changed("train", [[(60,)], []]), "train, piece 2: needs 1 to"),
        (changed("test", [[(60,), 61]]), "test, piece 1, step 2: needs a list, got int"),
        (changed("test", [[(60,), (61, 20)]]), "test, piece 1, step 2: a key is a MIDI number from 21 to 108, got 20"),
        (changed("test", [[(109,)]]), "from 21 to 108, got 109"),
        (changed("test", [[(10**300,)]]), "from 21 to 108, got int"),
        (changed("test", [[("60",)]]), "from 21 to 108, got str"),
        (changed("test", [[[60] * 89]]), "test, piece 1, step 1: needs 0 to 88 items, got 89"),
        (json.dumps({**PIECES, "test": [[[60.0]]]}).encode(), "from 21 to 108, got float"),
        (json.dumps({**PIECES, "test": [[[True]]]}).encode(), "from 21 to 108, got bool"),
        (b'{"train": ', "it is no JSON: JSONDecodeError"),
        (b'{"train": ' + b"[" * 100_000, "it is no JSON: RecursionError"),
    ],
)
def test_other_layouts_are_refused(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"chorales\.pickle is no file of chorales: ") as refused:
        published.read(kept(tmp_path, data))
    assert said in str(refused.value)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = [(60,)] * 1000
    often = pickle.dumps({**PIECES, "train": [piece] * 1000})  # a few kilobytes: each piece is the same list
    assert len(often) < 20_000
    with pytest.raises(ValueError, match="train, piece 501: with it there are more than 500000 steps in all"):
        published.read(kept(tmp_path, often))
    monkeypatch.setattr(published, "MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="it has more than 1 MiB"):
        published.read(kept(tmp_path, b"x" * ((1 << 20) + 1)))
    with pytest.raises(ValueError, match=r"nothing cannot be read: No such file"):
        published.read(tmp_path / "nothing")


# The command


def test_the_split_is_that_of_the_file_and_the_settings_are_its_own(tmp_path: Path) -> None:
    found = corpus(kept(tmp_path, pickle.dumps(PIECES)))
    assert [len(part) for part in found.read()] == [2, 1, 1] and found.cells["GRU, v3"] == "gru_v3"
    assert corpus(None).settings == Settings() != found.settings
    assert {name.partition(",")[0] for name in found.published} <= {*found.cells}


@pytest.mark.parametrize("by", [(), ("--torch",)])
def test_the_command_prints_ours_beside_the_paper(by: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in run.NEEDS:
        if name != "music21":
            pytest.importorskip(name)
    if by:
        pytest.importorskip("torch")
    parts = {
        name: [[(np.flatnonzero(step) + LOWEST).tolist() for step in roll] for roll in random_rolls(k, [5, 9, 6])]
        for k, name in enumerate(PIECES)
    }
    path = kept(tmp_path, pickle.dumps(parts))
    assert main(["demo", "--data", str(path), "--epochs", "1", "--no-plot", *by]) == 0
    out = capsys.readouterr().out
    first = [line[:19].strip() for line in out.splitlines()]
    assert "3 chorales to train on, 3 to validate, 3 to test" in out and "table 2" in out
    begin = first.index("tanh RNN")
    assert first[begin : begin + 7] == ["tanh RNN", "GRU", "GRU, v3", "LSTM", "tanh RNN, published", "GRU, published", "LSTM, published"]
    assert [line.split()[-1] for line in out.splitlines()[begin + 4 : begin + 7]] == ["9.10", "8.54", "8.67"]


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--data", str(tmp_path / "absent"), "--no-plot"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("--data: ") and "No such file" in error and "Traceback" not in error


def test_the_figures_of_the_page_are_of_these_settings_and_reach_the_paper() -> None:
    found = json.loads((Path(__file__).parents[2] / "docs" / "data" / "published.json").read_text(encoding="utf-8"))
    assert found["settings"] == {name: value for name, value in SETTINGS._asdict().items() if name != "seed"}
    assert {f"{name}, published": figure for name, figure in found["published"].items()} == FIGURES and found[
        "results"
    ].keys() == CELLS.keys()
    test = {name: np.mean(result["test"]) for name, result in found["results"].items()}
    assert test["tanh RNN"] <= 9.10 and test["LSTM"] <= 8.67 and test["GRU, v3"] <= 8.54 + 0.15
