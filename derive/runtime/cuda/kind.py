"""How numbers are kept and computed with."""

from __future__ import annotations

from dataclasses import dataclass

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Kind:
    """How numbers are kept and computed with.

    Attributes
    ----------
    name : str
    stored : str
        The dtype of what is given, handed out and kept.
    real : str
        The dtype that is computed with.
    product : str
        How a product inside a kernel multiplies: ``fma`` in the dtype of `real`, or ``bf16``, ``f16``, ``tf32`` by tensor cores.
    """

    name: str
    stored: str
    real: str
    product: str

    @property
    def narrow(self) -> bool:
        """Whether numbers are kept in 16 bits."""
        return self.stored != self.real


KINDS = {
    kind.name: kind
    for kind in (
        Kind("float64", "float64", "float64", "fma"),
        Kind("float32", "float32", "float32", "fma"),
        Kind("tf32", "float32", "float32", "tf32"),
        Kind("bfloat16", "bfloat16", "float32", "bf16"),
        Kind("float16", "float16", "float32", "f16"),
    )
}
