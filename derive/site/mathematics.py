"""The mathematics of a cell's page: its equations, the Jacobian of a step, the recursion, and the gradients as sums and double sums."""

from __future__ import annotations

from ..calculus.chain import BACKWARD
from ..calculus.ir import Equation
from ..calculus.jacobian import has_jacobian
from ..language.tree import Call
from ..language.walks import walk
from ..notation.explicit import explicit_latex
from ..notation.jacobian import latex_lines
from ..notation.text import definitions, forward_lines
from ..notation.written import has_blocks, own_functions, written
from . import markup
from .define import definition
from .formulas import display, inline
from .page import Page

MANY = 8  # terms of a block of a Jacobian: those that have more are folded
SHARED = (
    r"A parameter is the same at every step and for every sequence of a batch, so its gradient, $\nabla W = \partial L / \partial W$, is a "
    "sum over all of them."
)
DEFINED = {
    "layer_norm": r"\operatorname{LN}(v) = \frac{v - \operatorname{mean}(v)}{\operatorname{std}(v)}, \qquad "
    r"\operatorname{std}(v) = \sqrt{\operatorname{mean}\left((v - \operatorname{mean}(v))^2\right) + 10^{-5}}",
    "softmax": r"\operatorname{softmax}(v)_k = e^{v_k} \Big/ \textstyle\sum_j e^{v_j}",
    "logsumexp": r"\operatorname{logsumexp}(v) = \log \textstyle\sum_j e^{v_j}",
}


def equations(page: Page) -> str:
    """The cell's own equations, and the text that they are."""
    return f"{lines(page)}\n\n```python\n{definition(page.cell)}\n```"


def lines(page: Page) -> str:
    """The cell's own equations, and what the functions in them stand for, as HTML."""
    calls = {node.function for line in page.cell.equations for node in walk(line.value) if isinstance(node, Call)}
    known = "".join(f'<div class="block">{display(tex)}</div>' for name, tex in DEFINED.items() if name in calls)
    where = f'\n\n<p>where, over the features of a row,</p>\n\n<div class="blocks" data-search-exclude>{known}</div>' if known else ""
    named = "".join(f'<div class="block">{display(tex)}</div>' for tex in definitions(page.cell, page.style))
    own = "".join(f'<div class="block">{display(tex)}</div>' for tex in own_functions(page.cell, page.style))
    where += f'\n\n<p>{_own(page)}</p>\n\n<div class="blocks" data-search-exclude>{own}</div>' if own else ""
    where += f'\n\n<p>What follows also uses</p>\n\n<div class="blocks" data-search-exclude>{named}</div>' if named else ""
    return f"{_written(page)}{where}"


def _written(page: Page) -> str:
    """The lines as they are written; where blocks repeat them, the lines that result are folded below."""
    lines = written(page.cell, page.style)
    plain = forward_lines(page.cell, page.style)
    if not has_blocks(page.cell):
        return markup.equations({line.tag: line.text for line in lines}, listed=page.listed)
    out = markup.equations(plain, listed=page.listed)
    return f"{markup.blocks(lines)}\n\n<details><summary>Written out, {len(plain)} lines</summary>\n{out}\n</details>"


def _own(page: Page) -> str:
    """What is said before functions of the cell's own."""
    if not page.cell.surrogates:
        return "where"
    return "where a prime marks a surrogate: it is used as the derivative wherever gradients are taken, though it is not that of the value."


def jacobian(page: Page, *, folded: bool = True) -> str:
    """The blocks of one step's Jacobian; where they may be `folded`, those of very many terms are."""
    if not page.cell.states or not has_jacobian(page.cell):
        return ""
    found = page.cell.jacobian()
    lines = latex_lines(found)
    blocks = "".join(_block(tex, len(found[key].terms) if folded else 0) for key, tex in lines.items())
    intro = "How the states of a step depend on those of the step before. A zero block is a path that does not exist."
    return f'<p>{intro}</p>\n\n<div class="blocks" data-search-exclude>{blocks}</div>'


def _block(tex: str, terms: int) -> str:
    """Return a block of the Jacobian; one of very many terms is folded."""
    left, _, right = tex.partition(" = ")
    made = f'<div class="block"><div class="left">{display(left)}</div><div class="right">{markup.right_side(right)}</div></div>'
    return made if terms <= MANY else f"<details><summary>{inline(left)}, a sum of {terms} products</summary>{made}</details>"


def recursion(page: Page) -> str:
    """The adjoint recursion, each line with its reason."""
    backward = page.derivation[BACKWARD].recurrence
    recursive = [*backward.prologue, *backward.body]
    notation = f' <a href="{page.links.notation}">The notation</a>.' if page.links.notation else ""
    order = "From the last step to the first. " if page.cell.states else ""
    intro = markup.sentence(f"{order}{_legend(page)}")
    return f"<p>{intro}{notation}</p>\n\n{_lines(page, recursive)}"


def _legend(page: Page) -> str:
    """Say what the signs mean that stand in the lines."""
    output, bar = page.style.name(page.cell.output, "t"), page.style.bar("v")
    signs = [
        f"${bar}_t$ is $\\partial L / \\partial v_t$ with $L = \\sum_t L_t$, through everything that $v_t$ affects",
        f"${page.style.seed(output)}$ is the derivative of the loss of step $t$ alone",
    ]
    if any(r"\delta_" in tex for tex in page.backward.values()):
        signs.append(r"$\delta_{v,t}$ is $\partial L / \partial a_t$, where $a_t$ is the argument of the function in the line of $v_t$")
    if any(r"^{(2)}" in tex and r"\delta_" in tex for tex in page.backward.values()):
        signs.append(r"where a line has several functions, $\delta_{v,t}^{(1)}$ belongs to the one that is computed first")
    if page.cell.states:
        carried = page.style.carried(page.style.barred_name(page.cell.states[0], "t"))
        signs.append(f"${carried}$ is the part that comes back from later steps; at the last step, what is given for the final state")
    return f"{'; '.join(signs)}."


def sums(page: Page) -> str:
    """The gradients of parameters."""
    backward = page.derivation[BACKWARD].recurrence
    summed = [*backward.accumulators, *backward.epilogue]
    lines = _lines(page, summed)
    return f"<p>{markup.sentence(SHARED)}</p>\n\n{lines}" if lines else ""


def _lines(page: Page, equations: list[Equation]) -> str:
    tags = {eq.tag for eq in equations}
    lines = {tag: tex for tag, tex in page.backward.items() if tag in tags}
    return markup.equations(lines, page.reasons, page.listed) if lines else ""


def explicit(page: Page) -> str:
    """The same gradients as a double sum with products of Jacobians."""
    names = [name for name in page.cell.parameters if name not in page.cell.fixed]
    if not page.cell.states or not names or not has_jacobian(page.cell):
        return ""
    order = "they are diagonal, and commute" if page.cell.structure.coupling == "diagonal" else "they do not commute: their order counts"
    output = page.style.name(page.cell.output, "t")
    rows = (
        "" if page.cell.output in page.cell.states else f" The output ${output}$ is no state: it adds rows to them, and columns of zeros."
    )
    intro = markup.sentence(
        "Written out, the recursion is a sum over all pairs of a step $t$ at which the parameter is used and a step $k$, the same or a "
        r"later one, whose loss it affects. $\partial^{+}$ is the immediate derivative with respect to the parameter, taken as one long "
        f"vector, with the state before held constant; the factors are the Jacobians above, and {order}.{rows} (Pascanu, Mikolov, Bengio "
        "2013, arXiv:1211.5063, equations 3 to 5.) "
        "The recursion takes $T$ products of a Jacobian and a vector; this sum has $T(T+1)/2$ terms, each with up to $T - 1$ Jacobians."
    )
    first, *rest = (f'<div class="block">{display(explicit_latex(page.cell, name))}</div>' for name in names)
    more = f"<details><summary>The other parameters</summary>{''.join(rest)}</details>" if rest else ""
    return f'<p>{intro}</p>\n\n<div class="blocks" data-search-exclude>{first}{more}</div>'
