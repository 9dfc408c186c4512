"""What the charts of measurements and of experiments have in common."""

from __future__ import annotations

COLOURS = BLUE, RED, GREEN, PINK, YELLOW = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"
"""Okabe and Ito's: told apart by colour-blind readers."""

SAME_BYTES = {"svg.hashsalt": "derive", "svg.fonttype": "none"}
"""Settings of Matplotlib with which the same data give the same SVG, in which text stays text."""
