"""Code for CUDA devices: `numba.cuda` kernels, and host functions that launch them."""
