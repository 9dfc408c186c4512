"""What a kernel that stays for all steps is written with: tiles of operands, its part of each product, meetings of its members.

A product's weights stay where they are all the time: in registers, laid out as the tensor cores read them, or in shared memory.  The sums
that threads or warps have made of their slices lie in shared memory, and whoever reads a result adds them up.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .kind import Kind
from .plan import LINE, WARP, Part, Plan

STRETCH = 32  # instructions of the tensor cores in one loop: the compiler must unroll it, or weights are no registers


def meetings(on: Any, plan: Plan) -> tuple[Any, Any]:
    """Return ``arrive(arrivals, group)`` and ``wait(arrivals, group, meetings)``: what members wrote before is seen by all after it."""
    cuda, ptx = on.cuda, on.ptx
    members = plan.members

    @on.device
    def alone(*arguments):  # type: ignore[no-untyped-def]
        pass

    @on.device
    def arrive(arrivals, group):  # type: ignore[no-untyped-def]
        ptx.cooperative()  # all blocks must be there
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            ptx.release_add(arrivals, group * LINE, 1)

    @on.device
    def wait(arrivals, group, meetings):  # type: ignore[no-untyped-def]
        if cuda.threadIdx.x == 0:
            while ptx.acquire(arrivals, group * LINE) < meetings * members:
                pass
        cuda.syncthreads()

    return (arrive, wait) if members > 1 else (alone, alone)


def clearing(on: Any, plan: Plan) -> Any:
    """Return ``clear()``: the block's shared memory becomes zero."""
    cuda, word = on.cuda, on.word
    words, threads = plan.shared // 4, plan.threads

    @on.device
    def clear():  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, word, 16)
        for k in range(cuda.threadIdx.x, words, threads):
            memory[k] = word(0)
        cuda.syncthreads()

    return clear


def tile(on: Any, plan: Plan, name: str) -> SimpleNamespace:
    """Return ``fetch(words, row, rows)``, which copies an operand's rows from the device's memory, and ``put(b, k, value)``.

    Operands of TF32 are rounded here, once, and not by every warp that reads them.
    """
    cuda, ptx, word, real = on.cuda, on.ptx, on.word, on.real
    at, pitch, width, start, whole = plan.tiles[name]
    size, stored = on.sizes
    each, line, first, long = width * stored // 16, pitch * size // 4, start * stored // 4, whole * stored // 4
    base, threads, copies = at * size // 4, plan.threads, plan.rows * each
    rounded = on.kind.product == "tf32"

    @on.device
    def fetch(words, row, rows):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, word, 16)
        for k in range(cuda.threadIdx.x & 1023, copies, threads):
            b, piece = k // each, k % each
            if b < rows:
                ptx.copy_async(memory, base + b * line + 4 * piece, words, (row + b) * long + first + 4 * piece)
        ptx.copy_wait()
        if rounded:
            numbers = cuda.shared.array(0, real, 16)
            for k in range(cuda.threadIdx.x & 1023, copies, threads):
                for i in range(4):
                    place = base + k // each * line + 4 * (k % each) + i
                    memory[place] = ptx.round_tf32(numbers[place])

    return SimpleNamespace(fetch=fetch, put=_put(on, at * size // stored, pitch * size // stored))


def _put(on: Any, at: int, pitch: int) -> Any:
    """Return ``put(b, k, value)``: element k of row b of a tile, both in numbers as they are stored."""
    cuda, ptx, kept, word = on.cuda, on.ptx, on.kept, on.word

    @on.device
    def put(b, k, value):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, kept, 16)
        memory[at + b * pitch + k] = value

    @on.device
    def put_rounded(b, k, value):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, word, 16)
        memory[at + b * pitch + k] = ptx.round_tf32(value)

    return put_rounded if on.kind.product == "tf32" else put


def product(on: Any, plan: Plan, name: str) -> SimpleNamespace:
    """Return a block's part of a product.

    ``words`` registers hold its weights, which ``load(packed, weights, member)`` brings from where `packing` laid them out.
    ``multiply(weights)`` forms the product with the tile, and ``total(b, c)`` is the result of column c for row b.
    """
    part = plan.parts[name]
    make = fma if on.kind.product == "fma" else tensor
    load, multiply = make(on, plan, part)
    return SimpleNamespace(words=part.words(on.kind), load=load, multiply=multiply, total=total(on, plan, part))


def total(on: Any, plan: Plan, part: Part) -> Any:
    """Return ``total(b, c)``: the slices' sums, added up."""
    cuda, real = on.cuda, on.real
    at, pitch, slices, rows = part.partial, part.partial_pitch, part.slices, plan.rows

    @on.device
    def total(b, c):  # type: ignore[no-untyped-def]
        sums = cuda.shared.array(0, real, 16)
        value = sums[at + b * pitch + c]
        for k in range(1, slices):
            value += sums[at + (k * rows + b) * pitch + c]
        return value

    return total


def fma(on: Any, plan: Plan, part: Part) -> tuple[Any, Any]:
    """Return ``load`` and ``multiply`` by multiplications and additions: a thread has columns, and all rows of them.

    Weights lie in shared memory, neighbouring columns side by side.
    """
    cuda, real = on.cuda, on.real
    columns, width, threads, rows = part.columns, part.width, plan.threads, plan.rows
    across, each, slices, span = part.across, part.each, part.slices, part.span
    weights_at, tile_at, pitch, sums_at, sums_pitch = part.weights, part.tile, part.pitch, part.partial, part.partial_pitch
    count = width * columns

    @on.device
    def load(packed, weights, member):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, real, 16)
        for i in range(cuda.threadIdx.x, count, threads):
            memory[weights_at + i] = packed[member * count + i]

    @on.device
    def multiply(weights):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, real, 16)
        sums = cuda.local.array(rows, real)
        piece = (cuda.threadIdx.x & 1023) // across
        if piece < slices:
            for m in range(each):
                c = (cuda.threadIdx.x & 1023) % across + m * across
                if c < columns:
                    for b in range(rows):
                        sums[b] = real(0.0)
                    for k in range(piece * span, min(width, (piece + 1) * span)):
                        weight = memory[weights_at + k * columns + c]
                        for b in range(rows):
                            sums[b] += weight * memory[tile_at + b * pitch + k]
                    for b in range(rows):
                        memory[sums_at + (piece * rows + b) * sums_pitch + c] = sums[b]

    return load, multiply


def tensor(on: Any, plan: Plan, part: Part) -> tuple[Any, Any]:
    """Return ``load`` and ``multiply`` by tensor cores: a warp has tiles of columns and a slice of the sum, for all rows.

    The layout of fragments is that of the PTX manual for ``mma.m16n8k16`` and ``m16n8k8``.  The first factor has 16 rows: columns of the
    product, or, where the part is turned, sequences.
    """
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


def packing(name: str) -> Any:
    """Return the factory of the kernel that lays a product's weights out, a word a thread, as each block loads them."""

    def make(on: Any) -> Any:
        cuda, plan = on.cuda, on.plan
        part = plan.parts[name]
        word_of = _column_major(on, part) if on.kind.product == "fma" else _fragment(on, plan, part)

        @on.kernel
        def pack_weights(count, matrix, packed):  # type: ignore[no-untyped-def]
            at = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
            if at < count:
                packed[at] = word_of(matrix, at)

        return pack_weights

    return make


def packed_size(plan: Plan, part: Part, kind: Kind) -> int:
    """Return how many words the weights of all members take."""
    each = part.columns * part.width if kind.product == "fma" else part.words(kind) * plan.threads
    return plan.members * each


def _column_major(on: Any, part: Part) -> Any:
    """Return the function that reads word `at` of weights that lie by member, then by what is summed over, then by column."""
    columns, unit, stride, width = part.columns, part.unit, part.stride, part.width

    @on.device
    def word_of(matrix, at):  # type: ignore[no-untyped-def]
        member, k, c = at // (columns * width), at // columns % width, at % columns
        return matrix[c // unit * stride + member * unit + c % unit, k]

    return word_of


def _fragment(on: Any, plan: Plan, part: Part) -> Any:
    """Return the function that reads word `at` of weights that lie by member, warp, fragment, register and lane."""
    across, span, threads, registers, tile = part.across, part.span, plan.threads, part.registers, part.tile_columns
    words, weight, turned = part.words(on.kind), _weight(on, part), part.turned

    @on.device
    def word_of(matrix, at):  # type: ignore[no-untyped-def]
        lane, index, warp = at % WARP, at // WARP % words, at // (WARP * words)
        member, warp = warp // (threads // WARP), warp % (threads // WARP)
        f, register = index // registers, index % registers
        c = (warp % across + f // span * across) * tile + lane // 4 + (0 if turned else register % 2 * 8)
        return weight(matrix, member, c, warp // across * span + f % span, lane % 4, register if turned else register // 2)

    return word_of


def _weight(on: Any, part: Part) -> Any:
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
