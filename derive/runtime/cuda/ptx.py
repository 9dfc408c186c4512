"""Single PTX instructions as functions for `numba.cuda` kernels: tensor cores, narrow formats, release and acquire, copies in flight.

    from . import ptx

    @cuda.jit
    def kernel(counters, out):
        ptx.release_add(counters, 0, 1)
        while ptx.acquire(counters, 0) < 2:
            pass

Importing this module needs numba-cuda. Integer arguments may be of any width and are converted, as are literals; numbers must be float32,
so that nothing is computed in double precision by accident. An element is named by array and index; nothing checks the range, and an
index below 0 does not count from the end. A kernel that Numba's cache is to know again in another process names these functions through
their module, as above: a closure over one of them is different in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core.errors import TypingError
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic

Generator = Callable[[Any, ir.IRBuilder, Any, list[ir.Value]], ir.Value]
Typed = tuple[Any, Generator]

HALF, WORD, LONG = ir.IntType(16), ir.IntType(32), ir.IntType(64)
GLOBAL, SHARED = 1, 3  # LLVM's numbers of the address spaces
MEMORY = "~{memory}"  # what clobbers it: no access of the kernel's own is moved across
F, H, U = types.float32, types.uint16, types.uint32
REGISTER = {F: ir.FloatType(), H: HALF, U: WORD}
CONSTRAINT = {ir.FloatType(): "f", HALF: "h", WORD: "r", LONG: "l"}


def _check(given: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    for number, (have, want) in enumerate(zip(given, wanted, strict=True)):
        fits = isinstance(have, types.Integer) if isinstance(want, types.Integer) else have == want
        if not fits:
            raise TypingError(f"argument {number + 1} must be {want}, got {have}")


def _emit(builder: ir.IRBuilder, text: str, results: list[ir.Type], values: list[ir.Value], clobbers: str = "", pure: bool = False) -> Any:
    """Leave an instruction in the block. One that is not pure stays where it is: the threads of a warp meet in it, or memory changes."""
    result = ir.VoidType() if not results else results[0] if len(results) == 1 else ir.LiteralStructType(results)
    constraints = [f"={CONSTRAINT[kind]}" for kind in results] + [CONSTRAINT[value.type] for value in values] + clobbers.split()
    function = ir.FunctionType(result, [value.type for value in values])
    assembly = ir.InlineAsm(function, text, ",".join(constraints), side_effect=not pure)
    return builder.call(assembly, values, attrs=() if pure else ("convergent",))


def _pure(text: str, result: Any, wanted: tuple[Any, ...], given: tuple[Any, ...]) -> Typed:
    """Type and code of an instruction from registers to a register."""
    _check(given, wanted)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        return _emit(builder, text, [REGISTER[result]], values, pure=True)

    return result(*wanted), generate


def _array(kind: Any, dtype: Any = None, ndim: int = 1) -> Any:
    if not isinstance(kind, types.Array) or kind.ndim != ndim or (dtype is not None and kind.dtype != dtype):
        raise TypingError(f"needs an array of {ndim} dimensions{f' of {dtype}' if dtype else ''}, got {kind}")
    return kind


def _element(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, index: list[ir.Value], space: int) -> ir.Value:
    """The address of an element in its address space: 64 bits in global memory, 32 in shared memory."""
    view = context.make_array(kind)(context, builder, array)
    pointer = cgutils.get_item_pointer(context, builder, kind, view, index)
    near = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, space))
    return builder.ptrtoint(near, LONG if space == GLOBAL else WORD)


# ---- tensor cores ----


def _mma(shape: str, kind: str, given: tuple[Any, ...]) -> Typed:
    wanted = (U,) * 6 + (F,) * 4
    _check(given, wanted)
    text = f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        tile = _emit(builder, text, [REGISTER[F]] * 4, values)
        return context.make_tuple(builder, signature.return_type, [builder.extract_value(tile, k) for k in range(4)])

    return types.UniTuple(F, 4)(*wanted), generate


@intrinsic
def mma_bf16(typing_context: Any, a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> Typed:
    """Return c + a @ b, a warp's 16 × 8 tile over 16 products in bfloat16: four float32 a thread. Registers hold pairs."""
    return _mma("m16n8k16", "bf16", (a0, a1, a2, a3, b0, b1, c0, c1, c2, c3))


@intrinsic
def mma_f16(typing_context: Any, a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> Typed:
    """Return c + a @ b, a warp's 16 × 8 tile over 16 products in float16: four float32 a thread. Registers hold pairs."""
    return _mma("m16n8k16", "f16", (a0, a1, a2, a3, b0, b1, c0, c1, c2, c3))


@intrinsic
def mma_tf32(typing_context: Any, a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any) -> Typed:
    """Return c + a @ b, a warp's 16 × 8 tile over 8 products in TF32: four float32 a thread. Registers hold one number each."""
    return _mma("m16n8k8", "tf32", (a0, a1, a2, a3, b0, b1, c0, c1, c2, c3))


# ---- narrow formats: conversions round to nearest, ties to even unless said otherwise ----


@intrinsic
def pack_bf16(typing_context: Any, low: Any, high: Any) -> Typed:
    """Return two float32 as a pair of bfloat16 in a uint32, the first in the low half."""
    return _pure("cvt.rn.bf16x2.f32 $0, $2, $1;", U, (F, F), (low, high))


@intrinsic
def pack_f16(typing_context: Any, low: Any, high: Any) -> Typed:
    """Return two float32 as a pair of float16 in a uint32, the first in the low half."""
    return _pure("cvt.rn.f16x2.f32 $0, $2, $1;", U, (F, F), (low, high))


@intrinsic
def round_tf32(typing_context: Any, x: Any) -> Typed:
    """Return a float32 rounded to TF32, ties away from zero, as the bits of a float32."""
    return _pure("cvt.rna.tf32.f32 $0, $1;", U, (F,), (x,))


@intrinsic
def widen_bf16(typing_context: Any, bits: Any) -> Typed:
    """Return the bfloat16 of these 16 bits as float32."""
    return _pure("mov.b32 $0, {0, $1};", F, (H,), (bits,))


@intrinsic
def widen_f16(typing_context: Any, bits: Any) -> Typed:
    """Return the float16 of these 16 bits as float32."""
    return _pure("cvt.f32.f16 $0, $1;", F, (H,), (bits,))


@intrinsic
def narrow_bf16(typing_context: Any, x: Any) -> Typed:
    """Return a float32 as the 16 bits of a bfloat16."""
    return _pure("cvt.rn.bf16.f32 $0, $1;", H, (F,), (x,))


@intrinsic
def narrow_f16(typing_context: Any, x: Any) -> Typed:
    """Return a float32 as the 16 bits of a float16."""
    return _pure("cvt.rn.f16.f32 $0, $1;", H, (F,), (x,))


# ---- elementary functions of the hardware ----


@intrinsic
def tanh_fast(typing_context: Any, x: Any) -> Typed:
    """Return tanh(x) with a relative error up to 2^-11: a match for results that are stored in 16 bits."""
    return _pure("tanh.approx.f32 $0, $1;", F, (F,), (x,))


@intrinsic
def exp2_fast(typing_context: Any, x: Any) -> Typed:
    """Return 2^x within 2 ulp; what would be subnormal is 0."""
    return _pure("ex2.approx.ftz.f32 $0, $1;", F, (F,), (x,))


# ---- memory ----


@intrinsic
def release_add(typing_context: Any, counters: Any, index: Any, value: Any) -> Typed:
    """Add to an element of a uint32 array, after everything that this thread wrote, or saw written, for the whole device."""
    _check((index, value), (types.int64, U))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        address = _element(context, builder, signature.args[0], values[0], [values[1]], GLOBAL)
        _emit(builder, "red.release.gpu.global.add.u32 [$0], $1;", [], [address, values[2]], MEMORY)
        return context.get_dummy_value()

    return types.void(_array(counters, U), types.int64, U), generate


@intrinsic
def acquire(typing_context: Any, counters: Any, index: Any) -> Typed:
    """Return an element of a uint32 array, before everything that this thread reads later."""
    _check((index,), (types.int64,))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        address = _element(context, builder, signature.args[0], values[0], [values[1]], GLOBAL)
        return _emit(builder, "ld.acquire.gpu.global.u32 $0, [$1];", [WORD], [address], MEMORY)

    return U(_array(counters, U), types.int64), generate


@intrinsic
def copy_async(typing_context: Any, tile: Any, at: Any, source: Any, offset: Any) -> Typed:
    """Copy four uint32, past the registers and the L1 cache: `source[offset:]` of global to `tile[at:]` of shared memory.

    Both addresses must be multiples of 16 bytes. The copy is there for this thread after `copy_wait`, for the block after the barrier that
    follows it.
    """
    _check((at, offset), (types.int64, types.int64))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        to = _element(context, builder, signature.args[0], values[0], [values[1]], SHARED)
        source = _element(context, builder, signature.args[2], values[2], [values[3]], GLOBAL)
        _emit(builder, "cp.async.cg.shared.global [$0], [$1], 16;", [], [to, source], MEMORY)
        return context.get_dummy_value()

    return types.void(_array(tile, U), types.int64, _array(source, U), types.int64), generate


@intrinsic
def copy_wait(typing_context: Any) -> Typed:
    """Wait for every copy that this thread has begun."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        _emit(builder, "cp.async.wait_all;", [], [], MEMORY)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Typed:
    """Ask for the cache line of an element of global memory in L2; `index` is an integer, or a tuple of them.

    The element must lie in the array: what the hardware does with an address that is not mapped is not specified.
    """
    parts = tuple(index) if isinstance(index, types.BaseTuple) else (index,)
    _check(parts, (types.int64,) * len(parts))

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        found = cgutils.unpack_tuple(builder, values[1]) if isinstance(index, types.BaseTuple) else [values[1]]
        indices = [context.cast(builder, value, kind, types.int64) for value, kind in zip(found, parts, strict=True)]
        address = _element(context, builder, signature.args[0], values[0], indices, GLOBAL)
        _emit(builder, "prefetch.global.L2 [$0];", [], [address])
        return context.get_dummy_value()

    return types.void(_array(array, ndim=len(parts)), index), generate


@intrinsic
def cooperative(typing_context: Any) -> Typed:
    """Mark the kernel for a cooperative launch: all its blocks run at once, or the launch fails."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        context.active_code_library.use_cooperative = True
        return context.get_dummy_value()

    return types.void(), generate
