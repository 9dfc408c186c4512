"""A block's part of a product by tensor cores: weights in registers, operands in shared memory.

The layout of fragments is that of the PTX manual for ``mma.m16n8k16`` and ``m16n8k8``.  The first factor has 16 rows: columns of the
product, or, where the part is turned, sequences.
"""

from __future__ import annotations

from typing import Any

from .plan import WARP, Part, Plan

STRETCH = 32  # instructions of the tensor cores in one loop: the compiler must unroll it, or weights are no registers


def tensor(on: Any, plan: Plan, part: Part) -> tuple[Any, Any]:
    """Return ``load`` and ``multiply`` by tensor cores: a warp has tiles of columns and a slice of the sum, for all rows."""
    cuda, real = on.cuda, on.real
    slices, jobs, warps = part.slices, -(-part.columns // part.tile_columns), plan.threads // WARP
    across, each, span, steps = part.across, part.each, part.span, -(-part.width // on.depth)
    blocks, accumulators = plan.rows // part.tile_rows, part.each * (plan.rows // part.tile_rows) * 4
    fragments, registers = each * span, part.registers
    add_tiles, keep = (_turned if part.turned else _upright)(on, plan, part)
    length = max(STRETCH // (blocks * each * (4 if part.turned else 1)), 1)
    stretches = [(first, min(first + length, span)) for first in range(0, span, length)]
    add_all = _stretches(on, add_tiles, stretches, span, steps, span * slices > steps, blocks)

    @on.device
    def load(packed, weights, member):  # type: ignore[no-untyped-def]
        lane, warp = cuda.threadIdx.x & 31, (cuda.threadIdx.x & 1023) >> 5
        for f in range(fragments):
            at = (((member * warps + warp) * fragments + f) * registers) * WARP + lane
            weights[registers * f] = packed[at]
            weights[registers * f + 1] = packed[at + WARP]
            if registers == 4:
                weights[registers * f + 2] = packed[at + 2 * WARP]
                weights[registers * f + 3] = packed[at + 3 * WARP]

    @on.device
    def multiply(weights):  # type: ignore[no-untyped-def]
        sums = cuda.local.array(accumulators, real)
        lane, warp = cuda.threadIdx.x & 31, (cuda.threadIdx.x & 1023) >> 5
        piece = warp // across
        if piece < slices:
            for i in range(accumulators):
                sums[i] = real(0.0)
            add_all(weights, sums, piece, lane)
            for m in range(each):
                if warp % across + m * across < jobs:
                    for n in range(blocks):
                        keep(sums, piece, warp % across + m * across, 4 * (m * blocks + n), n, lane)

    return load, multiply


def _stretches(on: Any, add_tiles: Any, stretches: list[tuple[int, int]], span: int, steps: int, ragged: bool, blocks: int) -> Any:
    """Return what adds all steps of a slice, one stretch after the other.

    Between them the compiler cannot move what it reads: else it reads so far ahead that registers do not suffice.
    """
    cuda, (first, last) = on.cuda, stretches[0]

    @on.device
    def add(weights, sums, piece, lane):  # type: ignore[no-untyped-def]
        for k in range(first, last):
            step = piece * span + k
            if ragged:
                step = min(step, steps - 1)  # beyond the last, weights are zero
            for n in range(blocks):
                add_tiles(weights, sums, step, k, n, lane)
        cuda.syncwarp()

    if len(stretches) == 1:
        return add
    rest = _stretches(on, add_tiles, stretches[1:], span, steps, ragged, blocks)

    @on.device
    def add_all(weights, sums, piece, lane):  # type: ignore[no-untyped-def]
        add(weights, sums, piece, lane)
        rest(weights, sums, piece, lane)

    return add_all


def _upright(on: Any, plan: Plan, part: Part) -> tuple[Any, Any]:
    """Return what multiplies and stores where weights are the first factor: 16 columns, 8 sequences."""
    cuda, real, word, mma = on.cuda, on.real, on.word, on.mma
    each, span, blocks, rows = part.each, part.span, plan.rows // 8, plan.rows
    tile_at, pitch, sums_at, sums_pitch = part.tile, part.pitch, part.partial, part.partial_pitch

    @on.device
    def add_tiles(weights, sums, step, k, n, lane):  # type: ignore[no-untyped-def]
        at = tile_at + (n * 8 + lane // 4) * pitch + step * 8 + lane % 4
        operand = cuda.shared.array(0, word, 16)
        low, high = operand[at], operand[at + 4]
        for m in range(each):
            w, s = 4 * (m * span + k), 4 * (m * blocks + n)
            sums[s], sums[s + 1], sums[s + 2], sums[s + 3] = mma(
                weights[w], weights[w + 1], weights[w + 2], weights[w + 3], low, high, sums[s], sums[s + 1], sums[s + 2], sums[s + 3]
            )

    @on.device
    def keep(sums, piece, tile, s, n, lane):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, real, 16)
        at = sums_at + (piece * rows + n * 8 + lane % 4 * 2) * sums_pitch + tile * 16 + lane // 4
        memory[at] = sums[s]
        memory[at + sums_pitch] = sums[s + 1]
        memory[at + 8] = sums[s + 2]
        memory[at + sums_pitch + 8] = sums[s + 3]

    return add_tiles, keep


def _turned(on: Any, plan: Plan, part: Part) -> tuple[Any, Any]:
    """Return what multiplies and stores where weights are the second factor: 8 columns, 16 sequences."""
    cuda, real, word, mma = on.cuda, on.real, on.word, on.mma
    each, span, blocks, rows = part.each, part.span, plan.rows // 16, plan.rows
    tile_at, pitch, sums_at, sums_pitch = part.tile, part.pitch, part.partial, part.partial_pitch

    @on.device
    def add_tiles(weights, sums, step, k, n, lane):  # type: ignore[no-untyped-def]
        at = tile_at + (n * 16 + lane // 4) * pitch + step * 8 + lane % 4
        operand = cuda.shared.array(0, word, 16)
        a0, a1, a2, a3 = operand[at], operand[at + 8 * pitch], operand[at + 4], operand[at + 8 * pitch + 4]
        for m in range(each):
            w, s = 2 * (m * span + k), 4 * (m * blocks + n)
            sums[s], sums[s + 1], sums[s + 2], sums[s + 3] = mma(
                a0, a1, a2, a3, weights[w], weights[w + 1], sums[s], sums[s + 1], sums[s + 2], sums[s + 3]
            )

    @on.device
    def keep(sums, piece, tile, s, n, lane):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, real, 16)
        at = sums_at + (piece * rows + n * 16 + lane // 4) * sums_pitch + tile * 8 + lane % 4 * 2
        memory[at] = sums[s]
        memory[at + 1] = sums[s + 1]
        memory[at + 8 * sums_pitch] = sums[s + 2]
        memory[at + 8 * sums_pitch + 1] = sums[s + 3]

    return add_tiles, keep


def weight_word(on: Any, part: Part) -> Any:
    """Return the function that reads a register of a fragment of the weights: two numbers of 16 bits, or one."""
    word, ptx = on.word, on.ptx
    columns, unit, stride, width, depth = part.columns, part.unit, part.stride, part.width, on.depth

    @on.device
    def pair_of(matrix, member, c, k, pair, half):  # type: ignore[no-untyped-def]
        column = c // unit * stride + member * unit + c % unit
        at = k * depth + 2 * pair + 8 * half
        if c < columns and at + 1 < width:
            return word(word(matrix[column, at]) | word(matrix[column, at + 1]) << word(16))
        if c < columns and at < width:
            return word(matrix[column, at])
        return word(0)

    @on.device
    def single(matrix, member, c, k, pair, half):  # type: ignore[no-untyped-def]
        at = k * depth + pair + 4 * half
        if c < columns and at < width:
            return ptx.round_tf32(matrix[c // unit * stride + member * unit + c % unit, at])
        return word(0)

    return single if on.kind.product == "tf32" else pair_of
