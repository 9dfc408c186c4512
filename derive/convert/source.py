"""A cell as a file of Python that makes it."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from ..cell import Cell
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


def write_source(path: Path, cell: Cell) -> None:
    """Write that file; ConvertError if there is another one."""
    text = source(cell)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.read_text(encoding="utf-8") != text:
            raise ConvertError(f"`{path}` is there already, and is not the cell `{cell.name}`: nothing was written") from None
