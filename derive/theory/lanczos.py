"""The largest eigenvalue of a symmetric matrix, of which only products with vectors are known.

Lanczos 1950, Journal of Research of the National Bureau of Standards 45(4):255-282; every new direction is made orthogonal to all earlier
ones, twice, as rounding would bring them back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def largest(product: Callable[[Array], Array], start: Array, tolerance: float = 1e-4, most: int = 200) -> tuple[float, Array]:
    """Return the largest eigenvalue of a symmetric matrix, and its eigenvector of norm 1.

    Parameters
    ----------
    product : function
        The matrix times a vector.
    start : array (n,)
        Not orthogonal to the eigenvector, nor an eigenvector itself: a random vector is neither.
    tolerance : float
        Of ‖A q - λ q‖, relative to |λ|.  The relative error of λ is about its square.
    most : int
        Products that may be taken.

    Raises
    ------
    ArithmeticError
        If `most` products were not enough.
    """
    basis = start[None] / np.linalg.norm(start)
    tridiagonal = np.zeros((most + 1, most + 1))
    for k in range(most):
        image = product(basis[k])
        tridiagonal[k, k] = basis[k] @ image
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        values, vectors = np.linalg.eigh(tridiagonal[: k + 1, : k + 1])
        left = float(np.linalg.norm(image))
        if left * abs(vectors[k, -1]) <= tolerance * abs(values[-1]):
            return float(values[-1]), vectors[:, -1] @ basis
        tridiagonal[k, k + 1] = tridiagonal[k + 1, k] = left
        basis = np.concatenate([basis, image[None] / left])
    raise ArithmeticError(f"the largest eigenvalue is not known to a relative {tolerance:g} after {most} products")
