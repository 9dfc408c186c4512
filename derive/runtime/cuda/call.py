"""A checked call of a cell's passes on a device: the vocabulary that the host functions of generated modules are written in."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import Any

from ..common.asked import ALL
from .device import Device, Factory
from .kind import BYTES, Kind
from .members import packed_size, packing
from .plan import LINE, Plan, Steps
from .sums import STRETCH, make_sum_real, make_sum_stored
from .tiling import Shape, Tiling, for_stage

WARP, THREADS = 32, 256
LAID = 16  # matrices laid out for plans that packed parameters keep: each number of sequences may have a plan of its own


@dataclass
class Call:
    """A checked call.

    Attributes
    ----------
    device : Device
    kind : Kind
    sizes : mapping
    params, state : records
    inputs : mapping
        Each input as rows, `(T·B, ·)`; contexts `(B, ·)`.
    steps, batch : int
    keep : bool
        Whether the tape is kept.
    weights : tuple, optional
        What was made of the parameters before.
    laid : dict
        Weights as plans lay them out, by plan and product.
    ready : dict
        Arrays, by number, as the device takes them for an argument: the steps of a loop have the same.
    asked : container of str
        The gradients that a backward pass makes.
    """

    device: Device
    kind: Kind
    sizes: dict[str, int]
    params: Any
    state: Any = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    batch: int = 0
    keep: bool = False
    weights: tuple[Any, ...] | None = None
    laid: dict[Any, Any] = field(default_factory=dict)
    ready: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    asked: Container[str] = ALL

    def asking(self, names: Container[str]) -> Call:
        """Return the same, of which only such results are asked for."""
        return replace(self, asked=names)

    @property
    def xp(self) -> Any:
        return self.device.xp

    @property
    def dtype(self) -> Any:
        return self.real_dtype

    @property
    def real_dtype(self) -> Any:
        return self.device.dtype(self.kind.real)

    @property
    def stored_dtype(self) -> Any:
        return self.device.dtype(self.kind.stored)

    @property
    def count(self) -> int:
        return self.steps * self.batch

    @property
    def kept_count(self) -> int:
        """Rows of an array on the tape: without it, two steps' worth in turn."""
        return self.count if self.keep else 2 * self.batch

    # Arrays

    def stored_rows(self, count: int, width: int) -> Any:
        return self.xp.empty((count, width), self.stored_dtype)

    def real_rows(self, count: int, width: int) -> Any:
        return self.xp.empty((count, width), self.real_dtype)

    def stored(self, value: Any) -> Any:
        """Return a value in the dtype of storage."""
        return self.device.cast(value, self.stored_dtype)

    def real(self, value: Any) -> Any:
        """Return a value in the dtype that is computed with."""
        return self.device.cast(value, self.real_dtype)

    def stacked(self, *parts: Any) -> Any:
        return self.xp.concatenate(parts)

    def over_time(self, values: Any) -> Any:
        """Return values `(B, ·)` at every step, row by row."""
        return self.xp.tile(values, (self.steps, 1))

    def spread(self, value: Any) -> Any:
        """Return a static vector in every row."""
        return self.xp.ascontiguousarray(self.xp.broadcast_to(self.stored(value), (self.count, value.size)))

    # Rows of step t

    def row(self, array: Any, t: int) -> Any:
        return array[t * self.batch : (t + 1) * self.batch]

    def kept(self, array: Any, t: int) -> Any:
        return self.row(array, t if self.keep else t % 2)

    def ring(self, array: Any, t: int) -> Any:
        return self.row(array, t % 2)

    # States

    def state_rows(self, initial: Any, dtype: Any, *, tape: bool) -> Any:
        """Return a state's array, with `initial` (B, ·) before the first step."""
        rows = self._carry_rows(initial, dtype, tape=tape)
        rows[: self.batch] = initial.reshape(self.batch, rows.shape[1])
        return rows

    def _carry_rows(self, like: Any, dtype: Any, *, tape: bool) -> Any:
        """Return an array for a carry before and after each step, or, unless a tape is kept, for two steps in turn."""
        steps = self.steps + 1 if tape and self.keep else 2
        return self.xp.empty((steps * self.batch, prod(like.shape[1:])), dtype)

    def last(self, rows: Any, like: Any, *, tape: bool) -> Any:
        """Return a state after the last step, shaped as `like`, as an array of its own."""
        last = self.kept(rows, self.steps) if tape else self.ring(rows, self.steps)
        return last.reshape(like.shape).astype(self.stored_dtype)

    def before(self, rows: Any) -> Any:
        """Return a state's values before each step."""
        return rows[: self.count]

    def carried(self, final: Any, dtype: Any, *, tape: bool = False) -> Any:
        """Return the array of a state's cotangent, with `final` (B, ·) after the last step."""
        rows = self._carry_rows(final, dtype, tape=tape)
        last = self.kept(rows, self.steps) if tape else self.ring(rows, self.steps)
        last[...] = final.reshape(self.batch, rows.shape[1])
        return rows

    def first(self, rows: Any, like: Any) -> Any:
        """Return a state's cotangent before the first step, shaped as `like`, as an array of its own."""
        return rows[: self.batch].reshape(like.shape).astype(self.stored_dtype)

    # Work

    def multiply(self, a: Any, b: Any, out: Any, *, add: bool = False) -> None:
        """``out = a @ b``, or ``out += a @ b``."""
        if out.size:
            self.device.multiply(a, b, out, add=add, tf32=self.kind.product == "tf32")

    def outer(self, u: Any, v: Any) -> Any:
        """Return Σ_r u_r v_rᵀ of rows, in the dtype that is computed with."""
        out = self.xp.zeros((u.shape[1], v.shape[1]), self.real_dtype)
        if u.shape[0]:
            self.multiply(u.T, v, out)
        return out

    def total(self, rows: Any) -> Any:
        """Return the sum of rows, in the dtype that is computed with: of `STRETCH` rows each, then of those sums."""
        width = rows.shape[1]
        if not rows.size:
            return self.xp.zeros(width, self.real_dtype)
        threads = min(THREADS, -(-width // WARP) * WARP)
        rows, make = self.xp.ascontiguousarray(rows), make_sum_stored if rows.dtype == self.stored_dtype else make_sum_real
        while True:
            sums = self.real_rows(-(-len(rows) // STRETCH), width)
            kernel, given = self.device.compiled(make, self.kind, threads), (len(rows), width, rows, sums)
            self._launch(kernel, (len(sums), -(-width // threads)), threads, given)
            if len(sums) == 1:
                return sums[0]
            rows, make = sums, make_sum_real

    def total_by_sequence(self, rows: Any) -> Any:
        """Return the sum over steps, `(B, ·)`, in the dtype of storage."""
        return rows.reshape(self.steps, self.batch, rows.shape[1]).sum(axis=0, dtype=self.real_dtype).astype(self.stored_dtype)

    def run(
        self,
        make: Factory,
        rows: int,
        *,
        features: int,
        whole: bool = False,
        matrices: tuple[Shape, ...] = (),
        given: tuple[Any, ...],
    ) -> None:
        """Run a stage's kernel: a block for each row, or, unless it needs the `whole` row, for each part of its features.

        `matrices` are the rows and columns of those that it goes through.
        """
        if rows == 0:
            return
        features = max([features, *(height * WARP for height, _ in matrices)])
        threads = min(THREADS, -(-features // WARP) * WARP)
        blocks = 1 if whole else -(-features // threads)
        kernel = self.device.compiled(make, self.kind, threads, for_stage(threads, matrices, BYTES[self.kind.real]))
        self._launch(kernel, (rows, blocks), threads, given)

    def tiling(self, features: int, matrices: tuple[Shape, ...], kept: tuple[Shape, ...]) -> Tiling | None:
        """Return how the kernel of a time loop whose rows need nothing of each other has its matrices, and those that are `kept` near."""
        return self.device.tiling(features, matrices, kept, self.kind)

    def run_apart(self, make: Factory, rows: int, tiling: Tiling, *, given: tuple[Any, ...]) -> None:
        """Run the kernel of a whole time loop, in which each row, or head of one, has a block."""
        if self.count and rows:
            kernel = self.device.compiled(make, self.kind, tiling.threads, tiling)
            self._launch(kernel, (rows, 1), tiling.threads, given, tiling.shared)

    def plan(self, steps: Steps) -> Plan | None:
        """Return how a time loop is run by one kernel, or None where its steps are run one by one."""
        return self.device.plan(steps, self.sizes, self.batch, self.kind) if self.count else None

    def stay(self, plan: Plan, make: Factory, *, given: tuple[Any, ...]) -> None:
        """Run the kernel of a whole time loop."""
        kernel = self.device.compiled(make, self.kind, plan.threads, plan)
        self._launch(kernel, (plan.blocks, 1), plan.threads, given, plan.shared, together=plan.members > 1)

    def packed(self, plan: Plan, name: str, matrix: Any) -> Any:
        """Return a product's weights, given with a row for each column of it, as the blocks of a plan load them."""
        if (found := self.laid.get((plan, name))) is not None:
            return found
        dtype = self.real_dtype if self.kind.product == "fma" else self.xp.uint32
        out = self.xp.empty(packed_size(plan, plan.parts[name], self.kind), dtype)
        kernel = self.device.compiled(_packing(name), self.kind, THREADS, plan)
        given = (out.size, self.xp.ascontiguousarray(matrix), out)
        self._launch(kernel, (-(-out.size // THREADS), 1), THREADS, given)
        while len(self.laid) >= LAID:
            self.laid.pop(next(iter(self.laid)), None)
        self.laid[plan, name] = out
        return out

    def _launch(
        self, kernel: Any, grid: tuple[int, int], threads: int, given: tuple[Any, ...], shared: int = 0, *, together: bool = False
    ) -> None:
        arguments = tuple([self._argument(value) for value in given])
        self.device.launch(kernel, grid, threads, shared, arguments, together=together)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, int):
            return self.device.argument(value)
        found = self.ready.get(id(value))
        if found is None:  # with the array itself, so that nothing else gets its number
            found = self.ready[id(value)] = value, self.device.argument(value)
        return found[1]

    def words(self, rows: Any) -> Any:
        """Return rows as words of 32 bits, one after the other."""
        return self.device.words(rows)

    def arrivals(self, plan: Plan) -> Any:
        """Return counters of the members that have come to a meeting."""
        return self.xp.zeros(plan.groups * LINE, self.xp.uint32)


@lru_cache(maxsize=1024)
def _packing(name: str) -> Factory:
    """Return the factory of a product's packing kernel, the same object each time."""
    return packing(name)
