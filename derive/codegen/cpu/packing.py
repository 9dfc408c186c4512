"""The packed matrices of a compiled function on the CPU, and how they are filled."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...calculus.ir import MatVec, MatVecT
from ...language.sizes import Size
from ..source import Source, Tree, code, do, listed, name, tuple_of
from .making import Making


@dataclass
class Packing(Making):
    """A recurrence's code with the matrices that products read.

    Attributes
    ----------
    panels : dict
        The variables of packed matrices, by matrix and whether it is transposed.
    stacked : dict
        The parts of static matrices that are only packed: no array holds the whole.
    """

    panels: dict[tuple[str, bool], str] = field(default_factory=dict)
    stacked: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def matrix(self, value: str, transposed: bool) -> Source:
        """Return the variable of a matrix's panels for products, ``v @ M.T`` or, transposed, ``v @ M``."""
        key = (value, transposed)
        if key not in self.panels:
            rows, columns = self.rec.types[value].shape
            k, n = (rows, columns) if transposed else (columns, rows)
            heads = [self.size_of(self.rec.heads)] if self.rec.types[value].headed else []
            sizes = listed([self.size(k), self.size(n), "dtype", *heads])
            made = code("panel_room({})", sizes, uses=("panel_room", "dtype"))
            on = self.linear.behind(value)
            if self.linear.perhaps(self.stacked.get(value, ())):
                parts = tuple_of(self.passed.get(self.source(p).text, self.source(p)) for p in self.stacked[value])
                made = code("part_room({}, {})", parts, sizes, uses=("part_room", "dtype"))
                on = frozenset()
            panels = self.room(f"{value}{'_t' if transposed else ''}_panels", made, on)
            self.panels[key] = panels.text
            headed = bool(heads)
            of_head = code("{}[head]", panels, uses=("head",)) if headed else panels
            self.weights += self.over_heads(headed, self.filled(value, transposed, of_head, self.size(k), self.size(n)))
        return name(self.panels[key])

    def of_head(self, value: str) -> Source:
        """Return the array of a value that is constant in time; of one that each head has, that of the head at hand."""
        value = self.rec.repeated.get(value, value)
        source = self.source(value)
        return code("{}[head]", source, uses=("head",)) if self.rec.types[value].headed else source

    def filled(self, value: str, transposed: bool, panels: Source, k: Source, n: Source) -> list[Tree]:
        """Return the statements that pack a matrix; of one that is only packed, each part where it belongs."""
        turned = "" if transposed else ".T"
        if value not in self.stacked:
            given = (self.of_head(value), turned, panels)
            return [do(code("fill_panels(parts, how, {}{}, {})", *given, uses=("fill_panels", "parts", "how")))]
        lines: list[Tree] = []
        start = Size()
        for part in self.stacked[value]:
            place = (self.size(start), "0") if transposed else ("0", self.size(start))
            given = (self.of_head(part), turned, panels, *place, k, n)
            lines.append(do(code("fill_part(parts, how, {}{}, {}, {}, {}, {}, {})", *given, uses=("fill_part", "parts", "how"))))
            start = start + self.rec.types[part].shape[0]
        return lines

    def only_packed(self, value: str) -> bool:
        """Say whether a static matrix is nothing but the left operand of products with rows."""
        readers = [eq for eq in self.rec.equations() if value in eq.node.operands()]
        products = (
            isinstance(eq.node, MatVec | MatVecT) and eq.node.matrix == value and self.rec.types[eq.node.vector].batched for eq in readers
        )
        return value not in self.rec.results and all(products)
