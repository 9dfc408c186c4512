"""The gradient of a sequence as an explicit double sum over steps, and its tangent as a sum, in LaTeX."""

from __future__ import annotations

from ..language.definition import Definition
from .style import Latex
from .written import latex_of


def explicit_latex(cell: Definition, parameter: str) -> str:
    """Return the explicit double sum for one parameter in LaTeX.

    Raises
    ------
    ValueError
        If `cell` has no such parameter or no state.
    """
    if parameter not in cell.parameters or not cell.states:
        raise ValueError(f"{cell.name}: no explicit sum for `{parameter}`: a parameter of a cell with states is needed")
    style = latex_of(cell)
    weight, s = style.name(parameter), _letter(cell, style)

    def factor(of: str, by: str) -> str:
        return rf"\left({_derivative(of, by)}\right)^{{\top}}"

    chain = rf"{factor(_at(s, 't+1'), _at(s, 't'))} \cdots {factor(_at(s, 'k'), _at(s, 'k-1'))}"
    local = rf"\left({_immediate(_at(s, 't'), weight)}\right)^{{\top}}"
    formula = rf"\frac{{\partial L}}{{\partial {weight}}} = \sum_{{t}} \sum_{{k \ge t}} {local} {chain} {_derivative('L_{k}', _at(s, 'k'))}"
    return formula + _states(cell, style)


def explicit_tangent_latex(cell: Definition) -> str:
    """Return the tangent of the state at step k as an explicit sum over the steps up to it, in LaTeX; θ is all parameters.

    Raises
    ------
    ValueError
        If `cell` has no state.
    """
    if not cell.states:
        raise ValueError(f"{cell.name}: no explicit sum of tangents: a cell with states is needed")
    style = latex_of(cell)
    s = _letter(cell, style)

    def chain(last: str) -> str:
        return rf"{_derivative(_at(s, 'k'), _at(s, 'k-1'))} \cdots {_derivative(_at(s, f'{last}+1' if last == 't' else '1'), _at(s, last))}"

    free = any(name not in cell.fixed for name in cell.parameters)
    given = [(style.name(name, "t"), style.marked_name("dot", name, "t")) for name in cell.inputs if name not in cell.without_gradient]
    given += [(style.name(name), style.marked_name("dot", name, "")) for name in cell.context if name not in cell.fixed]
    moved = [*([(r"\theta", r"\dot{\theta}")] if free else []), *given]
    local = " + ".join(rf"{_immediate(_at(s, 't'), value)}\, {tangent}" for value, tangent in moved)
    dotted = rf"\dot{{{s}}}"
    steps = rf"\sum_{{t=1}}^{{k}} {chain('t')} \left({local}\right)"
    return rf"{_at(dotted, 'k')} = {steps} + {chain('0')}\, {_at(dotted, '0')}" + _states(cell, style)


def _names(cell: Definition, style: Latex) -> list[str]:
    return [style.name(name, "t") for name in dict.fromkeys((*cell.states, cell.output))]


def _letter(cell: Definition, style: Latex) -> str:
    """Return what the state is called: by its own name, if it is one vector, which is the output."""
    names = _names(cell, style)
    return names[0].rsplit("_", 1)[0] if len(names) == 1 else r"\mathbf{s}"


def _states(cell: Definition, style: Latex) -> str:
    """Return what the state is made of, after a formula of it."""
    names = _names(cell, style)
    return "" if len(names) == 1 else rf", \qquad {_at(_letter(cell, style), 't')} = {style.concat(names)}"


def _at(name: str, time: str) -> str:
    return f"{name}_{{{time}}}"


def _derivative(of: str, by: str) -> str:
    return rf"\frac{{\partial {of}}}{{\partial {by}}}"


def _immediate(of: str, by: str) -> str:
    return rf"\frac{{\partial^{{+}} {of}}}{{\partial {by}}}"
