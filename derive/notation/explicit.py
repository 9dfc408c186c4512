"""The gradient of a sequence as an explicit double sum over steps, in LaTeX."""

from __future__ import annotations

from ..language.definition import Definition
from .style import Latex


def explicit_latex(cell: Definition, parameter: str) -> str:
    """Return the explicit double sum for one parameter in LaTeX.

    Raises
    ------
    ValueError
        If `cell` has no such parameter or no state.
    """
    if parameter not in cell.parameters or not cell.states:
        raise ValueError(f"{cell.name}: no explicit sum for `{parameter}`: a parameter of a cell with states is needed")
    style = Latex(cell.latex)
    names = [style.name(name, "t") for name in dict.fromkeys((*cell.states, cell.output))]
    weight, s = style.name(parameter), names[0].rsplit("_", 1)[0] if len(names) == 1 else r"\mathbf{s}"

    def state(time: str) -> str:
        return f"{s}_{{{time}}}"

    def factor(of: str, by: str) -> str:
        return rf"\left(\frac{{\partial {of}}}{{\partial {by}}}\right)^{{\top}}"

    chain = rf"{factor(state('t+1'), state('t'))} \cdots {factor(state('k'), state('k-1'))}"
    local = rf"\left(\frac{{\partial^{{+}} {state('t')}}}{{\partial {weight}}}\right)^{{\top}}"
    loss = rf"\frac{{\partial L_{{k}}}}{{\partial {state('k')}}}"
    formula = rf"\frac{{\partial L}}{{\partial {weight}}} = \sum_{{t}} \sum_{{k \ge t}} {local} {chain} {loss}"
    return formula if len(names) == 1 else rf"{formula}, \qquad {state('t')} = {style.concat(names)}"
