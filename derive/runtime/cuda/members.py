"""What a kernel that stays for all steps is written with: tiles of operands, its part of each product, meetings of its members.

A product's weights stay where they are all the time: in registers, laid out as the tensor cores read them, or in shared memory.  The sums
that threads or warps have made of their slices lie in shared memory, and whoever reads a result adds them up.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .kind import Kind
from .plan import LINE, WARP, Part, Plan
from .tensor import tensor, weight_word


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
    cuda, ptx, word, real, index = on.cuda, on.ptx, on.word, on.real, on.index
    at, pitch, width, start, whole = plan.tiles[name]
    size, stored = on.sizes
    each, line, first, long = index(width * stored // 16), pitch * size // 4, start * stored // 4, whole * stored // 4
    base, threads, copies = at * size // 4, plan.threads, plan.rows * each
    rounded = on.kind.product == "tf32"

    @on.device
    def fetch(words, row, rows):  # type: ignore[no-untyped-def]
        memory = cuda.shared.array(0, word, 16)
        for k in range(cuda.threadIdx.x & 1023, copies, threads):
            b = index(index(k) // each)  # not negative: a division by a constant is a multiplication, and no case of another sign
            piece = index(index(k) % each)
            if b < rows:
                ptx.copy_async(memory, base + b * line + 4 * piece, words, (row + b) * long + first + 4 * piece)
        ptx.copy_wait()
        if rounded:
            numbers = cuda.shared.array(0, real, 16)
            for k in range(cuda.threadIdx.x & 1023, copies, threads):
                begin = index(base + index(index(k) // each) * line + 4 * index(index(k) % each))
                for i in range(4):
                    place = index(begin + i)
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
    words, weight, turned = part.words(on.kind), weight_word(on, part), part.turned

    @on.device
    def word_of(matrix, at):  # type: ignore[no-untyped-def]
        lane, index, warp = at % WARP, at // WARP % words, at // (WARP * words)
        member, warp = warp // (threads // WARP), warp % (threads // WARP)
        f, register = index // registers, index % registers
        c = (warp % across + f // span * across) * tile + lane // 4 + (0 if turned else register % 2 * 8)
        return weight(matrix, member, c, warp // across * span + f % span, lane % 4, register if turned else register // 2)

    return word_of
