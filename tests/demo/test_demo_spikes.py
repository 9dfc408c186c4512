"""The demo with spikes: what a batch asks, and that networks learn it by surrogates and not by the true derivative."""

from __future__ import annotations

import numpy as np
import pytest

from derive.__main__ import main
from derive.demo import spikes
from derive.package import memory

SETTINGS = spikes.Settings(updates=200)


def trained(way: str) -> tuple[object, spikes.Result]:
    cell = memory.compile(spikes.network("adaptive", way))
    return cell, spikes.fit(cell, SETTINGS)


def test_a_batch_asks_for_what_was_shown_when_it_was_to_be_stored():
    settings = spikes.Settings(rate=1.0)
    data = spikes.batch(settings, np.random.default_rng(0), 50)
    assert data.x.shape == (80, 50, 20) and data.x.dtype == np.float32
    groups = data.x.reshape(settings.slots, settings.steps, 50, spikes.GROUPS, settings.inputs)
    assert np.all(groups == groups[:, :1, :, :, :1])  # at this rate, all neurons of a group at all steps of a slot
    slots = groups[:, 0, :, :, 0]
    for b in range(50):
        (store,), (recall,) = (np.flatnonzero(slots[:, b, group]) for group in (spikes.STORE, spikes.RECALL))
        assert store < recall and slots[store, b, data.value[b]] == 1
        shown = slots[:, b, : spikes.VALUES].sum(axis=1)
        assert shown[recall] == 0 and shown.sum() == settings.slots - 1
        np.testing.assert_array_equal(np.flatnonzero(data.asked[:, b]), recall * 10 + np.arange(10))
    assert {*data.value} == {0, 1}


def test_neurons_spike_as_often_as_they_are_told():
    data = spikes.batch(spikes.Settings(rate=0.2), np.random.default_rng(0), 400)
    active = 7 + 1 + 1  # groups: a value in each slot but one, recall in that one, and store
    assert data.x.sum() / (400 * 10 * 5 * active) == pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize("way", ["surrogate", pytest.param("e-prop", marks=pytest.mark.exhaustive)])
def test_it_is_learned_by_surrogates(way):
    cell, result = trained(way)
    assert result.wrong < 0.08 and np.mean(result.losses[-20:]) < 0.3
    assert spikes.fit(cell, SETTINGS) == result, "not the same from run to run"


@pytest.mark.exhaustive
def test_by_the_true_derivative_only_the_readout_learns():
    cell, result = trained("true derivative")
    assert result.wrong > 0.12
    data = spikes.batch(SETTINGS, np.random.default_rng(0), 8)
    _, grads = spikes.gradients(cell, spikes.init(cell, SETTINGS), data)
    assert not grads.W.any() and not grads.V.any() and grads.R.any()


def test_the_loss_is_that_of_the_slots_of_recall():
    cell = memory.compile(spikes.network("adaptive", "surrogate"))
    data = spikes.batch(SETTINGS, np.random.default_rng(0), 8)
    params = spikes.init(cell, SETTINGS)
    loss, grads = spikes.gradients(cell, params._replace(R=0 * params.R), data)
    assert loss == pytest.approx(np.log(2), rel=1e-6)  # with equal logits
    other = data._replace(asked=0 * data.asked)
    other.asked[-1] = 1
    assert spikes.gradients(cell, params, other)[0] != spikes.gradients(cell, params, data)[0]
    np.testing.assert_allclose(grads.b.sum(), 0, atol=1e-6)


@pytest.mark.parametrize("words", [["--torch"], ["--epochs", "2"], ["--data", "file"], ["--checkpoint", "file"]])
def test_options_of_the_other_demo_are_refused(words, capsys):
    assert main(["demo", "--spikes", *words]) == 1
    assert f"{words[0]}: not with --spikes" in capsys.readouterr().err


def test_the_command_prints_a_line_for_each_way(monkeypatch, capsys):
    monkeypatch.setattr(spikes, "fit", lambda cell, settings: spikes.Result([0.5] * 20, settings.seed / 100))
    assert main(["demo", "--spikes", "--seed", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == list(spikes.WAYS) and all(line.endswith("7.0%") for line in lines[1:4])
