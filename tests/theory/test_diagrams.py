"""The diagrams of how inputs and outputs lie along a sequence: what is drawn is what the page says of each."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from derive.plotting import RED
from derive.theory.diagrams import PATTERNS, UNROLLED, pattern

PAGE = Path(__file__).parents[2] / "docs" / "theory" / "recurrence.md"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", PATTERNS)
def test_an_arrangement_has_a_loss_for_each_output_and_gradients_of_them_all(name: str) -> None:
    root, drawn = ElementTree.fromstring(pattern(name)), PATTERNS[name]
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    for letter, has in {"s": [1] * len(drawn.outputs), "x": drawn.inputs, "o": drawn.outputs, "L": drawn.outputs}.items():
        assert [text for text in texts if text[0] == letter] == [f"{letter}{t}" for t, there in enumerate(has, 1) if there]
    lines = [line.get("stroke") for line in root.iter(f"{SVG}line")]
    between = len(drawn.outputs) - 1
    assert lines.count(RED) == between + 2 * sum(drawn.outputs)  # back along the states, and from each loss to its state
    assert lines.count("currentColor") == lines.count(RED) + sum(drawn.inputs)
    assert drawn.outputs[-1] == 1  # or the last states would have no gradient, and the arrows between them be wrong


def test_each_arrangement_has_its_picture_and_its_caption() -> None:
    shown = re.findall(r"^!\[([^]]+)\]\(\.\./figures/([\w-]+)\.svg\)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for _, name in shown if name in PATTERNS] == list(PATTERNS) and set(PATTERNS) < set(UNROLLED)
    captions = [caption for caption, _ in shown]
    assert len(captions) == len(set(captions))
