"""The Jacobian of one step as a cell returns it: its symbolic blocks, their formulas, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .calculus.jacobian import Jacobian, Key

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class StepJacobian(Jacobian):
    """Blocks of derivatives of one step, such as ``jacobian["c", "h_prev"]``, which is ∂c_t/∂h_{t-1}."""

    def text(self) -> str:
        """Return one line a block, such as ``∂c_t/∂c_{t-1} = Diag(f)``."""
        from .notation.jacobian import text_lines

        return "\n".join(text_lines(self).values())

    def latex(self) -> str:
        """Return the lines of `text` in LaTeX."""
        from .notation.jacobian import latex_lines

        return "\n".join(latex_lines(self).values())

    def evaluate(self, values: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> dict[Key, np.ndarray]:
        """Return the value of each block, `(B, n, n')`: see `derive.verify.jacobian.block_values`.

        Raises
        ------
        ValueError
            If a value is missing.
        """
        from .verify.jacobian import block_values

        return block_values(self, values, sizes)
