"""Transformations: from a definition to one that drops, keeps, clears or adds something, on its tree of equations.

What is drawn or told outside, such as a mask, is one more input or context of the new definition, without a gradient. A transformation
takes what another one made; what is applied later lies outside: `resettable(zoneout(cell))` clears a state before zoneout keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .definition import Definition
from .errors import CellError, nearest
from .flow import multiplied, multiplies, needed, within_products
from .names import fresh, previous
from .parse import parse_expression
from .rewrite import substitute
from .sizes import Size, shape_text
from .tree import Assignment, Name
from .unparse import unparse
from .wellformed import targets_of

D = TypeVar("D", bound=Definition)


@dataclass(frozen=True)
class Told:
    """What a transformation adds to the names that are given: the shape of each input and context by its name, and how it is typeset; they
    have no gradient.
    """

    inputs: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, str] = field(default_factory=dict)
    latex: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    description: str = ""
    reference: str = ""


def zoneout(cell: D, *, states: Collection[str] | None = None, name: str | None = None) -> D:
    """Return a cell that leaves elements of its states as they were: where `zoneout_s`, an input like the state s, is 1.

    With numbers between 0 and 1 it is the mean of both: the probability itself gives what is expected, for use after training.

    Parameters
    ----------
    cell : Definition
    states : collection of str, optional
        Which; all by default.
    name : str, optional
        Of the new cell; `<cell>_zoneout` by default.

    Raises
    ------
    CellError
        If the cell has no such state, or one of the new names is taken.
    """
    chosen = _with_masks(cell, "zoneout", _states(cell, "zoneout", states), states)

    def kept(state: str, new: str) -> str:
        mask = _mask(cell, "zoneout", state)
        return f"{mask} * {previous(state)} + (1 - {mask}) * {new}"

    lines = _renewed(cell, cell.equations, dict.fromkeys(chosen, kept), "new")
    told = Told(
        inputs={f"zoneout_{state}": _mask_shape(cell, state) for state in chosen},
        latex={f"zoneout_{state}": f"d^{{{cell.latex.get(state, state)}}}" for state in chosen},
        title="with zoneout",
        description=(
            f"With zoneout, an element of {_listed(chosen)} stays as it was wherever its mask is 1, drawn anew at each step. "
            "There its cotangent goes to the step before as it is, and nothing of it into the cell: noise like dropout's, but"
            " it cuts no path back through time. After training the mask is the probability, and the state the mean of both."
        ),
        reference="zoneout: Krueger et al. 2017, ICLR, arXiv:1606.01305",
    )
    return _made(cell, "zoneout", lines, told, name)


def recurrent_dropout(cell: D, *, states: Collection[str] | None = None, name: str | None = None) -> D:
    """Return a cell in which matrices see a state with elements dropped: times `dropout_s`, a context like the state s, one for all steps.

    Parameters
    ----------
    cell : Definition
    states : collection of str, optional
        Which; by default all that a matrix multiplies.
    name : str, optional
        Of the new cell; `<cell>_recurrent_dropout` by default.

    Raises
    ------
    CellError
        If the cell has no such state, no matrix multiplies it, or one of the new names is taken.
    """
    inner = multiplied(cell)
    candidates = _states(cell, "recurrent_dropout", states)
    chosen = [s for s in candidates if any(multiplies(line, s, inner) for line in cell.equations)]
    if not chosen or (states is not None and len(chosen) < len(candidates)):
        missing = [s for s in candidates if s not in chosen]
        raise CellError(
            f"recurrent_dropout: no matrix multiplies {_listed(missing)} of {cell.name}: there is nothing to drop", text=cell.text
        )
    chosen = _with_masks(cell, "recurrent_dropout", chosen, states)
    renamed = {previous(s): Name(_fresh(cell, f"{s}_dropped")) for s in chosen}
    first = [_line(renamed[previous(s)].id, f"{_mask(cell, 'dropout', s)} * {previous(s)}") for s in chosen]
    rest = [replace(line, value=within_products(line.value, renamed, inner.issuperset(line.targets))) for line in cell.equations]
    told = Told(
        context={f"dropout_{state}": _mask_shape(cell, state) for state in chosen},
        latex={f"dropout_{state}": f"m^{{{cell.latex.get(state, state)}}}" for state in chosen},
        title="with recurrent dropout",
        description=(
            f"With recurrent dropout, what the matrices see of {_listed(chosen)} is multiplied by a mask, 0 or 1/(1-p), that "
            "is the same at every step of a sequence; what is kept of a state from step to step is left alone. A cotangent "
            "comes back through the matrices times the same mask: an element that is dropped gets none that way, at any step."
        ),
        reference="one mask a sequence: Gal, Ghahramani 2016, NeurIPS, arXiv:1512.05287",
    )
    return _made(cell, "recurrent_dropout", [*first, *rest], told, name)


def masked(cell: D, *, name: str | None = None) -> D:
    """Return a cell that leaves its states as they were at steps at which `mask`, an input of one number, is 0.

    What the other inputs hold there, be it NaN, reaches neither a value nor a gradient.

    Parameters
    ----------
    cell : Definition
    name : str, optional
        Of the new cell; `<cell>_masked` by default.

    Raises
    ------
    CellError
        If the cell has no state, or one of the new names is taken.
    """
    states = _states(cell, "masked", None)
    seen = {x: _fresh(cell, f"{x}_seen") for x in cell.inputs if x not in cell.without_gradient}
    first = [_line(new, f"where(mask > 0, {x}, 0)") for x, new in seen.items()]
    names = {x: Name(new) for x, new in seen.items()}
    rest = [replace(line, value=substitute(line.value, names)) for line in cell.equations]

    def kept(state: str, new: str) -> str:
        return f"where(mask > 0, {new}, {previous(state)})"

    lines = [*first, *_renewed(cell, rest, dict.fromkeys(states, kept), "step")]
    told = Told(
        inputs={"mask": ""},
        title="with a mask",
        description=(
            "A step at which the mask is 0 is left out: states stay as they were, and their cotangents go to the step before "
            "unchanged, past the cell. Neither input nor parameters get a gradient from it, and what the input holds there "
            "does not matter: zero is put for it before it is used, since 0 times NaN would be NaN in the gradient."
        ),
    )
    return _made(cell, "masked", lines, told, name)


def resettable(cell: D, *, name: str | None = None) -> D:
    """Return a cell whose states are cleared before a step at which `reset`, an input of one number, is not 0: another episode begins.

    Parameters
    ----------
    cell : Definition
    name : str, optional
        Of the new cell; `<cell>_resettable` by default.

    Raises
    ------
    CellError
        If the cell has no state, or one of the new names is taken.
    """
    states = _states(cell, "resettable", None)
    renamed = {previous(s): Name(_fresh(cell, f"{s}_start")) for s in states}
    first = [_line(renamed[previous(s)].id, f"where(reset > 0, {cell.init.get(s, 0)}, {previous(s)})") for s in states]
    rest = [replace(line, value=substitute(line.value, renamed)) for line in cell.equations]
    told = Told(
        inputs={"reset": ""},
        title="with resets",
        description=(
            "A reset puts the states to what they are before a first step, so that episodes can be laid end to end in one "
            "sequence. The cotangent of a state ends there: no gradient goes from one episode into another."
        ),
    )
    return _made(cell, "resettable", [*first, *rest], told, name)


def residual(cell: D, *, name: str | None = None) -> D:
    """Return a cell that adds its first input to its output; both must have one size.

    Parameters
    ----------
    cell : Definition
    name : str, optional
        Of the new cell; `<cell>_residual` by default.

    Raises
    ------
    CellError
        If the cell has no input, or input and output cannot have one shape.
    """
    if not cell.inputs or cell.inputs[0] in cell.without_gradient:
        raise CellError(f"residual: {cell.name} has no input to add to its output", text=cell.text)
    if cell.output in cell.headed:
        message = f"residual: {cell.name} has an output for each head, which an input is not: put them together by `merge` first"
        raise CellError(message, text=cell.text)
    x, y = cell.inputs[0], _fresh(cell, "y")
    told = Told(
        title="with a residual connection",
        description=(
            f"The input is added to the output, over a stack of layers: {x} and {cell.output} have one size. The cotangent of "
            "the output goes to the layer below as it is, beside what comes through the cell."
        ),
        reference="residual connections: He et al. 2016, CVPR, arXiv:1512.03385; of recurrent layers: Wu et al. 2016, arXiv:1609.08144",
    )
    return _made(cell, "residual", [*cell.equations, _line(y, f"{x} + {cell.output}")], told, name, output=y)


TRANSFORMATIONS: Mapping[str, Callable[..., Any]] = {
    function.__name__: function for function in (recurrent_dropout, zoneout, residual, masked, resettable)
}
"""By name, in the order in which they are applied where several are asked for at once: a reset clears what a mask or zoneout keeps, and a
mask hides the input from all."""


def transformed(cell: D, names: Sequence[str]) -> D:
    """Return a cell with transformations of these names applied, in the order of `TRANSFORMATIONS`.

    Raises
    ------
    CellError
        If one is not known, or cannot be.
    """
    for name in names:
        if name not in TRANSFORMATIONS:
            raise CellError(f"there is no transformation `{name}`{nearest(name, TRANSFORMATIONS)}: {', '.join(TRANSFORMATIONS)}")
    for name, transformation in TRANSFORMATIONS.items():
        if name in names:
            cell = transformation(cell)
    return cell


# The definition


def _made(cell: D, transformation: str, lines: Sequence[Assignment], told: Told, name: str | None, output: str = "") -> D:
    """Return the definition of new lines."""
    taken = {*cell.inputs, *cell.context, *cell.parameters, *cell.constants, *targets_of(cell.equations)}
    given = {**told.inputs, **told.context}
    for new in given:
        if new in taken:
            raise CellError(f"{transformation}: {cell.name} has a `{new}` already", text=cell.text)
    return type(cell)(
        unparse(lines),
        name=name or f"{cell.name}_{transformation}",
        output=output or cell.output,
        title=f"{cell.title or cell.name}, {told.title}",
        reference="; ".join(filter(None, (cell.reference, told.reference))),
        description=" ".join(filter(None, (cell.description, told.description))),
        inputs=(*cell.inputs, *told.inputs),
        context=(*cell.context, *told.context),
        fixed=(*cell.fixed, *given),
        shapes={**cell.declared_shapes, **given},
        constants=cell.constants,
        init=cell.init,
        latex={**told.latex, **cell.latex},
        functions=cell.surrogates,
        heads=cell.heads,
        shared=cell.shared,
    )


def _line(target: str, text: str) -> Assignment:
    return Assignment((target,), parse_expression(text, {}))


def _mask(cell: Definition, transformation: str, state: str) -> str:
    """Return the text of a state's mask: the heads have each its part of one vector."""
    return f"part({transformation}_{state})" if state in cell.headed else f"{transformation}_{state}"


def _mask_shape(cell: Definition, state: str) -> str:
    shape = cell.shapes[state]
    return shape_text((shape[0] * Size.of(cell.heads),) if state in cell.headed else shape)


def _with_masks(cell: Definition, transformation: str, found: list[str], asked: Collection[str] | None) -> list[str]:
    """Return those of some states that can have a mask, which is given and so is a vector or a number; all that are asked for must."""
    able = [state for state in found if len(cell.shapes[state]) < 2 and (cell.shapes[state] or state not in cell.headed)]
    if not able or (asked is not None and len(able) < len(found)):
        (state, *_) = (state for state in found if state not in able)
        what = "a matrix" if cell.shapes[state] else "a number of each head"
        raise CellError(f"{transformation}: `{state}` of {cell.name} is {what}, and a mask is a vector or a number", text=cell.text)
    return able


def _fresh(cell: Definition, name: str) -> str:
    """Return a name that the cell does not have."""
    return fresh(name, {*cell.shapes, *cell.constants})


def _states(cell: Definition, transformation: str, states: Collection[str] | None) -> list[str]:
    """Return the states that are asked for, in the cell's order."""
    if not cell.states:
        raise CellError(f"{transformation}: {cell.name} has no state", text=cell.text)
    for state in states or ():
        if state not in cell.states:
            raise CellError(f"{transformation}: `{state}` is no state of {cell.name}{nearest(state, cell.states)}", text=cell.text)
    return [state for state in cell.states if states is None or state in states]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# States that become another value


def _renewed(cell: Definition, lines: Sequence[Assignment], kept: Mapping[str, Callable[[str, str], str]], suffix: str) -> list[Assignment]:
    """Return lines that make each of some states under another name, from which `kept` says what the state is.

    What only the output needs reads the state, as the next step does; what a state is made of reads what the step makes.
    """
    new = {state: _fresh(cell, f"{state}_{suffix}") for state in kept}
    names = {state: Name(name) for state, name in new.items()}
    inside = needed(lines, cell.states)
    inner = [
        replace(line, targets=tuple(new.get(t, t) for t in line.targets), value=substitute(line.value, names))
        for line in lines
        if inside.intersection(line.targets)
    ]
    after = [_line(state, rule(state, new[state])) for state, rule in kept.items()]
    return [*inner, *after, *(line for line in lines if not inside.intersection(line.targets))]
