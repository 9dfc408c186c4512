"""The kernel that stays on the device for all steps: weights and states on the chip, a row's features divided among blocks.

A group of blocks has some sequences; each block of it, a member, has some features of every one.  It computes those columns of each
product, from the whole operand, which all members exchange through the device's memory: between writing and reading it, they meet.
A block alone in its group keeps the operand to itself.
"""

from __future__ import annotations

from ...language.sizes import Size
from ...program.imperative import Array, Product, Stage
from ..kernel import Kernel
from ..layout import INDENT, wrapped
from ..source import Source, printed
from .equations import as_block, bare, bound, constants, merged
from .loop import summed
from .resident_values import AHEAD, ResidentRows


class ResidentKernel(ResidentRows):
    """The kernel of a whole time loop."""

    def kernel(self, name: str) -> Kernel:
        steps = self.steps()
        first, last = self.start(), self.finish()
        counter = "step" if self.rec.reverse else "t"
        body = [*first, f"for {counter} in range(steps):", *(INDENT + line for line in steps), *last]
        given = [("steps", "call.steps"), ("batch", "call.batch"), ("keep", "call.keep")]
        meeting = [("sums", f"call.real_rows(plan.members * {2 * self.joins}, call.batch)")] if self.joins else []
        meeting += [("arrivals", "call.arrivals(plan)")] if self.table.meetings else []
        arguments = [*given, *self.arguments.values(), *meeting]
        inner = [*bound(self.head(), body), *body]
        lines = [
            f"def make_{name}(on):",
            f'{INDENT}"""Kernel for all steps: weights and states stay on the chip, members of a group share the features of its rows."""',
            *(INDENT + line for line in bound(self.closure(), inner)),
            "",
            f"{INDENT}@on.kernel",
            *(INDENT + line for line in wrapped(f"def {name}(", [a for a, _ in arguments], "):")),
            *(2 * INDENT + line for line in inner),
            "",
            f"{INDENT}return {name}",
        ]
        return Kernel(name, as_block(lines), tuple((a, Source(b)) for a, b in arguments))

    def closure(self) -> list[tuple[str, str]]:
        """Return what the kernel takes from the machine: names and where from."""
        own = ("cuda", "real", "widen", "narrow", "plan", "index", "word", "clear", "arrive", "wait")
        pairs = [(name, f"on.{name}") for name in own]
        pairs += [("bits", "on.kept")]
        pairs += [(name, f"on.functions.{name}") for name in sorted(self.functions)]
        pairs += [(name, f"on.{name}") for name in sorted(self.team)]
        pairs += [tuple(line.split(" = ", 1)) for line in constants(self.constants)]  # type: ignore[misc]
        pairs += [(name, f"make_{name}(on)") for name in self.called]
        pairs += [(name.upper(), f"plan.{name}") for name in ("rows", "lanes", "members")]
        pairs.append(("SUMS", str(self.joins)))
        for bundle, group in self.staged.items():
            pairs += [(self.ahead(bundle.size), f'plan.ahead["{bundle.size}"]')]
            pairs += [(f"{bundle.name}_room", f"max({len(group)} * {self.ahead(bundle.size)}, 1)")]
        for size in sorted(self.sizes):
            pairs += [(self.number(size), f'plan.sizes["{size}"]'), (f"{self.number(size)}_here", f'plan.here["{size}"]')]
        pairs += [(local, f'plan.at["{key}"]') for key, local in self.offsets.items()]
        for name in self.table.products:
            pairs.append((name, f'on.product("{name}")'))
            pairs += [(f"{name}_words", f"{name}.words"), *((f"{part}_{name}", f"{name}.{part}") for part in ("load", "multiply", "total"))]
        for name in self.table.tiles:
            pairs += [(name, f'on.tile("{name}")'), *((f"{part}_{name}", f"{name}.{part}") for part in ("fetch", "put"))]
        return pairs

    def head(self) -> list[tuple[str, str]]:
        """Return which rows and features a thread has."""
        pairs = [
            ("thread", "index(cuda.threadIdx.x)"),
            ("block", "index(cuda.blockIdx.x)"),
            ("lane", "index(thread % LANES)"),
            ("b", "index(thread // LANES)"),
            ("group", "index(block // MEMBERS)"),
            ("member", "index(block % MEMBERS)"),
            ("first", "group * ROWS  # of the group's sequences"),
            ("running", "1 if first + b < batch else 0  # else a row is there to fill the block"),
            ("lead", "running == 1 and lane == 0 and member == 0"),
            ("seq", "index(min(first + b, batch - 1))"),
            ("own", "cuda.shared.array(0, real, 16)"),
        ]
        return pairs + [(f"{self.number(size)}_first", f"index(member * {self.number(size)}_here)") for size in sorted(self.sizes)]

    def start(self) -> list[str]:
        """Return what is done before the first step: weights, static values, states before it."""
        lines = ["clear()"]
        for name in self.table.products:
            lines.append(f"{name}_weights = cuda.local.array({name}_words, word)")
            lines.append(f"load_{name}({self.matrices[name]}, {name}_weights, member)")
        lines += [line for group in self.loaded.values() for line in group]
        for size, group in self.vectors.items():
            lines += [
                f"for k in range(thread, {self.here(size)}, ROWS * LANES):",
                f"{INDENT}u = index(k)",
                *(INDENT + line for line in group),
            ]
        for carry in self.rec.carries:
            place = self.program.places[carry.previous]
            array = self.program.arrays[place.array]
            row = self.row_at(array, "steps" if self.rec.reverse else "0")
            source = self.widened(array.name in self.code.stored, f"{self.array(array.name)}[{_plus(row, 'seq')}, {{}}]")
            if array.scalar:
                lines.append(f"{self.slot(array, '0', 'lane')} = {source.format('0')}")
                continue
            head = self.features(array.width)
            lines += [head[0], *(INDENT + line for line in (*head[1:], f"{self.slot(array, '0', 'u')} = {source.format('j')}"))]
        for (name, _, _), tile in self.tiles.items():
            array = self.program.arrays[name]
            if name in self.states:
                row = self.row_at(array, "steps" if self.rec.reverse else "0")
                line = f"fetch_{tile}({self.words(name)}, {row} + first, batch - first)".replace("0 + ", "")
                lines += self.if_members("MEMBERS == 1", [line])
        lines += [f"{b.name} = cuda.local.array({b.name}_room, {'bits' if b.stored else 'real'})" for b in self.staged]
        lines += ["meetings = 0"] if self.table.meetings else []
        read_at_once = not self.stages[0].products and (self.vectors or not self.table.spread)
        return [*lines, "cuda.syncthreads()"] if read_at_once else lines

    def finish(self) -> list[str]:
        """Return what is done after the last step: the states are handed out."""
        lines = []
        for carry in self.rec.carries:
            array = self.program.arrays[self.program.places[carry.previous].array]
            row = self.row_at(array, "0" if self.rec.reverse else "steps")
            target = f"{self.array(array.name)}[{_plus(row, 'seq')}, {{}}]"
            if array.scalar:
                lines += ["if lead:", f"{INDENT}{target.format('0')} = {self.narrowed(array, self.slot(array, 'steps % 2', 'lane'))}"]
                continue
            value = self.total(array, self.slot(array, "steps % 2", "u"), "u")
            head = self.features(array.width)
            lines += [head[0], *(INDENT + line for line in (*head[1:], f"{target.format('j')} = {self.narrowed(array, value)}"))]
        return lines

    def row_at(self, array: Array, step: str) -> str:
        """Return the first row of a state's array before a step."""
        if array.space == "tape":
            return "0" if step == "0" else f"({step} if keep else {step} % 2) * batch"
        return "0" if step == "0" else f"{step} % 2 * batch"

    def steps(self) -> list[str]:
        lines: list[str] = []
        dirty = {p.vector.array for stage in self.stages for p in stage.products} & set(self.states)
        for stage in self.stages:
            lines += self.products_of(stage, dirty)
            lines += self.published(stage, dirty)
            lines += self.stage(stage)
            for loop in stage.loops:
                dirty |= {place.array for c in loop.computes for place in c.stores} & self.operands
                if self.table.spread and summed(self.program, loop):
                    dirty.clear()  # members have met
            if self.table.spread and self.meets_after(stage, dirty):
                lines += ["arrive(arrivals, group)", "meetings += 1"]
                self.table.meetings += 1
        if self.crossed and not self.table.products:
            lines.append("cuda.syncthreads()")  # before the next step writes what others may still read
        inner = [*self.staging(), *lines]
        rows = [
            *([("t", "steps - 1 - step"), ("before", "step % 2")] if self.rec.reverse else [("before", "t % 2")]),
            ("after", "1 - before"),
            *rows_of("t", ""),
        ]
        return [*bound(rows, inner), *merged(inner)]

    def meets_after(self, stage: Stage, dirty: set[str]) -> bool:
        """Say whether the next product, of this step or the next, reads what was written since members met."""
        stages = self.stages
        later = stages[stages.index(stage) + 1 :]
        following = next((s for s in later if s.products), None)
        if following is None:
            if stage is not stages[-1]:
                return False
            following = next((s for s in stages if s.products), None)
        elif later.index(following) > 0:
            return False
        return following is not None and bool(dirty & {p.vector.array for p in following.products})

    def products_of(self, stage: Stage, dirty: set[str]) -> list[str]:
        """Return the products of a stage."""
        if not stage.products:
            return []
        lines: list[str] = []
        if self.table.spread and dirty & {p.vector.array for p in stage.products}:
            lines.append("wait(arrivals, group, meetings)")
            dirty.clear()
        for product in {self.tile(p): p for p in stage.products}.values():
            lines += self.fetched(product)
        lines.append("cuda.syncthreads()")
        for product in stage.products:
            name = self.product(product)
            lines += [*printed(self.code.note(product.equation)), f"multiply_{name}({name}_weights)"]
        return [*lines, "cuda.syncthreads()"]

    def fetched(self, product: Product) -> list[str]:
        """Return what brings a product's operand into the block's memory."""
        array, tile = self.program.arrays[product.vector.array], self.tile(product)
        t = f"(t + {product.vector.shift})" if product.vector.shift else "t"
        if array.space == "tape":
            row = f"({bare(t)} if keep else {t} % 2) * batch"
        elif array.space == "carry":
            row = f"{t} % 2 * batch"
        else:
            row = {"once": "0", "scratch": "before * batch"}.get(array.space, f"{t} * batch")
        line = f"fetch_{tile}({self.words(array.name)}, {row} + first, batch - first)".replace("0 + ", "")
        return self.if_members("MEMBERS > 1", [line]) if array.name in self.operands else [line]

    def published(self, stage: Stage, dirty: set[str]) -> list[str]:
        """Return what stores results of products that are states, or kept, or that other products read; others are added up where read."""
        lines: list[str] = []
        for product in {p.out.array: p for p in stage.products}.values():
            array = self.program.arrays[product.out.array]
            later = [s for s in self.stages if any(p.out.array == array.name for p in s.products)]
            state = array.name in self.states
            if later[-1] is not stage or not (state or array.name in self.code.stored | self.handed):
                continue
            slot = self.slot(array, "after" if state else None, "u")
            value = self.total(array, slot, "u")
            body = [f"{slot} = {bare(self.sums(array, [slot] if array.name in self.looped else [], 'u'))}"] if state else []
            if array.name in self.code.stored | self.handed:
                body += self.stored_globally(array, product.out.shift, "j", value)
                body += self.put(array, Size(), array.width, "u", value)
            head = self.features(array.width)
            lines += [head[0], *(INDENT + line for line in (*head[1:], *body))]
            dirty |= {array.name} & self.operands
        return lines

    def staging(self) -> list[str]:
        """Return the loops that bring near what was given for a step, and begin to bring what is given for the next one.

        Others may not have finished the step before.  What is read ahead takes its time to come: registers wait for it, no thread does.
        """
        lines: list[str] = []
        counter, soon = ("step", "t - 1") if self.rec.reverse else ("t", "t + 1")
        for bundle, group in self.staged.items():
            ahead, head = self.ahead(bundle.size), self.features(bundle.size)
            places = [f"{bundle.name}[{start}i]" for start in ("", f"{ahead} + ", *(f"{k} * {ahead} + " for k in range(2, len(group))))]
            places = places[: len(group)]
            came = [f"{given.slot} = {self.widened(bundle.stored, place)}" for given, place in zip(group, places, strict=True)]
            coming = [f"{place} = {given.soon}" for given, place in zip(group, places, strict=True)]
            now = [f"{given.slot} = {self.widened(bundle.stored, given.now)}" for given in group]
            lines += [
                f"if {counter} > 0 and {ahead} > 0:",
                *(INDENT + line for line in self.by_thread(bundle.size, came)),
                "else:",
                *(INDENT + line for line in (head[0], *(INDENT + line for line in (*head[1:], *now)))),
                f"if {counter} + 1 < steps and {ahead} > 0:",
                *(INDENT + line for line in (*bound(rows_of(soon, AHEAD), coming), *self.by_thread(bundle.size, coming))),
            ]
        return lines

    def by_thread(self, size: Size, body: list[str]) -> list[str]:
        """Return a loop over a thread's features of a row, `i` of which is counted: as many in every thread, for numbers in registers."""
        inner = ["k = lane + i * LANES", f"if k < {self.running(size)}:", *(INDENT + line for line in (*self.indices(size), *body))]
        return [f"for i in range({self.ahead(size)}):", *(INDENT + line for line in inner)]

    def joined(self, variables: list[str], function: str) -> list[str]:
        """Members leave what they have in the device's memory, meet, and combine all of it, each in the same order."""
        if not self.table.spread:
            return []
        places = [f"sums[(before * SUMS + {self.joins + k}) * MEMBERS + {{}}, seq]" for k in range(len(variables))]
        self.joins += len(variables)
        self.table.meetings += 1
        lines = ["if running == 1 and lane == 0:"]
        lines += [f"{INDENT}{place.format('member')} = {variable}" for place, variable in zip(places, variables, strict=True)]
        lines += ["arrive(arrivals, group)", "meetings += 1", "wait(arrivals, group, meetings)"]
        for place, variable in zip(places, variables, strict=True):
            start, combine = (
                ("real(0.0)", f"{variable} + {place}") if function == "row_sum" else ("lowest", f"maximum({variable}, {place})")
            )
            lines += [f"{variable} = {start}", "for m in range(lane, MEMBERS, LANES):", f"{INDENT}{variable} = {combine.format('m')}"]
            lines.append(f"{variable} = {function}({variable})")
        return self.if_members("MEMBERS > 1", lines)

    def meet(self, stage: Stage, position: int) -> list[str]:
        crossed = self.crosses(stage, position)
        self.crossed = self.crossed or crossed
        return ["cuda.syncthreads()"] if crossed else []


def rows_of(t: str, suffix: str) -> list[tuple[str, str]]:
    """Return the names of a step's rows, and what they are."""
    now = t if t.isidentifier() else f"({t})"
    return [
        (f"row{suffix}", f"index({now} * batch + seq)"),
        (f"row_next{suffix}", f"index(row{suffix} + batch)"),
        (f"kept{suffix}", f"index(({t} if keep else {now} % 2) * batch + seq)"),
        (f"kept_next{suffix}", f"index(({t} + 1 if keep else ({t} + 1) % 2) * batch + seq)"),
    ]


def _plus(row: str, more: str) -> str:
    """Return the index of a row, counted from the first of a step."""
    return more if row == "0" else f"index({row} + {more})"
