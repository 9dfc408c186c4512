"""How each framework lays the weights of an LSTM, a GRU and a simple recurrent network out: one table, and the way in and out of a layout.

Between two layouts weights are in parts: input, recurrent, bias, recurrent bias, peephole, projection; each has an array for each gate,
a matrix with a row for each unit.  This module needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .errors import ConvertError

Array = np.ndarray
Parts = Mapping[str, Mapping[str, Array]]
"""By part, an array for each gate that has one: input (n, d), recurrent (n, n), bias, recurrent bias and peephole (n,); recurrent is (n, p)
where there is a projection, (p, n)."""

INPUT, RECURRENT, BIAS, RECURRENT_BIAS, PEEPHOLE, PROJECTION = PARTS = (
    *("input", "recurrent", "bias", "recurrent bias", "peephole", "projection"),
)
CANDIDATE = {"lstm": "g", "gru": "n", "rnn": "h"}
"""By kind, the gate that is no gate, but what is offered to the state."""

Names = str | tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Where the weights of a layer lie.

    Attributes
    ----------
    kind : "lstm", "gru" or "rnn"
    gates : tuple of str
        In the order of the layout: i, f, g, o of an LSTM, r, z, n of a GRU, h of a simple recurrent network; g, n and h are the candidates.
    names : mapping from part to str or tuple of str
        The name of the array that has all gates, one after the other; or of one for each gate in order, "" where there is none.
    transposed : bool
        Whether matrices have a column for each unit, and not a row.
    reset : "before", "after" or ""
        Where the reset gate of a GRU stands: it multiplies the state before the product, or the product.
    """

    kind: str
    gates: tuple[str, ...]
    names: Mapping[str, Names]
    transposed: bool = False
    reset: str = ""

    def gates_of(self, part: str) -> tuple[str, ...]:
        """Return the gates that have a part, in order."""
        if part == PROJECTION:
            return ("",)
        return tuple(gate for gate in self.gates if part != PEEPHOLE or gate != CANDIDATE[self.kind])

    def named(self, part: str) -> dict[str, str]:
        """Return the array of each gate's part, where it has one."""
        names, gates = self.names.get(part, ()), self.gates_of(part)
        each = dict.fromkeys(gates, names) if isinstance(names, str) else dict(zip(gates, names, strict=bool(names)))
        return {gate: name for gate, name in each.items() if name}

    def has(self, parts: Parts) -> bool:
        """Say whether there is a place for every array of all parts, so that nothing is added up, and no place is empty but for biases."""
        filled = all(parts.get(part) for part in self.names if part not in (BIAS, RECURRENT_BIAS))
        return filled and all(gates.keys() <= self.named(part).keys() for part, gates in parts.items())

    def without(self, *parts: str) -> Layout:
        """Return the layout without some parts."""
        return replace(self, names={part: names for part, names in self.names.items() if part not in parts})

    def fitted(self, parts: Parts) -> Layout:
        """Return the layout without what a layer may have or not, and this one has not: biases, a projection."""
        biases = () if parts.get(BIAS) or parts.get(RECURRENT_BIAS) else (BIAS, RECURRENT_BIAS)
        return self.without(*biases, *(() if parts.get(PROJECTION) else (PROJECTION,)))

    def parts(self, arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """Return the weights of arrays in this layout; what is not among them is left out.

        Raises
        ------
        ConvertError
            If an array cannot be cut into as many gates.
        """
        found = {part: self._cut(part, arrays) for part in self.names}
        return {part: gates for part, gates in found.items() if gates}

    def _cut(self, part: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        names, gates = self.names[part], self.gates_of(part)
        if not isinstance(names, str):
            return {gate: self._turned(arrays[name]) for gate, name in self.named(part).items() if name in arrays}
        if names not in arrays:
            return {}
        whole = self._turned(arrays[names])
        if whole.ndim == 0 or len(whole) % len(gates):
            raise ConvertError(f"`{names}` has shape {arrays[names].shape}: a multiple of {len(gates)}, the number of gates, is needed")
        return dict(zip(gates, np.split(whole, len(gates)), strict=True))

    def arrays(self, parts: Parts) -> dict[str, Array]:
        """Return the arrays of this layout; a part that is not among the weights is zero.

        Raises
        ------
        ConvertError
            If weights that are not zero have no place here.
        """
        placed = dict(self._placed(parts))
        found: dict[str, Array] = {}
        for part, names in self.names.items():
            each = {gate: self._turned(placed[part, gate]) for gate in self.gates_of(part) if gate in self.named(part)}
            if isinstance(names, str):
                found[names] = np.concatenate([*each.values()], -1 if self.transposed else 0)
            else:
                found |= {self.named(part)[gate]: value for gate, value in each.items()}
        return found

    def _placed(self, parts: Parts) -> Iterator[tuple[tuple[str, str], Array]]:
        """Yield an array for each place, after what has none."""
        parts = self.summed(parts)
        for part, gates in parts.items():
            homeless = [gate for gate, value in gates.items() if gate not in self.named(part) and value.any()]
            if homeless:
                raise ConvertError(f"the layer has a {part}{_of(homeless)}, and the cell has none there")
        like = parts[INPUT][self.gates[0]]
        for part in self.names:
            for gate in self.named(part):
                value = parts.get(part, {}).get(gate)
                if value is None and part not in (BIAS, RECURRENT_BIAS, PEEPHOLE):
                    raise ConvertError(f"the cell has a {part}{_of([gate])}, and the layer has none")
                yield (part, gate), np.zeros(len(like), like.dtype) if value is None else value

    def summed(self, parts: Parts) -> Parts:
        """Return weights with recurrent biases that have no place added to the others: but under a reset gate, only their sum counts."""
        given = parts.get(RECURRENT_BIAS, {})
        kept = {gate for gate in given if gate in self.named(RECURRENT_BIAS) or (self.reset == "after" and gate == CANDIDATE[self.kind])}
        bias = dict(parts.get(BIAS, {}))
        for gate in given.keys() - kept:
            bias[gate] = bias[gate] + given[gate] if gate in bias else given[gate]
        return {**parts, BIAS: bias, RECURRENT_BIAS: {gate: given[gate] for gate in kept}}

    def _turned(self, array: Array) -> Array:
        return np.ascontiguousarray(array.T if self.transposed and array.ndim == 2 else array)


def _of(gates: list[str]) -> str:
    return f" of {', '.join(sorted(gates))}" if any(gates) else ""


IFGO, RZN, ALONE = ("i", "f", "g", "o"), ("r", "z", "n"), ("h",)
TORCH_NAMES = {INPUT: "weight_ih", RECURRENT: "weight_hh", BIAS: "bias_ih", RECURRENT_BIAS: "bias_hh"}
KERAS_NAMES = {INPUT: "kernel", RECURRENT: "recurrent_kernel", BIAS: "bias"}
TWO_KERAS_BIASES = {**KERAS_NAMES, BIAS: "bias[0]", RECURRENT_BIAS: "bias[1]"}
ONNX_NAMES = {INPUT: "W", RECURRENT: "R", BIAS: "Wb", RECURRENT_BIAS: "Rb"}  # Wb and Rb are the halves of B
STACKED_NAMES = {INPUT: "W_ih", RECURRENT: "W_hh", BIAS: "b_ih", RECURRENT_BIAS: "b_hh"}

TORCH: dict[str, Layout] = {
    "LSTM": Layout("lstm", IFGO, {**TORCH_NAMES, PROJECTION: ("weight_hr",)}),
    "GRU": Layout("gru", RZN, TORCH_NAMES, reset="after"),
    "RNN": Layout("rnn", ALONE, TORCH_NAMES),
}
KERAS: dict[str, Layout] = {
    "LSTM": Layout("lstm", IFGO, KERAS_NAMES, transposed=True),
    "GRU(reset_after=True)": Layout("gru", ("z", "r", "n"), TWO_KERAS_BIASES, transposed=True, reset="after"),
    "GRU(reset_after=False)": Layout("gru", ("z", "r", "n"), KERAS_NAMES, transposed=True, reset="before"),
    "SimpleRNN": Layout("rnn", ALONE, KERAS_NAMES, transposed=True),
}
ONNX: dict[str, Layout] = {
    "LSTM": Layout("lstm", ("i", "o", "f", "g"), {**ONNX_NAMES, PEEPHOLE: "P"}),
    "GRU(linear_before_reset=1)": Layout("gru", ("z", "r", "n"), ONNX_NAMES, reset="after"),
    "GRU(linear_before_reset=0)": Layout("gru", ("z", "r", "n"), ONNX_NAMES, reset="before"),
    "RNN": Layout("rnn", ALONE, ONNX_NAMES),
}


def _each(gates: tuple[str, ...], **parts: str) -> dict[str, Names]:
    """Return names with a letter for each gate; a part's template is given by its keyword, with `_` for a space."""
    return {part.replace("_", " "): tuple(template.format(gate) for gate in gates) for part, template in parts.items()}


LSTM_NAMES = _each(IFGO, input="W_{}", recurrent="U_{}", bias="b_{}")
PEEPHOLE_NAMES = {**_each(("i", "f", "z", "o"), input="W_{}", recurrent="R_{}", bias="b_{}"), PEEPHOLE: ("p_i", "p_f", "p_o")}
RESET_AFTER_NAMES = {**_each(RZN, input="W_{}", recurrent="U_{}"), BIAS: ("b_r", "b_z", "b_in"), RECURRENT_BIAS: ("", "", "b_hn")}

WITH_BIASES: dict[str, Layout] = {
    "lstm": Layout("lstm", IFGO, LSTM_NAMES),
    "lstm_torch": Layout("lstm", IFGO, STACKED_NAMES),
    "lstmp": Layout("lstm", IFGO, {**LSTM_NAMES, PROJECTION: ("W_hr",)}),
    "lstmp_torch": Layout("lstm", IFGO, {**STACKED_NAMES, PROJECTION: ("W_hr",)}),
    "gru": Layout("gru", RZN, RESET_AFTER_NAMES, reset="after"),
    "gru_torch": Layout("gru", RZN, STACKED_NAMES, reset="after"),
    "gru_v3": Layout("gru", RZN, _each(("r", "z", "h"), input="W_{}", recurrent="U_{}", bias="b_{}"), reset="before"),
    **{f"rnn{key}": Layout("rnn", ALONE, {INPUT: ("W",), RECURRENT: ("U",), BIAS: ("b",)}) for key in ("", "_relu")},
    **{f"rnn{key}_torch": Layout("rnn", ALONE, STACKED_NAMES) for key in ("", "_relu")},
}
PEEPHOLES: dict[str, Layout] = {"lstm_peephole": Layout("lstm", IFGO, PEEPHOLE_NAMES)}
CELLS: dict[str, Layout] = {
    **{f"{name}_nobias": layout.without(BIAS, RECURRENT_BIAS) for name, layout in WITH_BIASES.items() if name != "lstmp"},
    **WITH_BIASES,
    **PEEPHOLES,
}
"""Of the cells that come with derive; those with fewer weights first."""


def table() -> str:
    """Return the table of all layouts as Markdown."""
    head = "| layer | gates | matrices | biases | names |\n|---|---|---|---|---|"
    sides = {"torch.nn": TORCH, "Keras": KERAS, "ONNX": ONNX, "derive": WITH_BIASES | PEEPHOLES}
    return "\n".join([head, *(_row(f"{side} {name}", layout) for side, of in sides.items() for name, layout in of.items())])


def _row(name: str, layout: Layout) -> str:
    stacked = isinstance(layout.names[INPUT], str)
    size = f"{len(layout.gates)}n" if stacked and len(layout.gates) > 1 else "n"
    shape = f"(d, {size})" if layout.transposed else f"({size}, d)"
    biases = sum(bool(layout.named(part)) for part in (BIAS, RECURRENT_BIAS))
    names = (f"`{name}`" for part in layout.names for name in dict.fromkeys(layout.named(part).values()))
    return f"| {name} | {' '.join(layout.gates)} | {shape} | {biases} | {' '.join(names)} |"
