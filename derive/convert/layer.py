"""A recurrent layer of a file, in one direction, and the cell that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..cell import Cell
from ..cells import SHIPPED
from ..language.errors import nearest
from .errors import ConvertError
from .forms import UNKNOWN, Form, form_of, own_cell, suited
from .layouts import CELLS, Layout, Parts
from .weights import Weights


@dataclass(frozen=True, eq=False)
class Layer:
    """What a file has of a layer.

    Attributes
    ----------
    name : str
    form : Form
        What the file tells of what it computes.
    parts : Parts
        Its weights.
    reverse : bool
        Whether it goes from the last step to the first.
    notes : tuple of str
        What else it has, and weights do not tell.
    refusal : str
        What stands in the way of a translation; "" if nothing does.
    """

    name: str
    form: Form = UNKNOWN
    parts: Parts = field(default_factory=dict)
    reverse: bool = False
    notes: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def cells(self) -> list[str]:
        """The cells that it can be, each of its arrays as it is; the one made for it, if it is none of derive's."""
        found = suited(self.form, self.parts)
        return found if found or not self.form.told else [own_cell(self.form, self.parts)[0].name]

    def weights(self, cell: str = "") -> Weights:
        """Return the parameters of the cell of that name; without one, of the cell that the file tells.

        Raises
        ------
        ConvertError
            If the layer cannot be translated, or not to that cell.
        """
        if self.refusal:
            raise ConvertError(f"layer `{self.name}`: {self.refusal}")
        chosen, layout = self._named(cell) if cell else self._told()
        try:
            arrays = layout.arrays(self.parts)
        except ConvertError as error:
            raise ConvertError(f"layer `{self.name}` cannot be the cell `{chosen.name}`: {error}") from None
        params = {name: arrays[name] for name in chosen.parameters}
        return Weights(chosen, params, self.reverse, self.name, self.notes)

    def _told(self) -> tuple[Cell, Layout]:
        found = suited(self.form, self.parts)
        if not self.form.told:
            raise ConvertError(f"layer `{self.name}`: the file does not tell its functions; name the cell, one of {', '.join(found)}")
        return (SHIPPED[found[0]], CELLS[found[0]]) if found else own_cell(self.form, self.parts)

    def _named(self, cell: str) -> tuple[Cell, Layout]:
        if cell not in CELLS:
            raise ConvertError(f"no framework has a layout for the cell `{cell}`{nearest(cell, CELLS)}, only for {', '.join(CELLS)}")
        if not self.form.admits(form_of(cell)):
            found = suited(self.form, self.parts)
            able = f"it can be one of {', '.join(found)}" if found else "no cell that comes with derive is"
            raise ConvertError(f"layer `{self.name}` computes something else than the cell `{cell}`; {able}")
        return SHIPPED[cell], CELLS[cell]


def picked(names: list[str], name: str, path: str) -> int:
    """Return which layer has that name, or is the only one.

    Raises
    ------
    ConvertError
        If there is none, or there are several to choose from: it lists them.
    """
    if not names:
        raise ConvertError(f"`{path}` has no recurrent layer")
    if name and name not in names:
        raise ConvertError(f"`{path}` has no recurrent layer `{name}`{nearest(name, names)}; it has {', '.join(names)}")
    if not name and len(names) > 1:
        raise ConvertError(f"`{path}` has {len(names)} recurrent layers; choose one of {', '.join(names)}")
    return names.index(name) if name else 0
