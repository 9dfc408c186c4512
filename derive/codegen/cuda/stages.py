"""Kernels of one stage: the loops of one step, or of all rows at once, after the products that they need.

A block has one row; where a stage has no sum over features, several blocks share the features of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...calculus.ir import FeatureSum
from ...language.sizes import Size
from ...program.imperative import Array, Place, Scalars, Stage
from ..kernel import Kernel
from ..layout import INDENT, wrapped
from ..sizes import size_source
from ..source import Source
from .equations import as_block, bound, constants, merged
from .features import RowCode

if TYPE_CHECKING:
    from .host import Code


class StageKernel(RowCode):
    """The kernel of one stage of a region."""

    def __init__(self, code: Code, region: str) -> None:
        super().__init__(code)
        self.region = region
        self.sizes: dict[str, str] = {}

    def kernel(self, name: str, stage: Stage) -> Kernel:
        body = merged(self.stage(stage))
        over_time = self.region == "loop"
        given = [("t", "t"), ("batch", "call.batch"), ("keep", "call.keep")] if over_time else [("batch", "call.batch")]
        sizes = [(local, self.code.sizes[size]) for size, local in sorted(self.sizes.items())]
        arguments = [*given, *sizes, *self.arguments.values()]
        inner = [*self.head(body), *body]
        closed = [("cuda", "on.cuda"), ("real", "on.real"), ("widen", "on.widen"), ("narrow", "on.narrow")]
        closed += [(function, f"on.functions.{function}") for function in sorted(self.functions)]
        closed += [(name, f"on.{name}") for name in sorted(self.team)]
        closed += [tuple(line.split(" = ", 1)) for line in constants(self.constants)]  # type: ignore[misc]
        closed += [(name, f"make_{name}(on)") for name in self.called]
        lines = [
            f"def make_{name}(on):",
            f'{INDENT}"""{self.about(stage)}"""',
            *(INDENT + line for line in bound(closed, inner)),
            "",
            f"{INDENT}@on.kernel",
            *(INDENT + line for line in wrapped(f"def {name}(", [a for a, _ in arguments], "):")),
            *(2 * INDENT + line for line in inner),
            "",
            f"{INDENT}return {name}",
        ]
        return Kernel(name, as_block(lines), tuple((a, Source(b)) for a, b in arguments))

    def about(self, stage: Stage) -> str:
        """Return what the kernel is for."""
        rows = {"loop": "one step", "once": "what is constant in time"}.get(self.region, "all steps")
        return f"Kernel for {rows}: a block has a row{'' if self.whole(stage) else ', or a part of its features'}."

    def head(self, body: list[str]) -> list[str]:
        """Return the statements that say which row and which features a thread has."""
        own = {
            "loop": [
                ("seq", "cuda.blockIdx.x"),
                ("row", "t * batch + seq"),
                ("row_next", "row + batch"),
                ("kept", "(t if keep else t % 2) * batch + seq"),
                ("kept_next", "(t + 1 if keep else (t + 1) % 2) * batch + seq"),
                ("ring", "t % 2 * batch + seq"),
                ("ring_next", "(t + 1) % 2 * batch + seq"),
            ],
            "once": [("seq", "cuda.blockIdx.x")],
        }
        rows = own.get(self.region, [("row", "cuda.blockIdx.x"), ("seq", "row % batch")])
        lanes = [
            ("lane", "cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x"),
            ("lanes", "cuda.gridDim.y * cuda.blockDim.x"),
        ]
        return bound([*rows, *lanes], body)

    def whole(self, stage: Stage) -> bool:
        """Say whether a row must have one block: its threads work together."""
        summed = any(isinstance(c.equation.node, FeatureSum) for loop in stage.loops for c in loop.computes)
        scalars = any(isinstance(loop, Scalars) for loop in stage.loops)
        return summed or scalars or any(self.meet(stage, position) for position in range(1, len(stage.loops)))

    # How numbers are found

    def features(self, size: Size) -> list[str]:
        return [f"for j in range(lane, {self.size(size)}, lanes):"]

    def read(self, name: str) -> str:
        kind = self.rec.types[name]
        if name in self.scalars_known:
            return self.local[name]
        return self.element(name, "j" if kind.shape else "0")

    def picked(self, name: str, index: str) -> str:
        size = self.size(self.rec.types[name].shape[0])
        return f"{self.element(name, index)} if 0 <= {index} < {size} else nan"

    def element(self, name: str, index: str) -> str:
        if not self.rec.types[name].batched:
            return self.widened(self.code.static_stored(name), f"{self.static(name)}[{index}]")
        place = self.program.places[name]
        array = self.program.arrays[place.array]
        source = f"{self.array(array.name)}[{self.index(array, place.shift)}, {self.column(place.start, index)}]"
        return self.widened(array.name in self.code.stored, source)

    def write(self, name: str, place: Place, value: str) -> list[str]:
        array = self.program.arrays[place.array]
        vector = bool(self.rec.types[name].shape)
        column = self.column(place.start, "j" if vector else "0")
        value = f"narrow({value})" if array.name in self.code.stored else value
        line = f"{self.array(array.name)}[{self.index(array, place.shift)}, {column}] = {value}"
        return [line] if vector else ["if lane == 0:", INDENT + line]

    def number(self, size: str) -> str:
        if size not in self.sizes:
            self.sizes[size] = self.names.fresh(size)
        return self.sizes[size]

    def meet(self, stage: Stage, position: int) -> list[str]:
        return ["cuda.syncthreads()"] if self.crosses(stage, position) else []

    def size(self, size: Size) -> str:
        return size_source(size, lambda n: Source(self.number(n))).text

    def column(self, start: Size, index: str) -> str:
        if start == Size():
            return index
        return self.size(start) if index == "0" else f"{self.size(start)} + {index}"

    def index(self, array: Array, shift: int) -> str:
        if array.space in ("scratch", "once"):
            return "seq"
        if self.region != "loop":
            return "row"
        base = {"tape": "kept", "carry": "ring"}.get(array.space, "row")
        return f"{base}_next" if shift else base

    def static(self, name: str) -> str:
        key = f"static:{name}"
        if key not in self.arguments:
            host = self.code.host[name]
            self.arguments[key] = (self.names.fresh(name), host if self.rec.types[name].shape else f"{host}.reshape(1)")
        return self.arguments[key][0]
