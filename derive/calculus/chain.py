"""A chain of recurrences: a cell's forward pass, the adjoint of that, and whatever is differentiated from these.

A link reads inputs and parameters, what its caller gives (cotangents), and values that earlier links compute: those are what a tape keeps.
Every pass of the compiler takes a chain and returns one; nothing assumes how many links there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..language.definition import Definition
from .adjoint import adjoint
from .ir import Recurrence

FORWARD, BACKWARD = "forward", "backward"


@dataclass(frozen=True)
class Link:
    """One recurrence of a chain.

    Attributes
    ----------
    name : str
    recurrence : Recurrence
        Writes what is handed out, and what later links read.
    handed : tuple of str
        Those of its written values and results that are handed out; so are the values of its carries after its last step.
    of : str
        The link that it is the adjoint of; empty for a cell's own equations.
    cotangent : mapping
        From each name of that link that has a cotangent here to the cotangent's name: what is handed out there is given here, what is given
        there is handed out here.  Carry number k belongs to carry number k of that link and has no entry.
    reads : mapping
        From the values that earlier links compute and this one reads to the name of the link that does.
    """

    name: str
    recurrence: Recurrence
    handed: tuple[str, ...]
    of: str = ""
    cotangent: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def computed(self) -> frozenset[str]:
        """The values that the link makes, which others must read from here; static values before its loop they make themselves."""
        rec = self.recurrence
        equations = (*rec.body, *rec.accumulators, *rec.epilogue)
        return frozenset((*(c.previous for c in rec.carries), *(eq.name for eq in equations)))


@dataclass(frozen=True)
class Derivation:
    """A cell's chain.

    Attributes
    ----------
    cell : Definition
    links : tuple of Link
        In the order in which they run; each reads earlier ones only.
    """

    cell: Definition
    links: tuple[Link, ...]

    def __getitem__(self, name: str) -> Link:
        """Return the link of that name; KeyError if there is none."""
        for link in self.links:
            if link.name == name:
                return link
        raise KeyError(f"{self.cell.name} has no link `{name}`: it has {', '.join(link.name for link in self.links)}")

    def __iter__(self) -> Iterator[Link]:
        return iter(self.links)

    def readers(self, name: str) -> tuple[Link, ...]:
        """Return the links that read what a link computes."""
        return tuple(link for link in self.links if name in link.reads.values())

    def saved(self, name: str) -> tuple[str, ...]:
        """Return the values of a link that later ones read: what its tape keeps beside what it was given."""
        return tuple(dict.fromkeys(value for link in self.links for value, of in link.reads.items() if of == name))

    def mapped(self, change: Callable[[Recurrence], Recurrence]) -> Derivation:
        """Return the chain with every recurrence changed into one that computes the same."""
        links = tuple(replace(link, recurrence=change(link.recurrence)) for link in self.links)
        return replace(self, links=links).settled()

    def settled(self) -> Derivation:
        """Return the chain in which each link reads no more than its recurrence does, and writes just what is handed out or read."""
        read = tuple(replace(link, reads={n: of for n, of in link.reads.items() if n in link.recurrence.inputs}) for link in self.links)
        found = replace(self, links=read)
        return replace(self, links=tuple(_writing(link, found.saved(link.name)) for link in read))

    def differentiated(
        self,
        name: str,
        of: str,
        *,
        seeds: Iterable[str] | None = None,
        results: Iterable[str] | None = None,
        wrt: Iterable[str] | None = None,
        tag: str = "B",
    ) -> Derivation:
        """Return the chain with one more link, the adjoint of a link.

        Parameters
        ----------
        name : str
            Of the new link.
        of : str
            The link that is differentiated.
        seeds : names, optional
            Its values of each step whose cotangents are given: those that it hands out by default.  Cotangents of its states after the
            last step always are.
        results : names, optional
            Those of its results whose cotangents are given: all that it hands out by default.
        wrt : names, optional
            The inputs of that link (statics, contexts, sequences) to differentiate by: all that are no indices by default.  States before
            its first step always are.
        tag : str
            Letter of the new equations' tags.
        """
        link = self[of]
        makers, handing = {**link.reads, **dict.fromkeys(link.computed, of)}, _handing(link, seeds, results)
        taken = [n for other in self.links for n in other.recurrence.types]  # one name is one value in all of the chain
        found = adjoint(handing, wrt=None if wrt is None else tuple(wrt), tag=tag, taken=taken)
        rec = found.recurrence
        reads = {n: makers[n] for n in rec.inputs if n in makers}
        made = Link(name, rec, (*rec.written, *rec.results), of, found.cotangent, reads)
        return replace(self, links=(*self.links, made)).settled()


def _handing(link: Link, seeds: Iterable[str] | None, results: Iterable[str] | None = None) -> Recurrence:
    """Return a link's recurrence with what it hands out alone, or with the `seeds` as what it does at every step, and with `results`."""
    rec = link.recurrence
    written = tuple(n for n in rec.written if n in link.handed) if seeds is None else tuple(seeds)
    return replace(rec, written=written, results=tuple(n for n in rec.results if n in link.handed and (results is None or n in results)))


def _writing(link: Link, saved: Iterable[str]) -> Link:
    """Return a link that keeps the values `saved` for others: at every step, or as results where they are static."""
    rec = _handing(link, None)
    steps = [n for n in saved if rec.types[n].batched]
    static = [n for n in saved if not rec.types[n].batched]
    kept = replace(rec, written=tuple(dict.fromkeys((*rec.written, *steps))), results=tuple(dict.fromkeys((*rec.results, *static))))
    return replace(link, recurrence=kept)
