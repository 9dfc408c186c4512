"""The cells of the literature that have kernels for CUDA devices."""

from derive.cells import REGISTRY

ON_DEVICES = tuple(REGISTRY)
