"""Which of ONNX's recurrent operators a cell is, if its equations are just those of one.

Rows of weights lie in ONNX's order: input, output, forget gate and candidate of an LSTM; update and reset gate and candidate of a GRU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from ...calculus import functions as fn
from ...calculus.chain import FORWARD
from ...calculus.derivation import primal
from ...language.definition import Definition
from ...language.names import previous
from ...program.passes.numbers import numbers
from .affine import Affine, NotAffineError, Term
from .graph import Block, Piece

Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class Gate:
    """The rows of one gate, or of the candidate: of the input, of the state, their biases, and the peephole."""

    input: Pieces
    state: Pieces
    bias: Pieces
    state_bias: Pieces = ()
    peephole: Pieces = ()


@dataclass(frozen=True)
class Recurrent:
    """A recurrent operator.

    Attributes
    ----------
    operator : str
        ``RNN``, ``GRU`` or ``LSTM``.
    input, state, memory : str
        The cell's own names; only an LSTM has a memory.
    gates : tuple of Gate
        In ONNX's order.
    width : int
        Number of features of the state.
    attributes : mapping
        Those of the operator that are not what they are by default.
    """

    operator: str
    input: str
    state: str
    memory: str
    gates: tuple[Gate, ...]
    width: int
    attributes: Mapping[str, Any]

    def blocks(self, part: str, *columns: int) -> tuple[Block, ...]:
        """Return one part of every gate."""
        return tuple(Block((self.width, *columns), getattr(gate, part)) for gate in self.gates)


def recurrent(cell: Definition, sizes: Mapping[str, int]) -> Recurrent | None:
    """Return the operator that a cell is, or None."""
    if len(cell.inputs) != 1 or cell.context or cell.heads or cell.integers or len(cell.states) > 2:
        return None
    if any(len(cell.shapes[name]) != 1 for name in (*cell.inputs, *cell.states)) or cell.output not in cell.states:
        return None
    rec = numbers(primal(cell))[FORWARD].recurrence
    reader = _Reader(cell, Affine(cell, rec, sizes))
    for read in (reader.rnn, reader.gru) if len(cell.states) == 1 else (reader.lstm,):
        try:
            return read()
        except NotAffineError:
            continue
    return None


class _Reader:
    """Compares a cell with each operator; what is not the operator's raises NotAffineError."""

    def __init__(self, cell: Definition, affine: Affine) -> None:
        self.cell, self.affine = cell, affine
        self.input, self.state = cell.inputs[0], cell.output
        self.before = sp.Symbol(previous(self.state))

    def found(self, operator: str, *gates: Gate, memory: str = "", **attributes: Any) -> Recurrent:
        width = self.affine.length(self.state)
        return Recurrent(operator, self.input, self.state, memory, gates, width, attributes)

    def rnn(self) -> Recurrent:
        expr = self.affine.expression(self.state)
        for function, name in ((fn.tanh, "Tanh"), (fn.relu, "Relu")):
            if isinstance(expr, function):
                return self.found("RNN", self.gate(expr), activations=(name,))
        raise NotAffineError

    def gru(self) -> Recurrent:
        expr = self.affine.expression(self.state)
        update = expr.coeff(self.before)
        candidate = (expr - update * self.before) / (1 - update)
        argument = self.argument(candidate, fn.tanh)
        resets = argument.atoms(fn.sigmoid)
        if len(resets) == 1:
            (reset,) = resets
            inner, outer = argument.coeff(reset), argument - reset * argument.coeff(reset)
            own = self.gate_of(self.affine.terms(outer), self.affine.terms(inner))
            return self.found("GRU", self.gate(update), self.gate(reset), own, linear_before_reset=1)
        terms = self.affine.terms(argument)
        scaled = {term.vector for term in terms if term.matrix and term.vector != self.input}
        if len(scaled) != 1:
            raise NotAffineError
        (vector,) = scaled
        reset = self.affine.expression(vector) / self.before
        return self.found("GRU", self.gate(update), self.gate(reset), self.gate_of(terms, state=vector))

    def lstm(self) -> Recurrent:
        (memory,) = (name for name in self.cell.states if name != self.state)
        new, old = sp.Symbol(memory), sp.Symbol(previous(memory))
        output = self.affine.expression(self.state) / fn.tanh(new)
        expr = self.affine.expression(memory)
        forget = expr.coeff(old)
        factors = (expr - forget * old).as_ordered_factors()
        if len(factors) != 2:
            raise NotAffineError
        candidate, entry = sorted(factors, key=lambda factor: not isinstance(factor, fn.tanh))
        gates = (
            self.gate(entry, peephole=old.name),
            self.gate(output, peephole=new.name),
            self.gate(forget, peephole=old.name),
            self.gate_of(self.affine.terms(self.argument(candidate, fn.tanh))),
        )
        return self.found("LSTM", *gates, memory=memory)

    def argument(self, expr: sp.Expr, function: Any) -> sp.Expr:
        if not isinstance(expr, function):
            raise NotAffineError
        return expr.args[0]

    def gate(self, expr: sp.Expr, peephole: str = "") -> Gate:
        """Return the rows of a gate, or of an RNN's one function."""
        argument = expr.args[0] if isinstance(expr, fn.tanh | fn.relu) else self.argument(expr, fn.sigmoid)
        return self.gate_of(self.affine.terms(argument), peephole=peephole)

    def gate_of(self, terms: list[Term], inner: list[Term] | None = None, state: str = "", peephole: str = "") -> Gate:
        """Return rows as ONNX has them; `inner` are those under a reset gate, `state` what the recurrent weights multiply."""
        state = state or self.before.name
        of_state = terms if inner is None else inner
        kinds = {
            "input": [term.piece for term in terms if term.matrix and term.vector == self.input],
            "state": [term.piece for term in of_state if term.matrix and term.vector == state],
            "bias": [term.piece for term in terms if not term.vector],
            "state_bias": [term.piece for term in inner or () if not term.vector],
            "peephole": [term.piece for term in terms if not term.matrix and term.vector and term.vector == peephole],
        }
        if sum(map(len, kinds.values())) != len(terms) + len(inner or ()):
            raise NotAffineError  # there is something that ONNX has no place for
        return Gate(**{kind: tuple(pieces) for kind, pieces in kinds.items()})
