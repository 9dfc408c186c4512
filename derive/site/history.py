"""The history of recurrent networks in dates: what was new, in which paper, and the page that shows it.

Of a cell's paper only authors and year are written here: the rest is taken from the cell's own reference, which must have them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..cells import REGISTRY
from ..language.errors import CellError
from .bibtex import PART, works


@dataclass(frozen=True)
class Event:
    """A date.

    Attributes
    ----------
    work : str
        Authors and year, as the reference of the first cell has them; the whole citation, where there is no cell.
    what : str
        What was new.
    cells : tuple of str
        The cells that show it.
    page : str
        A Markdown link to the page that shows it, where that is no cell's.
    """

    work: str
    what: str
    cells: tuple[str, ...] = ()
    page: str = ""

    @property
    def citation(self) -> tuple[int, str]:
        """The year, and the work without it.

        Raises
        ------
        CellError
            If the reference of the cell has no such work.
        """
        reference = REGISTRY[self.cells[0]].reference if self.cells else self.work
        found = [work for work in works(reference) if self.work.startswith(f"{work[1]} {work['year']}")]
        if not found:
            raise CellError(f"the reference of `{self.cells[0]}` has no work {self.work}")
        return int(found[0]["year"]), _cited(found[0])

    @property
    def here(self) -> str:
        """Links to what shows it."""
        return self.page or ", ".join(map(link, self.cells))


ERAS: dict[str, tuple[Event, ...]] = {
    "Loops, and how to differentiate them": (
        Event(
            "Rumelhart, Hinton, Williams 1986, Learning Internal Representations by Error Propagation, "
            "in Parallel Distributed Processing, volume 1, 318-362",
            "Backpropagation; a network with loops is a deeper one without, whose copies share their weights",
            page="[Unrolling](recurrence.md#unrolling)",
        ),
        Event(
            "Williams, Zipser 1989, A Learning Algorithm for Continually Running Fully Recurrent Neural Networks, Neural Computation "
            "1(2):270-280, doi:10.1162/neco.1989.1.2.270",
            "Real-time recurrent learning: derivatives run forward beside the state, and nothing of the past is kept",
            page="[Tangents](second.md#tangents-one-direction-all-outputs)",
        ),
        Event("Elman 1990", "The simple recurrent network: a layer that sees its own state of the step before", ("rnn",)),
        Event("Bridle 1990", "The softmax as the output of a network that chooses among classes", ("softmax_cross_entropy",)),
        Event(
            "Werbos 1990, Backpropagation Through Time: What It Does and How to Do It, Proceedings of the IEEE 78(10):1550-1560, "
            "doi:10.1109/5.58337",
            "Backpropagation through time, explained for its users, with pseudocode",
            page="[Backpropagation through time](bptt.md)",
        ),
        Event(
            "Williams, Peng 1990, An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories, "
            "Neural Computation 2(4):490-501, doi:10.1162/neco.1990.2.4.490",
            "Truncated backpropagation through time: gradients go back over so many steps and no further",
            page="[Truncation](clipping.md#why-truncate)",
        ),
        Event(
            "Hochreiter 1991, Untersuchungen zu dynamischen neuronalen Netzen, diploma thesis, TU München",
            "Gradients that vanish or explode are named as the reason why long delays are hard to learn",
            page="[Vanishing and exploding gradients](vanishing.md)",
        ),
        Event(
            "Schmidhuber 1992, Learning to Control Fast-Weight Memories: An Alternative to Dynamic Recurrent Networks, "
            "Neural Computation 4(1):131-139, doi:10.1162/neco.1992.4.1.131",
            "Fast weights: one network writes the weights of another, step by step",
            page="[Memories that are matrices](memories.md)",
        ),
        Event(
            "Bengio, Simard, Frasconi 1994, Learning Long-Term Dependencies with Gradient Descent Is Difficult, "
            "IEEE Transactions on Neural Networks 5(2):157-166, doi:10.1109/72.279181",
            "A state that stores safely against noise is shown to have a gradient that vanishes",
            page="[Vanishing and exploding gradients](vanishing.md)",
        ),
        Event(
            "Pearlmutter 1994, Fast Exact Multiplication by the Hessian, Neural Computation 6(1):147-160, doi:10.1162/neco.1994.6.1.147",
            "The Hessian times a vector, at about the cost of a gradient, and without the Hessian",
            page="[Second order](second.md#a-hessian-times-a-vector)",
        ),
    ),
    "Gates": (
        Event(
            "Hochreiter, Schmidhuber 1997",
            "The LSTM: a memory behind gates, which is only added to, so that along it the gradient stays as it is",
            ("lstm_original",),
        ),
        Event(
            "Schuster, Paliwal 1997, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal Processing 45(11):2673-2681, "
            "doi:10.1109/78.650093",
            "Two networks side by side, one from either end of the sequence",
            page="[Both directions](../guide.md#both-directions)",
        ),
        Event("Gers, Schmidhuber, Cummins 2000", "The forget gate: the memory can be emptied again", ("lstm",)),
        Event("Gers, Schmidhuber 2000", "Peepholes: the gates see the memory itself", ("lstm_peephole",)),
        Event(
            "Pascanu, Mikolov, Bengio 2013, On the Difficulty of Training Recurrent Neural Networks, ICML, arXiv:1211.5063",
            "Clipping by the norm, against gradients that explode",
            page="[Clipping](clipping.md#by-norm)",
        ),
        Event("Cho et al. 2014", "The GRU: one state, and two gates in place of three", ("gru_v3", "gru")),
        Event(
            "Sutskever, Vinyals, Le 2014, Sequence to Sequence Learning with Neural Networks, NeurIPS, arXiv:1409.3215",
            "One LSTM reads a sentence, and another, which starts from its state, writes the translation",
            page="[Encoder-decoder](../guide.md#encoder-decoder-a-state-handed-over)",
        ),
        Event("Le, Jaitly, Hinton 2015", "Rectified units, with the identity for a recurrent matrix to begin with", ("rnn_relu",)),
        Event(
            "Jozefowicz, Zaremba, Sutskever 2015",
            "A search among many cells finds some that beat the LSTM and the GRU at some tasks, and none that does at every task",
            ("mut1", "mut3"),
        ),
        Event("Ba, Kiros, Hinton 2016", "Layer normalization, within each step", ("lstm_layernorm", "gru_layernorm")),
        Event("Zhou, Wu, Zhang, Zhou 2016", "A single gate, which forgets and does the work of the others", ("mgu",)),
        Event(
            "Greff, Srivastava, Koutník, Steunebrink, Schmidhuber 2017",
            "The parts of the LSTM are left out one by one, to see which are needed",
            ("greff_nog", "greff_niaf", "greff_cifg", "greff_np"),
        ),
        Event("Zilly, Srivastava, Koutník, Schmidhuber 2017", "Several gated layers from one step to the next", ("rhn",)),
    ),
    "Spikes, matrices, and linear recurrences": (
        Event("Li, Li, Cook, Zhu, Gao 2018", "Of the state, each unit sees only itself: the recurrent matrix is a vector", ("indrnn",)),
        Event("Bellec et al. 2018", "Spiking neurons whose threshold adapts, trained by backpropagation through time", ("alif", "lsnn")),
        Event("Voelker, Kajić, Eliasmith 2019", "A state that holds a window of the past, as Legendre polynomials", ("lmu",)),
        Event(
            "Neftci, Mostafa, Zenke 2019, Surrogate Gradient Learning in Spiking Neural Networks, arXiv:1901.09948",
            "A name for what takes the place of a spike's derivative",
            page="[Surrogate gradients](surrogate.md)",
        ),
        Event(
            "Katharopoulos, Vyas, Pappas, Fleuret 2020",
            "Attention without its softmax is a recurrent network, and the state is a matrix",
            ("linear_attention",),
        ),
        Event(
            "Schlag, Irie, Schmidhuber 2021", "The delta rule: what the memory holds for a key is put right, not added to", ("deltanet",)
        ),
        Event(
            "Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023",
            "A linear and diagonal recurrence, begun and scaled so that it trains",
            ("lru",),
        ),
        Event("Gu, Dao 2024", "Mamba: a state space that chooses by the input what it keeps", ("mamba",)),
        Event("Beck et al. 2024", "xLSTM: gates that are exponentials, and a memory that is a matrix", ("slstm", "mlstm")),
        Event("Yang, Wang, Zhang, Shen, Kim 2024", "The delta rule in parallel over the sequence", ("deltanet",)),
        Event(
            "Sun, Li, Dalal, Xu, Vikram, Zhang, Dubois, Chen, Wang, Koyejo, Hashimoto, Guestrin 2024",
            "The state is a model, and each step is a step of its training",
            ("ttt_linear",),
        ),
        Event("Yang, Kautz, Hatamizadeh 2025", "The delta rule with a gate that forgets", ("gated_deltanet",)),
    ),
}


def tables() -> str:
    """Return the tables of the page: the dates of each era, and the cells of the literature by year."""
    parts = [f"## {title}\n\n{_table(events)}" for title, events in ERAS.items()]
    rows = [f"| {year} | {', '.join(map(link, names))} |" for year, names in by_year().items()]
    return "\n\n".join([*parts, "\n".join(["## All cells by year", "", "| year | cells |", "|---|---|", *rows])]) + "\n"


def _table(events: Sequence[Event]) -> str:
    rows = [f"| {year} | {event.what}. {event.here}<br><small>{cited}</small> |" for event in events for year, cited in [event.citation]]
    return "\n".join(["| year | what was new, where it is here, and the paper |", "|---|---|", *rows])


def by_year() -> dict[int, list[str]]:
    """Return the cells that have states by the year of the first work that each refers to, without variants of one from the same works."""
    found: dict[int, list[str]] = {}
    for name, cell in REGISTRY.items():
        if cell.states and not any(_varies(name, other) for other in REGISTRY):
            found.setdefault(int(works(cell.reference)[0]["year"]), []).append(name)
    return dict(sorted(found.items()))


def _varies(name: str, other: str) -> bool:
    """Whether a cell is a variant of the other, by its name, from whatever that is from."""
    own, of_other = ({*map(_cited, works(REGISTRY[cell].reference))} for cell in (name, other))
    return name.startswith(f"{other}_") and of_other <= own


def _cited(work: re.Match[str]) -> str:
    """Return a work without its year, and without the place in it."""
    return ", ".join([work[1], *(part for part in re.split(r", (?=\S)", work["rest"] or "") if part and not PART.match(part))])


def link(name: str) -> str:
    """Return a link from a page of theory to that of a cell."""
    return f"[`{name}`](../cells/{name}.md)"
