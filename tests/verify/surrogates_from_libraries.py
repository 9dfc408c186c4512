"""What snnTorch and SpikingJelly make of their surrogates, written to `data/surrogates.npz`: run this file.

Made with snnTorch 1.0.0, SpikingJelly 2.0.0 and PyTorch 2.13.0, in float64. Neither is needed by the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

POINTS = np.concatenate([np.linspace(-3, 3, 61), [1e-3, -1e-3, 0.49, 0.51, 1e-9]])


def slopes(spike: Callable[[Any], Any]) -> np.ndarray:
    """Return a row of spikes and one of what stands for their derivatives."""
    u = torch.tensor(POINTS, requires_grad=True)
    value = spike(u)
    (slope,) = torch.autograd.grad(value.sum(), u)
    return np.stack([value.detach().numpy(), slope.numpy()])


def main() -> None:
    """Write the vectors."""
    import snntorch.surrogate as snn
    from spikingjelly.activation_based import surrogate as jelly

    found = {
        "superspike/25/snntorch": slopes(snn.fast_sigmoid(slope=25)),
        "arctan/2/snntorch": slopes(snn.atan(alpha=2.0)),
        "arctan/3/spikingjelly": slopes(jelly.ATan(alpha=3.0)),
        "sigmoid/25/snntorch": slopes(snn.sigmoid(slope=25)),
        "sigmoid/4/spikingjelly": slopes(jelly.Sigmoid(alpha=4.0)),
        "triangular/1/spikingjelly": slopes(jelly.PiecewiseQuadratic(alpha=1.0)),
        "straight_through/0.5/spikingjelly": slopes(jelly.Rect(alpha=1.0)),
        "gaussian/0.25/spikingjelly": slopes(jelly.Erf(alpha=8**0.5)),
    }
    folder = Path(__file__).parent / "data"
    np.savez_compressed(folder / "surrogates.npz", points=POINTS, **found)


if __name__ == "__main__":
    main()
