"""Runtime of the kernels for NVIDIA GPUs."""
