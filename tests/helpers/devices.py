"""Cells of the literature by what kernels for CUDA devices do with them."""

from derive.calculus.jacobian import a_matrix
from derive.calculus.lower import lower
from derive.cells import REGISTRY

MATRICES = tuple(name for name, cell in REGISTRY.items() if cell.heads or a_matrix(lower(cell)))
VECTORS = tuple(name for name in REGISTRY if name not in MATRICES)
