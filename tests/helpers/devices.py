"""The cells of the literature that have kernels for CUDA devices."""

from derive.cells import REGISTRY
from derive.codegen.cuda.refused import no_kernels

ON_DEVICES = tuple(name for name, cell in REGISTRY.items() if not no_kernels(cell))
