"""What a cell's page says of the check of its kernels: the numbers that were measured."""

from __future__ import annotations

import html
from pathlib import Path

from ..verify.tolerances import TOLERANCES
from . import markup
from .page import Page

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


def verified(page: Page) -> str:
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
