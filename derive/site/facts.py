"""The tables of a cell's page: its symbols, the tape, its structure, and the numbers of the check."""

from __future__ import annotations

import html
from pathlib import Path

from ..calculus.laws import is_linear, no_tangent
from ..cell import Cell
from ..explain.cpu import tape_size
from ..language.sizes import Size
from ..notation.reasons import listed
from ..verify.tolerances import TOLERANCES
from . import markup, symbols
from .define import BATCH, STEPS, usual
from .mathml import inline
from .page import Page
from .tape import kept

BYTES = 4  # of a float32
ONE = Size((), 1)
NOT_COVERED = (
    "This is agreement at these values and sizes, not a proof. It does not cover second order (<code>derive check {cell} --order 2</code>) "
    "or the kernels for CUDA devices."
)
ALL = "Outputs, final states and the gradients with respect to every parameter, input and initial state"
ALL_WITHOUT_STATE = "Outputs and the gradients with respect to every parameter and input"
WITNESSES = {
    "autograd": "PyTorch's automatic differentiation through the cell's own text, float64",
    "interpreter": "NumPy evaluation of the derivation, float64",
    "differences": "central finite differences, float64",
    "float32": "the float32 kernel against the float64 kernel",
}


def known(page: Page) -> str:
    """Shapes and origins, and the number of parameters."""
    rows = [
        [inline(s.tex), f"<code>{s.name}</code>", f"<code>{s.shape.replace('*', '')}</code>", markup.sentence(s.what)]
        for s in symbols.symbols(page.cell)
    ]
    return f"{markup.table(['symbol', 'in the text', 'shape', 'what it is'], rows, kind='symbols')}\n\n{_counts(page)}"


def _counts(page: Page) -> str:
    cell = page.cell
    sizes = [f"{inline(name)} is the number of {text}" for name, text in symbols.sizes(cell).items()]
    where = f"{listed(sizes)}. " if sizes else ""
    shapes = "Shapes are those of one sequence; a batch has a row for each."
    if not cell.parameters:
        return f"<p>{where}{shapes} There are no parameters.</p>"
    number = symbols.count_at(cell, usual(cell))
    at = f", {number:,}{_at(cell)}" if cell.sizes else ""
    return f"<p>{where}{shapes} The parameters hold {inline(symbols.parameter_tex(cell))} numbers{at}.</p>"


def _at(cell: Cell) -> str:
    """Say at which sizes an example is."""
    return f" with {listed([inline(f'{name} = {number}') for name, number in usual(cell).items()])}" if cell.sizes else ""


def tape(page: Page) -> str:
    """What is kept, and its bytes."""
    rows = []
    for array in kept(page.cell):
        steps = "T + 1" if array.state else "T"
        width = f", {page.style.size(array.width)}" if array.width != ONE else ""
        again = " (rows of its own, for products over all steps)" if array.again else ""
        rows.append([inline(array.tex) + again, f"<code>({steps}, B{width})</code>", ", ".join(map(markup.link, array.readers))])
    if not rows:
        return "<p>The backward pass needs nothing but what the caller already has: inputs and parameters.</p>"
    size = tape_size(page.cell)
    each = size.evaluate(usual(page.cell)) * BYTES
    total = each * STEPS * BATCH / 2**20
    first = "A state has one more row, its value before the first step." if page.cell.states else ""
    numbers = f"{inline(page.style.size(size))} number{'s' if size != ONE else ''}"
    text = (
        f"The tape keeps {numbers} for each step of each sequence, besides the inputs, which are the caller's: "
        f"in float32 {each:,} bytes{_at(page.cell)}, and {total:.3g} MiB for {STEPS} steps of {BATCH} sequences. "
        f"{first}"
    )
    return f"{markup.table(['kept', 'shape', 'used in'], rows)}\n\n<p>{text}</p>"


def structure(page: Page) -> str:
    """What the Jacobian says about the cell."""
    if not is_linear(page.cell):
        return f"<p>{markup.sentence(f'{no_tangent(page.cell)}.')}</p>"
    rows = [line.split("  ", 1) for line in page.cell.structure.text().splitlines()]
    head = "answer, read off the Jacobian" if page.cell.structure.coupling != "matrix" else "answer"
    return markup.table(["question", head], [[html.escape(part.strip(), quote=False) for part in row] for row in rows])


def checked(page: Page) -> str:
    """The numbers of the check."""
    if page.check is None:
        name = Path(page.source).name
        commands = (f"derive check {name} --json check.json", f"derive docs {name} --checked check.json")
        told = (
            "Nothing yet: this page shows what derive worked out, and no number of its kernels has been compared with anything. To compare "
            "them with automatic differentiation, where PyTorch is installed, and with finite differences, and to show the result here"
        )
        return f"<p>{told}: {', then '.join(f'<code>{command}</code>' for command in commands)}.</p>"
    rows = []
    for witness, errors in page.check["errors"].items():
        worst = max(errors, key=errors.__getitem__)
        rows.append([WITNESSES[witness], f"{errors[worst]:.1e}", f"<code>{html.escape(worst)}</code>", f"{TOLERANCES[witness]:.0e}"])
    sizes = ", ".join(f"{name} = {value}" for name, value in page.check["sizes"].items())
    text = (
        f"{ALL if page.cell.states else ALL_WITHOUT_STATE} at random values, "
        f"{page.check['steps']} steps of {page.check['batch']} sequences, {sizes}: the largest relative difference "
        f"(<code>derive check {page.cell.name}</code>)."
    )
    if note := page.check.get("note"):
        text += f" {markup.sentence(note[0].upper() + note[1:])}."
    table = markup.table(["kernel against", "largest", "at", "allowed"], rows)
    return f"<p>{text}</p>\n\n{table}\n\n<p>{NOT_COVERED.format(cell=page.cell.name)}</p>"
