"""The passes of one step: tensors have no axis for steps, and there is no output beside the states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .passes import Arrays, Maybe, Passes


@dataclass(frozen=True)
class StepPasses(Passes):
    """A layer that runs one step, of inputs `(B, ·)`.

    Its tensors come and go as they are: a view of one, with an axis for steps, takes PyTorch as long to make as the step itself takes, and
    to autograd it is a function of its own. Arrays are seen with that axis in here.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "results", self.results - 1)

    @property
    def over_time(self) -> Passes:
        """The same over inputs `(1, B, ·)`, with an output."""
        return Passes(self.module, starts=self.starts)

    def timed(self, values: Arrays) -> Arrays:
        """Return values, or given ones alone, with an axis for steps."""
        return [value if value is None or k >= len(self.module.LAYER.inputs) else value[None] for k, value in enumerate(values)]

    @property
    def axes_of_values(self) -> list[int | None]:
        return [0 if axis == 1 else axis for axis in super().axes_of_values]

    @property
    def axes_of_results(self) -> list[int]:
        return super().axes_of_results[1:]

    def infer_packed(self, packed: Any, given: Arrays, state: Arrays) -> list[Maybe]:
        return super().infer_packed(packed, self.timed(given), state)

    def _arguments(self, values: Arrays) -> tuple[Any, Any, Any]:
        return super()._arguments(self.timed(values))

    def _results(self, y: Maybe, final: Any) -> list[Maybe]:
        return super()._results(y, final)[1:]

    def _cotangents(self, cotangents: Arrays, values: Arrays) -> tuple[Maybe, Any]:
        return super()._cotangents((None, *cotangents), values)

    def _grads(self, values: Arrays) -> Any:
        return super()._grads(self.timed(values))

    def _flat(self, grads: Any) -> list[Maybe]:
        found = super()._flat(grads)
        return [value if value is None or k >= len(self.module.LAYER.inputs) else value[0] for k, value in enumerate(found)]
