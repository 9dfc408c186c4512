"""The processor that code is compiled for: the one that Numba was told of, by NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or the one at hand.

Numba keeps machine code by the same three words, LLVM's triple, processor and features: what is chosen here by them, and by nothing else,
is never met by code that was chosen otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import binding
from numba.core.registry import cpu_target

# Adds 64 bytes, and multiplies and adds them.
EXAMPLE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)

define void @example(ptr %x, ptr %y) {
    %a = load <16 x float>, ptr %x
    %b = load <16 x float>, ptr %y
    %sum = fadd <16 x float> %a, %b
    %result = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %sum)
    store <16 x float> %result, ptr %x
    ret void
}
"""


@dataclass(frozen=True)
class Target:
    """What kernels ask of a processor.

    Attributes
    ----------
    architecture : str
        The first part of LLVM's triple.
    vector_bytes : int
        Size of a vector register.
    registers : int
        How many of them there are.
    fused : bool
        Whether a multiply-add that is rounded once is an instruction, and not a call of a library.
    """

    architecture: str
    vector_bytes: int
    registers: int
    fused: bool


def describe(triple: str, cpu: str, features: str) -> Target:
    """Return what LLVM knows of a processor: it alone knows what one has that is not at hand."""
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, codemodel="default")
    assembly = machine.emit_assembly(binding.parse_assembly(f'target triple = "{triple}"{EXAMPLE}'))
    architecture, fused = triple.partition("-")[0], "fmaf" not in assembly
    if "zmm" in assembly:
        return Target(architecture, 64, 32, fused)
    if "ymm" in assembly:
        return Target(architecture, 32, 16, fused)
    return Target(architecture, 16, 16 if is_x86(architecture) else 32, fused)


def is_x86(architecture: str) -> bool:
    return architecture in ("x86_64", "i386", "i686")


def is_arm(architecture: str) -> bool:
    """Say whether it is one of 64 bits."""
    return architecture in ("aarch64", "arm64")


TARGET = describe(*cpu_target.target_context.codegen().magic_tuple())
