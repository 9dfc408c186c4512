"""The most multiply-adds that the processor makes in a second: what the rate of a product is measured against."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..runtime.cpu import threads
from ..runtime.cpu.kernel import kernel
from ..runtime.cpu.tile import REGISTERS, Vectors, lanes

CHAINS = REGISTERS * 3 // 4  # more than latency times units of any processor, and none in memory
COUNT = 200_000  # links of a chain in a call: about a millisecond
CALLS = 200
I64 = ir.IntType(64)


@intrinsic
def _chains(typingctx, start, factor, term, count):  # type: ignore[no-untyped-def]
    """Return a sum over `CHAINS` independent vectors, each of which became ``value * factor + term`` `count` times."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        start, factor, term, count = arguments
        v = Vectors(builder, signature.args[0])
        factors, terms, first = v.splat(factor), v.splat(term), v.splat(start)
        # Chains that begin alike would be one chain to the compiler.
        begins = [builder.fmul(first, ir.Constant(v.type, [float(i + 1)] * v.size)) for i in range(CHAINS)]
        entry, loop, done = builder.block, builder.append_basic_block("link"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        link, values = builder.phi(I64), [builder.phi(v.type) for _ in range(CHAINS)]
        news = [v.fma(value, factors, terms) for value in values]
        following = builder.add(link, I64(1))
        for phi, begin, new in [(link, I64(0), following), *zip(values, begins, news, strict=True)]:
            phi.add_incoming(begin, entry)
            phi.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        total = news[0]
        for new in news[1:]:
            total = builder.fadd(total, new)
        return builder.extract_element(total, ir.IntType(32)(0))

    return start(start, factor, term, types.int64), codegen


@kernel
def _burn(out: Any, start: Any, factor: Any, term: Any, count: Any, first: Any, last: Any) -> None:
    for i in range(first, last):
        out[i] = _chains(start, factor, term, count)


def peak(dtype: Any, count: int = COUNT, calls: int = CALLS) -> float:
    """Return the rate of fused multiply-adds on all threads of the runtime, in 10⁹ operations a second: the best of calls."""
    kind = np.dtype(dtype).type
    number = threads.get_threads()
    out = np.zeros(number, kind)
    arguments = (out, kind(1), kind(0.999), kind(0.001), count)
    best = np.inf
    for turn in range(calls + 1):
        begin = time.perf_counter()
        threads.run(_burn, number, number, *arguments)
        best = min(best, time.perf_counter() - begin) if turn else best
    each = 2 * CHAINS * lanes(types.float32 if kind is np.float32 else types.float64)
    return each * count * number / best / 1e9
