"""Code for the CPU: Numba kernels, and host functions on NumPy."""
