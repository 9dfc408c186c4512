"""The gradient through a linear recurrence, s_t = U s_{t-1}: eigenvalues in the long run, singular values in one step.

(Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, section 2.1 and its supplement, for the linear case.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plotting import BLUE, GREEN, RED
from .appearance import INK, Data, below, powers

STEPS, SIZE, SEED = 60, 8, 0
RADII = (0.8, 1.0, 1.2)
SHEAR = ((0.9, 2.0), (0.0, 0.9))  # eigenvalues 0.9 twice, one eigenvector


def symmetric(radius: float, size: int = SIZE, seed: int = SEED) -> NDArray[np.float64]:
    """Return U = Q Λ Qᵀ: a random orthogonal Q, eigenvalues evenly spaced between -0.9 and 1 times `radius`."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return (q * (radius * np.linspace(-0.9, 1.0, size))) @ q.T


def norms_back(u: NDArray[np.float64], v: NDArray[np.float64], steps: int) -> list[float]:
    """Return the norm of (Uᵀ)^k v for k = 0 … steps."""
    found = []
    for _ in range(steps + 1):
        found.append(float(np.linalg.norm(v)))
        v = u.T @ v
    return found


def product_norms(u: NDArray[np.float64], steps: int) -> list[float]:
    """Return the largest singular value of U^k for k = 0 … steps: by how much k steps can stretch a gradient."""
    return [float(np.linalg.norm(np.linalg.matrix_power(u, k), 2)) for k in range(steps + 1)]


def measure() -> Data:
    """Return norms over distance for symmetric U, and for one U that is not normal."""
    v = np.random.default_rng(SEED + 1).standard_normal(SIZE)
    v /= np.linalg.norm(v)
    u = np.array(SHEAR)
    return {
        "steps": STEPS,
        "symmetric": {f"{radius:g}": norms_back(symmetric(radius), v, STEPS) for radius in RADII},
        "shear": {
            "matrix": u.tolist(),
            "radius": float(np.abs(np.linalg.eigvals(u)).max()),
            "sigma": float(np.linalg.norm(u, 2)),
            "norms": product_norms(u, STEPS),
        },
    }


def draw(data: Data, figure: Any) -> None:
    """Draw the eigenvalue case beside the one that eigenvalues do not tell."""
    left, right = figure.subplots(1, 2)
    steps = range(data["steps"] + 1)
    for radius, colour in zip(RADII, (BLUE, GREEN, RED), strict=True):
        norms = data["symmetric"][f"{radius:g}"]
        left.plot(steps, norms, color=colour, label=f"largest |λ| = {radius:g}")
        left.plot(steps, [radius**k for k in steps], ":", color=INK, linewidth=1)
    left.plot([], [], ":", color=INK, linewidth=1, label="|λ|ᵏ")
    left.set(title="symmetric U: the largest |λ| decides", xlabel="steps back, k", ylabel="norm of the gradient")
    powers(left.yaxis, -8, 6, 2)
    below(left, 2)
    shear = data["shear"]
    right.plot(steps, shear["norms"], color=BLUE, label="largest singular value of Uᵏ")
    right.plot(steps, [shear["radius"] ** k for k in steps], ":", color=INK, linewidth=1.2, label="|λ|ᵏ")
    right.plot(steps, [shear["sigma"] ** k for k in steps], "--", color=INK, linewidth=1.2, label="σᵏ of U")
    right.set(title="not normal: growth before decay", xlabel="steps back, k", ylabel="largest stretch")
    powers(right.yaxis, -3, 3, 1)
    below(right, 2)
