"""Surrogate gradients: what is put for the derivative of a spike, which is zero but where the neuron fires.

Each function returns a value and a derivative, for a cell's `functions`; its argument u is what the potential is above the threshold.

>>> from derive import Cell, surrogates
>>> lif = Cell(
...     "v = beta * v_prev + W @ x\\ns = spike(v - 1)",
...     name="lif", output="s", constants={"beta": 0.9}, functions={"spike(u)": surrogates.superspike(100)},
... )

A survey of what they are for: Neftci, Mostafa, Zenke 2019, IEEE Signal Processing Magazine 36(6):51-63, arXiv:1901.09948.
"""

from __future__ import annotations

import math

Pair = tuple[str, str]
SPIKE = "step(u)"


def superspike(slope: float = 100.0) -> Pair:
    """Return a spike with the derivative of a fast sigmoid, 1 / (1 + slope |u|)².

    Zenke, Ganguli 2018, SuperSpike, Neural Computation 30(6):1514-1541, arXiv:1705.11146, equation 3.2 there; `norse.SuperSpike`,
    and snnTorch's `fast_sigmoid`.
    """
    return SPIKE, f"1 / (1 + {_positive('slope', slope)} * abs(u)) ** 2"


def arctan(slope: float = 2.0) -> Pair:
    """Return a spike with the derivative of an arctangent, (slope / 2) / (1 + (π slope u / 2)²).

    Fang, Yu, Chen, Masquelier, Huang, Tian 2021, ICCV, arXiv:2007.05785; `snntorch.surrogate.atan` and SpikingJelly's `ATan`.
    """
    value = _positive("slope", slope)
    return SPIKE, f"{value / 2!r} / (1 + ({math.pi / 2 * value!r} * u) ** 2)"


def triangular(height: float = 0.3, width: float = 1.0) -> Pair:
    """Return a spike with a triangle, height · max(0, 1 - |u| / width).

    Bellec, Salaj, Subramoney, Legenstein, Maass 2018, NeurIPS, arXiv:1803.09574 (LSNN, with a height of 0.3 and u in thresholds).
    """
    return SPIKE, f"{_positive('height', height)} * relu(1 - abs(u / {_positive('width', width)}))"


def gaussian(width: float = 0.5) -> Pair:
    """Return a spike with a normal density, exp(-u² / (2 width²)) / (√(2π) width).

    Yin, Corradi, Bohté 2021, Nature Machine Intelligence 3:905-913, arXiv:2103.12593.
    """
    sigma = _positive("width", width)
    return SPIKE, _bell(1 / (math.sqrt(2 * math.pi) * sigma), 0.0, sigma)


def multi_gaussian(width: float = 0.5, height: float = 0.15, scale: float = 6.0) -> Pair:
    """Return a spike with one normal density less two wider ones beside it, so that what is far off pulls the other way:
    (1 + height) N(u; 0, width²) - height N(u; width, (scale width)²) - height N(u; -width, (scale width)²).

    Yin, Corradi, Bohté 2021, Nature Machine Intelligence 3:905-913, arXiv:2103.12593, equation 6.
    """
    sigma, h, wide = _positive("width", width), _positive("height", height), _positive("scale", scale) * width
    one, two = ((1 + h) / (math.sqrt(2 * math.pi) * sigma), h / (math.sqrt(2 * math.pi) * wide))
    return SPIKE, f"{_bell(one, 0.0, sigma)} - {_bell(two, sigma, wide)} - {_bell(two, -sigma, wide)}"


def sigmoid(slope: float = 4.0) -> Pair:
    """Return a spike with the derivative of a sigmoid, slope σ(slope u) (1 - σ(slope u)).

    Zenke, Vogels 2021, Neural Computation 33(4):899-925; SpikingJelly's `Sigmoid`, snnTorch's `sigmoid`.
    """
    value = _positive("slope", slope)
    return SPIKE, f"{value} * sigmoid({value} * u) * (1 - sigmoid({value} * u))"


def straight_through(width: float = 0.5) -> Pair:
    """Return a spike with a derivative of 1 where |u| < width, and 0 elsewhere.

    Bengio, Léonard, Courville 2013, arXiv:1308.3432; Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016, NeurIPS, arXiv:1602.02830.
    """
    return SPIKE, f"where(abs(u) < {_positive('width', width)}, 1, 0)"


def _bell(height: float, middle: float, width: float) -> str:
    return f"{height!r} * exp(-{1 / (2 * width**2)!r} * (u - {middle!r}) ** 2)".replace("- -", "+ ").replace("(u - 0.0)", "u")


def _positive(name: str, value: float) -> float:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return float(value)


__all__ = ["arctan", "gaussian", "multi_gaussian", "sigmoid", "straight_through", "superspike", "triangular"]
