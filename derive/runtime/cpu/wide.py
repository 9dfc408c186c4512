"""How wide the vectors of loops are: as wide as a register is.

For many processors with registers of 64 bytes, LLVM prefers vectors of 32: whole ones may slow the clock, which a program that has few of
them would pay for all it does. Kernels have them anyway, in every product of matrices.
"""

from __future__ import annotations

from typing import Any

from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import BaseNativeLowering, NativeLowering

from .target import TARGET

ATTRIBUTE = f'"prefer-vector-width"="{8 * TARGET.vector_bytes}"'


class _Lower(Lower):
    """Numba's way from a function to LLVM's language."""

    def setup_function(self, fndesc: Any) -> None:
        super().setup_function(fndesc)
        set.add(self.function.attributes, ATTRIBUTE)  # of a processor's own attributes llvmlite knows none, and refuses them


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(BaseNativeLowering):
    _name = "derive_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _Lower


class Wide(CompilerBase):
    """Numba's compiler, but for that."""

    def define_pipelines(self) -> list[PassManager]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(_Lowering if one is NativeLowering else one, text) for one, text in passes.passes]
        passes.finalize()
        return [passes]
