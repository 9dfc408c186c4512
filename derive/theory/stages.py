"""The figures of the pages on gradients through one cell: its own picture, stage by stage, forward, backward and with gates fixed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..cells import REGISTRY
from ..picture.legend import legend
from ..picture.stage import backward, forward
from ..picture.switches import switched
from ..plotting import RED
from .diagrams import BOX, RISE, STEP, Canvas

LSTM, GRU, DELTANET = REGISTRY["lstm"], REGISTRY["gru"], REGISTRY["deltanet"]
WORDS = ("the", "clouds", "are", "in", "the")


def reading() -> str:
    """Return a network that reads a sentence: one copy of the cell for each word, and the loss of the word after the last one."""
    left, top = 62, 30
    canvas = Canvas(left + STEP * len(WORDS), top + 2 * RISE + 20)
    middle, bottom = top + RISE, top + 2 * RISE
    for t, word in enumerate(WORDS):
        x = left + STEP * t
        canvas.box(x, middle, f"s_{t + 1}", filled=True)
        canvas.text(x, bottom, word)
        canvas.arrow((x, bottom), (x, middle), gap=BOX / 2 + 2)
        if t:
            canvas.arrow((x - STEP, middle - 6), (x, middle - 6))
            canvas.arrow((x, middle + 6), (x - STEP, middle + 6), RED)
    last = left + STEP * (len(WORDS) - 1)
    canvas.box(last, top, "L")
    canvas.text(last - STEP / 2 - 6, top, "“sky”?")
    canvas.arrow((last - 6, middle), (last - 6, top))
    canvas.arrow((last + 6, top), (last + 6, middle), RED)
    return canvas.svg()


STAGES: dict[str, Callable[[], str]] = {
    "lstm-reading": reading,
    "lstm-legend": legend,
    "lstm-forget": partial(forward, LSTM, ["F2"]),
    "lstm-write": partial(forward, LSTM, ["F1", "F3"]),
    "lstm-memory": partial(forward, LSTM, ["F5"]),
    "lstm-output": partial(forward, LSTM, ["F4", "F6"]),
    "lstm-back-h": partial(backward, LSTM, ["h"]),
    "lstm-back-c": partial(backward, LSTM, ["c"]),
    "lstm-back-output": partial(backward, LSTM, ["o"]),
    "lstm-back-write": partial(backward, LSTM, ["i", "g"]),
    "lstm-back-forget": partial(backward, LSTM, ["f"]),
    "lstm-back-memory": partial(backward, LSTM, ["c_prev"]),
    "lstm-back-state": partial(backward, LSTM, ["h_prev", "x"]),
    "lstm-remember": partial(switched, LSTM, {"f": 1, "i": 0}),
    "lstm-overwrite": partial(switched, LSTM, {"f": 0, "i": 1}),
    "lstm-add": partial(switched, LSTM, {"f": 1, "i": 1}),
    "lstm-silent": partial(switched, LSTM, {"o": 0}),
    "gru-back-update": partial(backward, GRU, ["g", "z"]),
    "gru-back-reset": partial(backward, GRU, ["r"]),
    "gru-back-state": partial(backward, GRU, ["h_prev"]),
    "deltanet-write": partial(forward, DELTANET, ["F5"]),
    "deltanet-back-read": partial(backward, DELTANET, ["S", "q"]),
    "deltanet-back-value": partial(backward, DELTANET, ["v", "beta"]),
    "deltanet-back-key": partial(backward, DELTANET, ["k"]),
    "deltanet-back-memory": partial(backward, DELTANET, ["S_prev"]),
}
