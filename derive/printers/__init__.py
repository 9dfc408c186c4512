"""Printers: Numba code for the CPU, LaTeX, plain text."""
