"""What a recurrent layer computes, apart from its weights: the form, and the cell that has it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..cell import Cell
from ..cells import SHIPPED
from .activations import RELU, SIGMOID, TANH, Activation
from .errors import ConvertError
from .layouts import BIAS, CELLS, PEEPHOLE, PROJECTION, RECURRENT_BIAS, Layout, Parts

Activations = tuple[Activation, ...]
USUAL: dict[str, Activations] = {"lstm": (SIGMOID, TANH, TANH), "gru": (SIGMOID, TANH), "rnn": (TANH,)}
"""Of the gates, the candidate, and the memory of an LSTM; of a simple recurrent network, of the state alone."""
CALLS = {"lstm": ("sigmoid(", "tanh(", "tanh(c"), "gru": ("sigmoid(", "tanh("), "rnn": ("tanh(",)}
"""How the calls of these begin in the texts of the cells."""


@dataclass(frozen=True)
class Form:
    """What a layer computes.

    Attributes
    ----------
    kind : "lstm", "gru" or "rnn"
    reset : str or None
        Of a GRU, where the reset gate stands, "before" or "after" the product; None if the file does not tell, "" for other kinds.
    activations : tuple or None
        As in `USUAL`; None if the file does not tell.
    coupled : bool
        Whether an LSTM's forget gate is 1 - i.
    """

    kind: str
    reset: str | None = ""
    activations: Activations | None = None
    coupled: bool = False

    @property
    def told(self) -> bool:
        """Whether the file tells all."""
        return self.reset is not None and self.activations is not None

    def admits(self, other: Form) -> bool:
        """Say whether a layer of which this is told may have another form."""
        return (
            (self.kind, self.coupled) == (other.kind, other.coupled)
            and self.reset in (None, other.reset)
            and self.activations in (None, other.activations)
        )


UNKNOWN = Form("")
"""Of a layer that cannot be translated."""


def functions_of(name: str) -> Activations:
    """Return the functions of a cell with a layout."""
    return (RELU,) if name.startswith("rnn_relu") else USUAL[CELLS[name].kind]


def form_of(name: str) -> Form:
    """Return the form of a cell with a layout."""
    return Form(CELLS[name].kind, CELLS[name].reset, functions_of(name))


def suited(form: Form, parts: Parts) -> list[str]:
    """Return the cells with a layout that a layer may be: first those that have each of its arrays as it is."""
    admitted = [name for name in CELLS if form.admits(form_of(name))]
    exact = [name for name in admitted if CELLS[name].has(parts)]
    return exact or [name for name in admitted if CELLS[name].has(CELLS[name].summed(parts))]


def own_cell(form: Form, parts: Parts) -> tuple[Cell, Layout]:
    """Return a cell that no other has the form of, made from the nearest by other functions, and its layout."""
    if parts.get(PROJECTION) or form.activations is None:
        raise ConvertError("a layer with a projection and other functions than sigmoid and tanh has no counterpart")
    base = "lstm_peephole" if parts.get(PEEPHOLE) else "gru_v3" if form.reset == "before" else form.kind
    biased = bool(parts.get(BIAS) or parts.get(RECURRENT_BIAS))
    activations = _distinct(form.activations)
    functions: dict[str, str] = {}
    for activation in activations:
        functions |= activation.defined
    cell = Cell(
        _text(form.kind, SHIPPED[base].text, activations, form.coupled, biased),
        name=_name(base, form, biased),
        output=SHIPPED[base].output,
        title=f"{SHIPPED[base].title}, made for a layer of another framework",
        functions=functions,
    )
    return cell, CELLS[base] if biased else CELLS[base].without(BIAS, RECURRENT_BIAS)


def _distinct(activations: Activations) -> Activations:
    """Return functions of which no two that differ have one name."""
    different = [*dict.fromkeys(activations)]
    names = [activation.name for activation in different]
    renamed = {each: each.numbered(k) if names.count(each.name) > 1 else each for k, each in enumerate(different)}
    return tuple(renamed[activation] for activation in activations)


def _text(kind: str, text: str, activations: Activations, coupled: bool, biased: bool) -> str:
    """Return a cell's text with other functions in it; with a coupled forget gate, or without biases, where that is asked for."""
    put = dict(zip(CALLS[kind], activations, strict=True))
    text = re.sub(r"\b(sigmoid\(|tanh\(c|tanh\()", lambda call: call[1].replace(call[1].partition("(")[0], put[call[1]].name), text)
    text = re.sub(r"\bf = .*", "f = 1 - i", text) if coupled else text
    return text if biased else re.sub(r" \+ b(_\w+)?\b", "", text)


def _name(base: str, form: Form, biased: bool) -> str:
    others = [each.name for each in dict.fromkeys(form.activations or ()) if each not in USUAL[form.kind]]
    usual = [] if others or form.activations == USUAL[form.kind] else ["other"]
    return "_".join([base, *others, *usual, *(["coupled"] if form.coupled else []), *([] if biased else ["nobias"])])
