"""Passes over a derivation, one a module; `derive.pipeline` is the ordered list."""
