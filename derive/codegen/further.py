"""What a module has of links beyond the forward pass and its adjoint: records of what is kept, tables, and functions of values by name."""

from __future__ import annotations

from collections.abc import Iterable

from ..calculus.chain import BACKWARD, FORWARD
from ..language.definition import Definition
from ..language.sizes import Shape
from ..program.pipeline import Compiled, Stored
from .interface import record, sizes_text
from .layout import INDENT, tuple_source, wrapped
from .signature import given, tape_record

STEPS, BATCH, STATIC = "steps", "batch", "static"  # what is given at every step, once a sequence, or once


def further(compiled: Compiled) -> list[Stored]:
    """Return the links that the interface of a pair does not know."""
    return [link for link in compiled if link.name not in (FORWARD, BACKWARD)]


def records(compiled: Compiled) -> list[str]:
    """Return the records of what links keep for others, that of the forward pass aside."""
    kept = [link for link in compiled if link.keeps and link.name != FORWARD]
    return [record(tape_record(link.name), f"What `{link.name}` keeps.", [(f.name, "np.ndarray", "") for f in link.keeps]) for link in kept]


def entry(cell: Definition, compiled: Compiled) -> list[str]:
    """Return the entry of the module's table for further links; none, if there are none."""
    if not further(compiled):
        return []
    links = [f'"{link.name}": {_link(cell, link)}' for link in compiled if link.name != FORWARD]
    return [f"\n{INDENT}".join(wrapped("links={", links, "}"))]


def _link(cell: Definition, link: Stored) -> str:
    """Return the table of a link: what it reads, what it is given and hands out, by name, and what it keeps."""
    rec = link.program.rec
    reads = tuple_source(f'"{of}"' for of in dict.fromkeys(of for of, _ in link.reads.values()))
    own = link.name != BACKWARD
    taken = [*given(cell, link), *(carry.previous for carry in rec.carries)] if own else []
    handed = [*link.link.handed, *(carry.value for carry in rec.carries)] if own else []
    saved = [f'"{f.name}": ({sizes_text(rec.types[f.value].shape)}, {_extra(link, f.value, f.state)})' for f in link.keeps]
    return f"Link({reads}, {_table(link, taken)}, {_table(link, handed)}, {{{', '.join(saved)}}})"


def _extra(link: Stored, value: str, state: bool) -> int | None:
    """Return how many rows there are before the first step; None, if there are none at all."""
    return int(state) if link.program.rec.types[value].batched else None


def _table(link: Stored, values: Iterable[str]) -> str:
    return "{" + ", ".join(f'"{value}": ("{_kind(link, value)}", {sizes_text(_shape(link, value))})' for value in values) + "}"


def _kind(link: Stored, value: str) -> str:
    rec = link.program.rec
    if not rec.types[value].batched:
        return STATIC
    once = {*rec.contexts, *(c.previous for c in rec.carries), *(c.value for c in rec.carries)}
    summed = {eq.name for eq in (*rec.accumulators, *rec.epilogue)}
    return BATCH if value in once | summed and value not in link.outputs else STEPS


def _shape(link: Stored, value: str) -> Shape:
    return link.program.rec.types[value].shape


def functions(compiled: Compiled) -> dict[str, str]:
    """Return the public function of each further link, by the link's name."""
    found = {}
    for link in further(compiled):
        told = f"Run `{link.name}`, the adjoint of `{link.link.of}`, on a pass whose tape is `tape`; `kept` has what links before it kept."
        found[link.name] = f'''def {link.name}(given, tape, kept) -> tuple[dict[str, np.ndarray], tuple | None]:
    """{told}

    `given` has a value by each name of ``LAYER.links["{link.name}"].given``; returned are those of ``handed``, and what the link keeps.
    """
    return LAYER.further("{link.name}", _{link.name}, given, tape, kept)'''
    return found
