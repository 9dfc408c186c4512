"""Runtime of the kernels for the CPU."""
