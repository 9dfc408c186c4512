"""The demo: how scores become batches, and that training with generated kernels learns."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from helpers.rolls import random_rolls

from derive.__main__ import main
from derive.demo import data, train
from generated import gru, lstm, rnn


def test_piano_roll_samples_the_score_at_quarters():
    music21 = pytest.importorskip("music21")
    melody, chords = music21.stream.Part(), music21.stream.Part()
    melody.insert(0, music21.note.Note(60, quarterLength=1))
    melody.insert(1, music21.note.Note(62, quarterLength=0.5))
    melody.insert(1.5, music21.note.Note(64, quarterLength=0.5))  # between two quarters: not seen
    melody.insert(2, music21.note.Rest(quarterLength=1))
    melody.insert(3, music21.note.Note(12, quarterLength=1))  # below the piano
    chords.insert(0.5, music21.chord.Chord([21, 108], quarterLength=2))  # the lowest and the highest key, heard at 1 and 2
    roll = data.piano_roll(music21.stream.Score([melody, chords]))
    assert roll.shape == (4, 88) and roll.dtype == np.bool_
    assert [tuple(np.flatnonzero(step) + data.LOWEST) for step in roll] == [(60,), (21, 62, 108), (21, 108), ()]


def test_rolls_survive_the_cache_and_repeats_are_dropped(tmp_path):
    a, b = random_rolls(0, [5, 9])
    b[0, 3] ^= True
    path = tmp_path / "new" / "rolls.npz"
    data.save(path, {"b": b, "a": a})
    loaded = data.load(path)
    assert list(loaded) == ["b", "a"] and [p.name for p in path.parent.iterdir()] == ["rolls.npz"]
    np.testing.assert_array_equal(loaded["a"], a)
    np.testing.assert_array_equal(loaded["b"], b)
    assert list(data.without_repeats({"z": a, "b": b, "a": a})) == ["a", "b"]


def test_split_is_fixed_disjoint_and_whole():
    rolls = {f"piece{i}": np.full((2, data.KEYS), bool(i % 2)) for i in range(20)}
    first, again = data.split(rolls, 0), data.split(dict(reversed(rolls.items())), 0)
    assert [len(part) for part in first] == [12, 4, 4]
    identities = [id(roll) for part in first for roll in part]
    assert sorted(identities) == sorted(map(id, rolls.values()))
    assert identities == [id(roll) for part in again for roll in part]
    assert identities != [id(roll) for part in data.split(rolls, 1) for roll in part]


def test_batches_predict_the_next_step_and_mask_the_padding():
    short, long = random_rolls(1, [3, 6])
    (batch,) = data.batches([long, short, long[:1]], 4)
    assert batch.x.shape == batch.target.shape == (5, 2, 88) and batch.mask.shape == (5, 2)
    assert batch.x.dtype == batch.target.dtype == batch.mask.dtype == np.float32
    assert batch.steps == 7
    for b, roll in enumerate([short, long]):
        t = len(roll) - 1
        np.testing.assert_array_equal(batch.x[:t, b], roll[:-1])
        np.testing.assert_array_equal(batch.target[:t, b], roll[1:])
        np.testing.assert_array_equal(batch.mask[:, b], [1] * t + [0] * (5 - t))
        assert not batch.target[t:, b].any()


@pytest.mark.parametrize("cell", [rnn, gru, lstm], ids=["rnn", "gru", "lstm"])
def test_training_lowers_the_loss(cell):
    split = data.Split(random_rolls(0, [9, 12, 17, 8]), random_rolls(1, [10]), random_rolls(2, [11]))
    settings = train.Settings(parameters=3000, batch_size=2, epochs=25)
    result = train.fit(cell, split, settings)
    assert abs(result.parameters - 3000) <= 300
    assert len(result.epochs) == 25
    assert result.train_end < 0.5 * result.epochs[0].train
    assert result.validation == min(e.validation for e in result.epochs) == result.epochs[result.best_epoch - 1].validation
    assert train.fit(cell, split, settings) == result, "not the same from run to run"


def test_padding_changes_neither_loss_nor_gradient():
    short, long = random_rolls(3, [4, 9])
    params = train.init(gru, 7, 0)
    (together,) = data.batches([short, long], 2)
    parts = [(batch.steps, *train.gradients(gru, params, batch)) for batch in data.batches([short, long], 1)]
    loss, grads = train.gradients(gru, params, together)
    assert loss == pytest.approx(sum(n * part for n, part, _ in parts) / together.steps, rel=1e-5)
    whole, *separate = (np.concatenate([leaf.ravel() for leaf in train.tree_leaves(g)]) for g in (grads, *(g for _, _, g in parts)))
    expected = sum(n * g for (n, _, _), g in zip(parts, separate, strict=True)) / together.steps
    assert np.linalg.norm(whole - expected) <= 1e-5 * np.linalg.norm(expected)


def test_missing_extra_is_named(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "tqdm" else find_spec(name, *rest))
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert "needs tqdm:" in error and "derive-rnn[demo]" in error


def test_unusable_options_are_refused(tmp_path, capsys):
    for name in ("music21", "tqdm", "matplotlib"):
        pytest.importorskip(name)
    assert main(["demo", "--out", str(tmp_path / "absent" / "demo.png")]) == 1
    assert "no folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["demo", "--epochs", "0"])
