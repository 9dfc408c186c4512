"""The demo by PyTorch: what it computes is what the kernels alone compute, by one process or by two, at once or resumed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ordinary
from helpers import workers
from helpers.rolls import random_rolls, random_split

from derive.__main__ import main
from derive.demo import checkpoint, comparison, data, pytorch, train
from derive.demo import run as command
from derive.demo.checkpoint import CheckpointError
from derive.demo.processes import Processes
from generated import gru, lstm, rnn

SETTINGS = train.Settings(parameters=3000, batch_size=2, epochs=4)


@pytest.mark.parametrize("cell", [rnn, gru, lstm], ids=["rnn", "gru", "lstm"])
def test_loss_and_gradients_are_those_of_the_kernels(cell: Any) -> None:
    (batch,) = data.batches(random_rolls(3, [4, 9, 6]), 3)
    params = train.init(cell, 7, 0)
    network = pytorch.Network(cell, 7)
    values = [*params.cell, params.readout.W, params.readout.b]
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
    loss, grads = train.gradients(cell, params, batch)
    one = Processes()
    assert pytorch.gradients(network, one.share(batch), one) / batch.steps == pytest.approx(loss, rel=1e-6)
    assert pytorch.evaluate(network, [one.share(batch)], one) == pytest.approx(train.evaluate(cell, params, [batch]), rel=1e-6)
    for parameter, value in zip(network.parameters(), [*grads.cell, grads.readout.W, grads.readout.b], strict=True):
        torch.testing.assert_close(parameter.grad, torch.from_numpy(value), rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss_and_is_the_same_from_run_to_run() -> None:
    settings = SETTINGS._replace(epochs=25)
    first, again = (pytorch.fit(gru, random_split(), settings) for _ in range(2))
    assert first == again
    assert first.train_end < 0.5 * first.epochs[0].train
    assert first.parameters == train.count(train.init(gru, first.n, 0))
    assert first.validation == pytest.approx(min(epoch.validation for epoch in first.epochs), rel=1e-6)


# Several processes


def test_shares_are_the_batch() -> None:
    (batch,) = data.batches(random_rolls(0, [9, 4, 17, 6, 12]), 5)
    for count in (1, 2, 3, 7):
        shares = [Processes(rank, count).share(batch) for rank in range(count)]
        assert {share.steps for share in shares} == {batch.steps} and sum(share.batch.steps for share in shares) == batch.steps
        for share in shares:
            assert share.batch.x.shape[1] >= 1 and (share.batch.mask[-1].any() or share.batch.steps == 0)
        pieces = sorted(float((share.batch.x * share.batch.mask[..., None]).sum()) for share in shares)
        assert sum(pieces) == (batch.x * batch.mask[..., None]).sum()


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    want = workers.all_gradients(Processes())
    got = workers.start("gradients", tmp_path)
    assert got.keys() == want.keys() and len(want) > 30
    for name, value in want.items():
        scale = value.abs().max().item()
        assert scale > 0 and (got[name] - value).abs().max().item() <= 1e-12 * scale, name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Where two processes have trained, and what they found."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, workers.start("training", folder)


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.exhaustive) for k in range(1, 6))])
def test_a_process_that_is_killed_changes_nothing(seed: int, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """All losses are the same, bit for bit: what came before is in the checkpoint, what comes after is computed as it would have been."""
    batches, epochs, cells = 3, workers.SETTINGS.epochs, len(workers.TRAINED)
    draw = random.Random(seed)
    victim, step = draw.randrange(2), draw.randrange(batches, batches * epochs * cells)
    (tmp_path / workers.KILL).write_text(json.dumps([victim, step]))
    assert workers.start_by_torchrun("training", tmp_path) == undisturbed[1]
    assert (tmp_path / workers.LIVES).read_text().split() == ["0", str(step // batches)]


def test_another_number_of_processes_goes_on_from_a_checkpoint(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    folder, found = undisturbed
    fit = pytorch.resumable(workers.SETTINGS, random_split(), Processes(), folder / workers.CHECKPOINT)
    alone = fit(lstm, random_split(), workers.SETTINGS, lambda epoch: None)
    assert [list(epoch) for epoch in alone.epochs] == found["lstm"]["epochs"]
    assert alone.test == pytest.approx(found["lstm"]["test"], rel=1e-6)


# Checkpoints


class Stopped(Exception):
    """What ends a training in the middle."""


def resumed(path: Path, *cells: Any, stop: int = 1000) -> list[train.Result]:
    """Train cells one after the other with a checkpoint, up to an epoch counted over all."""
    fit = pytorch.resumable(SETTINGS, random_split(), Processes(), path)
    told = iter(range(1, 1000))

    def report(epoch: train.Epoch) -> None:
        if next(told) > stop:
            raise Stopped

    return [fit(cell, random_split(), SETTINGS, report) for cell in cells]


@pytest.mark.parametrize("stop", ordinary((0, 2, 4, 5), {0, 4}))
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(stop: int, tmp_path: Path) -> None:
    whole = resumed(tmp_path / "whole.pt", rnn, lstm)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stopped):
        resumed(path, rnn, lstm, stop=stop)
    assert resumed(path, rnn, lstm) == whole
    assert resumed(path, rnn, lstm) == whole, "not the same when there is nothing left to train"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, checkpoint.made_with(SETTINGS, random_split()), {"rnn": pytorch.Descent(rnn, SETTINGS, Processes()).state()})
    return path


def test_a_checkpoint_that_is_not_whole_is_refused(kept: Path) -> None:
    whole = kept.read_bytes()
    this = checkpoint.made_with(SETTINGS, random_split())
    assert checkpoint.read(kept, this)
    damaged = [whole[:length] for length in (0, 1, 2, 30, len(whole) // 2, len(whole) - 1)]
    damaged.append(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    for content in (*damaged, b"a text"):
        kept.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt is no checkpoint of this demo, or not a whole one"):
            checkpoint.read(kept, this)
    torch.save({"weights": torch.ones(2)}, kept)
    with pytest.raises(CheckpointError, match="no checkpoint of this demo"):
        checkpoint.read(kept, this)


def test_a_checkpoint_of_another_training_is_refused(kept: Path) -> None:
    other = SETTINGS._replace(seed=3, learning_rate=0.5)
    with pytest.raises(CheckpointError) as refused:
        checkpoint.read(kept, checkpoint.made_with(other, random_split()))
    said = str(refused.value)
    assert "it has learning_rate 0.02, seed 0, this one learning_rate 0.5, seed 3;" in said and "epochs" not in said and "data" not in said
    fewer = data.Split(*(part[:1] for part in random_split()))
    with pytest.raises(CheckpointError, match=r"it has data \w{16}, this one data \w{16};"):
        checkpoint.read(kept, checkpoint.made_with(SETTINGS, fewer))


def test_a_write_that_fails_leaves_what_was_there(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.read_bytes()

    def half(value: Any, file: Any) -> None:
        file.write(before[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(kept, {}, {})
    assert kept.read_bytes() == before


# The command


@pytest.fixture
def few_chorales(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in command.NEEDS:
        pytest.importorskip(name)
    rolls = {f"piece{k}": roll for k, roll in enumerate(random_rolls(0, [5, 9, 6, 4, 8]))}
    monkeypatch.setattr(comparison, "chorales", lambda progress: rolls)


@pytest.mark.usefixtures("few_chorales")
def test_the_command_prints_the_table_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--torch", "--epochs", "2", "--no-plot", "--checkpoint", str(tmp_path / "demo.pt")]
    assert main(["demo", *words]) == 0
    tables = [capsys.readouterr().out.partition(" s in all")[0].rpartition("\n")[0]]
    assert command.main(words) == 0
    tables.append(capsys.readouterr().out.partition(" s in all")[0].rpartition("\n")[0])
    assert tables[0] == tables[1] and "\ntanh RNN " in tables[0] and "\nLSTM " in tables[0]
    assert command.main([*words, "--seed", "1"]) == 1
    assert "it has seed 0, this one seed 1" in capsys.readouterr().err


@pytest.mark.usefixtures("few_chorales")
def test_unusable_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words, said in (
        (["--checkpoint", "demo.pt"], "--checkpoint: only with --torch"),
        (["--device", "cuda"], "--device: only with --torch"),
        (["--torch", "--device", "cuda"], "PyTorch finds no CUDA device"),
        (["--torch", "--no-plot", "--checkpoint", str(tmp_path / "absent" / "demo.pt")], "--checkpoint: there is no folder"),
    ):
        assert command.main(words) == 1
        assert said in capsys.readouterr().err


def test_the_module_is_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for run in (lambda: main(["demo", "--help"]), lambda: command.main(["--help"])):
        with pytest.raises(SystemExit):
            run()
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "--torch" in said[0]
