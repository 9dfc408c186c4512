"""A cell as a file of Python that makes it."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from ..cell import Cell
from ..package.folder import replacing
from .errors import ConvertError
from .files import lines

FILE = '''"""A cell made for a layer of another framework, to which its weights belong."""

from derive import Cell

{name} = Cell(
    """
{equations}
    """,
    name="{name}",
    output="{output}",
    title="{title}",
{functions})
'''


def source(cell: Cell) -> str:
    """Return the text of a file that makes a cell of vectors: its equations, name, output, title and functions."""
    functions = f"    functions={dict(cell.functions)!r},\n" if cell.functions else ""
    equations = indent("\n".join(lines(cell.text)), "    ")
    return FILE.format(name=cell.name, output=cell.output, title=cell.title, equations=equations, functions=functions)


def check_free(path: Path, cell: Cell) -> None:
    """Refuse a path at which there is another file than that of the cell."""
    if path.exists() and path.read_text(encoding="utf-8") != source(cell):
        raise ConvertError(f"`{path}` is there already, and is not the cell `{cell.name}`: nothing was written")


def write_source(path: Path, cell: Cell) -> None:
    """Write that file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(source(cell), encoding="utf-8")
