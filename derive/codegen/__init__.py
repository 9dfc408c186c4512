"""From programs to code: modules of kernels for the CPU and for CUDA devices."""
