"""Models of ONNX: the weights of its operators LSTM, GRU and RNN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from .weights import Weights
from .whole import need

OPSETS = range(7, 29)
"""Those that were tested; the operators changed in 7, 14 and 22."""

INPUTS = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


class _Refused(Exception):
    """What stands in the way of a layer's translation."""


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
    known = {each.name: each for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in INPUTS and node.domain in ("", "ai.onnx")]
    return Contents(tuple(layer for k, node in enumerate(nodes) for layer in _layers(onnx, node, k, known)))


def _layers(onnx: Any, node: Any, k: int, known: Mapping[str, Any]) -> Iterator[Layer]:
    """Yield the layers of an operator."""
    options = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    ways = DIRECTIONS.get(_text(options.get("direction", b"forward")), (False,))
    base = node.name or f"{node.op_type}_{k}"
    for way, reverse in enumerate(ways):
        name = base if len(ways) == 1 else f"{base}/{('forward', 'backward')[way]}"
        try:
            yield _layer(onnx, node, options, known, name, way, reverse)
        except _Refused as error:
            yield Layer(name, reverse=reverse, refusal=str(error))


def _layer(onnx: Any, node: Any, options: Mapping[str, Any], known: Mapping[str, Any], name: str, way: int, reverse: bool) -> Layer:
    given = {role: value for role, value in zip(INPUTS[node.op_type], node.input, strict=False) if value}
    after = bool(options.get("linear_before_reset", 0))
    layout = ONNX[f"GRU(linear_before_reset={int(after)})" if node.op_type == "GRU" else node.op_type]
    found: dict[str, Array] = {role: _constant(onnx, given[role], known, role)[way] for role in ("W", "R", "B", "P") if role in given}
    if "B" in found:
        found["Wb"], found["Rb"] = np.split(found.pop("B"), 2)
    form = Form(layout.kind, layout.reset, _activations(layout, options, way), bool(options.get("input_forget", 0)))
    return Layer(name, form, layout.parts(found), reverse, tuple(_notes(given, known)))


def _constant(onnx: Any, value: str, known: Mapping[str, Any], role: str) -> Array:
    if value not in known:
        raise _Refused(f"its {role} is computed in the model, and must be one of its initializers")
    array: Array = onnx.numpy_helper.to_array(known[value])
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.itemsize != 2:
        raise _Refused(f"its {role} has numbers of type {array.dtype}")
    return real(array)


def _notes(given: Mapping[str, str], known: Mapping[str, Any]) -> Iterator[str]:
    for role in ("initial_h", "initial_c"):
        if role in given:
            where = "which the model has as a constant" if given[role] in known else "which the model computes"
            yield f"it begins from {role}, {where}: give it as a state"


def _activations(layout: Layout, options: Mapping[str, Any], way: int) -> tuple[Activation, ...]:
    """Return the functions of a direction, clipped where the operator clips."""
    usual = USUAL[layout.kind]
    names = [_text(each).lower() for each in options.get("activations", ())]
    found = _with_constants(names, options)[way * len(usual) : (way + 1) * len(usual)] if names else list(usual)
    if len(found) != len(usual):
        raise _Refused(f"it has {len(names)} activations: {len(usual)} for each direction are needed")
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
            raise _Refused(f"the language has no counterpart of its activation {name}")
        made.append(activation)
    return made


def _shortest(value: float) -> float:
    """Return the shortest decimal number that is the same in float32, which attributes are kept in."""
    return float(str(np.float32(value)))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
