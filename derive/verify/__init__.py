"""Proof by numbers: a cell's kernels against witnesses that share as little with them as can be."""
