"""Models of ONNX: the weights of its operators LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import activations
from .activations import Activation
from .arrays import real
from .contents import Contents
from .errors import ConvertError
from .forms import USUAL, Form
from .layer import Layer
from .layouts import ONNX, Array, Layout
from .needed import need
from .weights import Weights

OPSETS = range(7, 29)
"""Those that were tested; the operators changed in 7, 14 and 22."""

INPUTS = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
RANKS = {"W": 3, "R": 3, "B": 2, "P": 2}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def refuse(path: Path, weights: Weights) -> None:
    """Write nothing: a model is more than weights."""
    raise ConvertError(f"`{path}`: weights alone make no model of ONNX; `derive export onnx` writes a cell as a model")


def read(path: Path) -> Contents:
    """Return the recurrent operators of a model's graph, each direction a layer; those of bodies of loops are not looked for."""
    onnx = need("onnx")
    try:
        model = onnx.load(path)
    except Exception as error:  # of protobuf, and of files beside the model: there is no list
        raise ConvertError(f"`{path}` cannot be read as a model of ONNX: {error}") from error
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), None)
    if opset not in OPSETS:
        raise ConvertError(f"`{path}` is of opset {opset}; opsets {OPSETS[0]} to {OPSETS[-1]} were tested, and can be read")
    constants = {each.name: each for each in model.graph.initializer} | dict(_constants(model.graph))
    nodes = [node for node in model.graph.node if node.op_type in INPUTS and node.domain in ("", "ai.onnx")]
    operators = [_operator(onnx, node, name, constants) for node, name in zip(nodes, _names(nodes), strict=True)]
    return Contents(tuple(layer for operator in operators for layer in _layers(operator)))


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of operators that do nothing but give one, which some exporters keep weights in."""
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            yield from ((node.output[0], each.t) for each in node.attribute if each.name == "value")


def _names(nodes: Sequence[Any]) -> list[str]:
    """Return a name for each operator: its own, with its number if it has none, or others have the same."""
    own = [node.name or node.op_type for node in nodes]
    return [name if node.name and own.count(name) == 1 else f"{name}_{k}" for k, (name, node) in enumerate(zip(own, nodes, strict=True))]


@dataclass(frozen=True)
class _Operator:
    """A recurrent operator: its attributes, its inputs by what they are, and the tensors of those weights that the file has."""

    kind: str
    name: str
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    tensors: Mapping[str, Any]

    @property
    def direction(self) -> str:
        return _text(self.options.get("direction", b"forward"))

    @property
    def ways(self) -> tuple[bool, ...]:
        """For each direction, whether it goes from the last step to the first; none where there is no such direction."""
        return DIRECTIONS.get(self.direction, ())


def _operator(onnx: Any, node: Any, name: str, constants: Mapping[str, Any]) -> _Operator:
    options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    inputs = {role: value for role, value in zip(INPUTS[node.op_type], node.input, strict=False) if value}
    known = {role: constants[value] for role, value in inputs.items() if value in constants and role in RANKS}
    return _Operator(node.op_type, name, options, inputs, known)


def _layers(operator: _Operator) -> Iterator[Layer]:
    """Yield the layer of each direction."""
    if not operator.ways:
        yield Layer(operator.name, refusal=f"its direction is `{operator.direction}`, and must be one of {', '.join(DIRECTIONS)}")
    for way, reverse in enumerate(operator.ways):
        name = operator.name if len(operator.ways) == 1 else f"{operator.name}/{('forward', 'backward')[way]}"
        try:
            yield _layer(operator, name, way)
        except ConvertError as error:
            yield Layer(name, reverse=reverse, refusal=str(error))


def _layer(operator: _Operator, name: str, way: int) -> Layer:
    options = operator.options
    after = int(bool(options.get("linear_before_reset", 0)))
    layout = ONNX[f"GRU(linear_before_reset={after})" if operator.kind == "GRU" else operator.kind]
    found = {role: _weight(operator, role)[way] for role in RANKS if role in operator.inputs}
    _check_units(options, found["R"])
    if "B" in found:
        found["Wb"], found["Rb"] = np.array_split(found.pop("B"), 2)
    form = Form(layout.kind, layout.reset, _activations(layout, options, way), bool(options.get("input_forget", 0)))
    return Layer(name, form, layout.parts(found), operator.ways[way], tuple(_notes(operator)))


def _check_units(options: Mapping[str, Any], recurrent: Array) -> None:
    """Refuse an operator that says another number of units than its weights are of: nobody could run it."""
    said, units = options.get("hidden_size"), recurrent.shape[-1]
    if said is not None and said != units:
        raise ConvertError(f"its hidden_size is {said}, but its R has {units} columns, one for each unit: they must be the same number")


def _weight(operator: _Operator, role: str) -> Array:
    """Return an array with an axis for directions in front."""
    if role not in operator.tensors:
        raise ConvertError(f"its {role} is computed in the model, and must be one of its initializers or constants")
    try:
        array = real(need("onnx").numpy_helper.to_array(operator.tensors[role]))
    except (TypeError, ValueError) as error:  # of a file that was cut, or of a tensor of strings
        raise ConvertError(f"its {role} cannot be read: {error}") from error
    if array.ndim != RANKS[role] or len(array) != len(operator.ways):
        raise ConvertError(
            f"its {role} has shape {array.shape}: {RANKS[role]} axes are needed, {len(operator.ways)} directions in the first"
        )
    return array


def _notes(operator: _Operator) -> Iterator[str]:
    for role in ("initial_h", "initial_c"):
        if role in operator.inputs:
            yield f"it begins from its {role}, which is no weight: give it as the state"


def _activations(layout: Layout, options: Mapping[str, Any], way: int) -> tuple[Activation, ...]:
    """Return the functions of a direction, clipped where the operator clips."""
    usual = USUAL[layout.kind]
    names = [_text(each).lower() for each in options.get("activations", ())]
    found = _with_constants(names, options)[way * len(usual) : (way + 1) * len(usual)] if names else list(usual)
    if len(found) != len(usual):
        raise ConvertError(f"it has {len(names)} activations: {len(usual)} for each direction are needed")
    bound = options.get("clip", 0.0)
    if not bound:
        return tuple(found)
    return tuple(each.clipped(_shortest(bound)) if k < 2 else each for k, each in enumerate(found))


def _with_constants(names: list[str], options: Mapping[str, Any]) -> list[Activation]:
    """Return functions with their alphas and betas, which are handed out in order, to those that have such."""
    alphas, betas = iter(options.get("activation_alpha", ())), iter(options.get("activation_beta", ()))
    made = []
    for name in names:
        usual = activations.DEFAULTS.get(name, ())
        constants = [_shortest(next(given, default)) for given, default in zip((alphas, betas), usual, strict=False)]
        activation = activations.onnx(name, *constants)
        if activation is None:
            raise ConvertError(f"the language has no counterpart of its activation {name}")
        made.append(activation)
    return made


def _shortest(value: float) -> float:
    """Return the shortest decimal number that is the same in float32, which attributes are kept in."""
    return float(str(np.float32(value)))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
