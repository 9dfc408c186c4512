"""What was measured on a device, as JSON and as tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from derive.bench.cuda.clock import Floor
from derive.bench.cuda.device_record import DeviceRecord, DeviceRow, load
from derive.bench.cuda.device_table import aligned, cells_of_row, heads, markdown, remarks
from derive.bench.phases import INFERENCE, TRAINING
from derive.bench.record import Timing
from derive.command import bench

MACHINE = {
    "device": "Some device",
    "multiprocessors": 132,
    "driver": "580.1",
    "processor": "Some processor",
    "versions": {"python": "3.12"},
}
FLOORS = (Floor("forward", 64, 8, 2, 2e-6, 2.5e-6), Floor("backward", 32, 8, 2, 3e-6, 3.5e-6))
LAYER, FAILING = {"torch.nn": Timing(0.006, 0.2, 21)}, {"torch.nn": "failed: E: why"}
ROWS = (
    DeviceRow("lstm", INFERENCE, 16, 1000, 8, 16, 10**8, Timing(0.004, 0.1, 21), LAYER, "bfloat16", FLOORS[:1], {"torch.nn": 0.01}),
    DeviceRow("lstm", TRAINING, 16, 1000, 8, 16, 10**8, Timing(0.02, 0.1, 9), FAILING, "float32", FLOORS, {}),
    DeviceRow("mut1", TRAINING, 16, 1000, 16, 16, 0, Timing(0.02, 0.1, 9), {"eager": Timing(0.3, 0.2, 9)}, "float32", (), {"eager": 0.5}),
)
RECORD = DeviceRecord(MACHINE, 21, ("gru, tf32: failed: no memory",), ROWS)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(RECORD.json(), encoding="utf-8")
    assert load(tmp_path / "bench.json") == RECORD
    found = json.loads(RECORD.json())["rows"]
    assert found[0]["ratios"] == {"torch.nn": 1.5} and found[0]["seconds_a_step"] == pytest.approx(4e-6)
    assert found[1]["floor_a_step"] == pytest.approx(6e-6) and found[1]["peers"] == {"torch.nn": "failed: E: why"}
    assert found[2]["floor_a_step"] is None and found[2]["floors"] == []


@pytest.mark.parametrize("content", [None, "", "[]", '{"machine": {}, "runs": 1, "notes": [], "rows": [{}]}'])
def test_files_that_are_something_else(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    assert bench.main(["--cuda", "--table", str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_lines_of_the_table() -> None:
    peers = RECORD.peers
    assert peers == ("torch.nn", "eager")
    lines = [aligned(heads(peers), peers), *(aligned(cells_of_row(row, peers), peers) for row in RECORD.rows)]
    assert len({len(text) for text in lines}) == 1
    words = [" ".join(text.split()) for text in lines[1:]]
    assert words[0] == "lstm bfloat16 inference 16 1000 8 16 4.000 10% 4.00 2.50 64x8 6.000 1.50 - -"
    assert words[1] == "lstm float32 training 16 1000 8 16 20.00 10% 20.00 6.00 64x8 32x8 failed - - -"
    assert words[2] == "mut1 float32 training 16 1000 16 16 20.00 10% 20.00 - - - - 300.00 15.00"


def test_remarks_say_what_is_missing_and_who_differs() -> None:
    note, gap, apart = remarks(RECORD)
    assert note == RECORD.notes[0] and gap == "torch.nn: failed: E: why"
    assert apart == "mut1, float32, 16, 1000, 16, 16: the results of eager differ from ours by 0.5 of their norm"


def test_table_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.json").write_text(RECORD.json(), encoding="utf-8")
    assert bench.main(["--table", str(tmp_path / "bench.json"), "--cuda"]) == 0
    out = capsys.readouterr().out
    assert out == markdown(RECORD) + "\n" and "Some device, 132 multiprocessors, driver 580.1" in out
    assert "| lstm | bfloat16 | inference | 16 | 1000 | 8 | 16 | 4.000 | 10% | 4.00 | 2.50 | 64x8 | 6.000 | 1.50 | - | - |\n" in out


def test_the_page_has_the_table_of_the_file() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "benchmarks.md").read_text(encoding="utf-8")
    between = page.partition("--table docs/benchmarks-cuda.json` prints -->\n")[2].partition("<!-- /DERIVE-BENCH-CUDA -->")[0]
    assert between.strip() == markdown(load(docs / "benchmarks-cuda.json"))


def test_what_the_page_on_devices_says_of_speed() -> None:
    docs = Path(__file__).parents[2] / "docs"
    rows = json.loads((docs / "benchmarks-cuda.json").read_text(encoding="utf-8"))["rows"]
    page = (docs / "cuda.md").read_text(encoding="utf-8")

    def ratios(peer: str, *words: str) -> list[float]:
        return [row["ratios"][peer] for row in rows if peer in row["ratios"] and {*words} <= {row["kind"], row["phase"]}]

    half, (there, back) = ratios("torch.nn", "bfloat16"), (ratios("torch.nn", "float16", phase) for phase in ("inference", "training"))
    eager, compiled, (single,) = ratios("eager"), ratios("compile"), ratios("torch.nn", "float32", "training")
    for said in (
        f"{min(half):.1f} to {max(half):.1f} times as fast in bfloat16",
        f"{min(there):.2f} to {max(there):.2f} times in inference",
        f"{min(back):.2f} (LSTM, hidden size 768) to {max(back):.1f} times (GRU, 64) in training",
        f"{min(eager):.0f} to {max(eager):.0f} times as fast as its equations",
        f"{min(compiled):.0f} to {max(compiled):.0f} times as fast as `torch.compile`",
        f"training takes {1 / single:.2f} times cuDNN's time",
    ):
        assert said in page


def test_what_the_page_says_of_how_results_differ() -> None:
    docs = Path(__file__).parents[2] / "docs"
    rows = json.loads((docs / "benchmarks-cuda.json").read_text(encoding="utf-8"))["rows"]
    page = " ".join((docs / "benchmarks.md").read_text(encoding="utf-8").split())
    most = {
        kind: f"{max(row['disagreements']['torch.nn'] for row in rows if row['kind'] == kind and 'torch.nn' in row['disagreements']):.0e}"
        for kind in ("float32", "float16", "bfloat16")
    }
    single, half, short = (said.replace("e-0", "e-") for said in most.values())
    assert f"differ from ours by {single} of their norm in float32, {half} in float16 and {short} in bfloat16" in page


def test_the_page_says_how_far_the_estimates_are_from_times() -> None:
    docs = Path(__file__).parents[2] / "docs"
    rows = json.loads((docs / "benchmarks-cuda.json").read_text(encoding="utf-8"))["rows"]
    longer = [floor["seconds"] / floor["estimate"] for row in rows for floor in row["floors"]]
    assert f"steps take {min(longer):.1f} to {max(longer):.1f} times as long" in (docs / "cuda.md").read_text(encoding="utf-8")
