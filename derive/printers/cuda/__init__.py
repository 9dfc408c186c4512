"""Printers of code for `numba.cuda`."""
