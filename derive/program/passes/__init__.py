"""Passes over a derivation, one a module; `derive.program.pipeline` is the ordered list."""
