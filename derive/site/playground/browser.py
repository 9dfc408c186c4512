"""What runs in the browser: a cell's texts in, the sections of its page out, one after the other.

Nothing here or below needs NumPy, Numba or what a site is built with.
"""

from __future__ import annotations

import ast
import html
import inspect
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ...calculus.doubts import doubts
from ...cell import Cell
from ...codegen.cpu.module import module
from ...language.errors import CellError
from ...language.template import HEADER
from ...program.pipeline import compile_cell
from .. import facts, mathematics
from ..define import definition
from ..drawing import figure
from ..emitted import rendered
from ..formulas import mended, typeset
from ..page import Page

NAME = "my_cell"
PICTURE = "One step"
ASSIGNED = re.compile(r"^[ \t]*(?:\w+[ \t]*,[ \t]*)*(\w+)[ \t]*=(?!=)", re.MULTILINE)
KaTeX = Callable[[str, bool], str]
SECTIONS: tuple[tuple[str, Callable[[Page], str]], ...] = (
    ("Equations", lambda page: _warned(page.cell) + mathematics.lines(page)),
    ("Symbols", facts.known),
    ("Jacobian of a step", mathematics.jacobian),
    ("Backpropagation through time", mathematics.recursion),
    ("Gradients of the parameters", mathematics.sums),
    ("As an explicit double sum", mathematics.explicit),
    ("Structure", facts.structure),
    ("Kernels", lambda page: kernels(page)),
    (PICTURE, lambda page: figure(page.cell)),  # last, since it takes longest
)


def derived(text: str, declared: str, katex: KaTeX) -> Iterator[str]:
    """Derive a cell, and yield what there is to show as it comes: JSON objects.

    Parameters
    ----------
    text : str
        The equations.
    declared : str
        Keyword arguments of `Cell`, as they stand in Python.
    katex : callable
        ``katex(tex, display)`` returns the HTML of KaTeX, with MathML in it.

    Yields
    ------
    str
        ``{"file": …, "name": …}``, the cell as a file; ``{"title": …, "html": …, "above": …}`` for each section, with whether it stands
        above those that have come; or ``{"error": …, "line": …, "column": …}``, with the line 0 where the error is at no place of the
        equations, and then nothing more.
    """
    try:
        yield from map(json.dumps, _pieces(text, declared, katex))
    except CellError as error:
        line = error.line if error.text == text else 0
        yield json.dumps({"error": str(error), "line": line, "column": error.column})
    except RecursionError:
        yield json.dumps({"error": "the cell is nested too deeply to be derived in a browser", "line": 0, "column": 0})


def _pieces(text: str, declared: str, katex: KaTeX) -> Iterator[dict[str, Any]]:
    def mathml(tex: str, display: bool) -> str:
        try:
            return mended(katex(tex, display))
        except Exception as error:  # of JavaScript, whose errors have no class of their own
            raise CellError(f"the formula {tex} is refused: {str(error).splitlines()[0]}") from None

    cell = cell_of(text, declared)
    page = Page(cell, module(cell, compile_cell(cell), f"{cell.name}.py", ""), source=f"{cell.name}.py")
    yield {"file": home(cell), "name": cell.name}
    for title, section in SECTIONS:
        if made := _made(section, page):
            yield {"title": title, "html": typeset(made, mathml), "above": title == PICTURE}


def _made(section: Callable[[Page], str], page: Page) -> str:
    """Return a section; one that is too long to be written says so, and the others come all the same."""
    try:
        return section(page)
    except CellError as error:
        return f'<p class="warning">{html.escape(error.message, quote=False)}</p>'


def cell_of(text: str, declared: str) -> Cell:
    """Return the cell of a text and its declarations.

    The output is, unless it is declared, what the last line assigns; the name `my_cell`.

    Raises
    ------
    CellError
        If text or declarations are wrong.
    """
    return Cell(text, **{"name": NAME, "output": last_assigned(text), **declarations(declared)})


def last_assigned(text: str) -> str:
    """Return the name that the last assignment of a text gives; `h`, if there is none, for the error of the text to be told."""
    return (ASSIGNED.findall(text) or ["h"])[-1]


def declarations(text: str) -> dict[str, Any]:
    """Return keyword arguments of `Cell` by name, from text such as ``inputs=("x", "m"), shapes={"a": ""}``; nothing is executed.

    Raises
    ------
    CellError
        With the place, if the text is something else.
    """
    try:
        call = ast.parse(f"Cell(\n{text}\n)", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line, column = getattr(error, "lineno", None) or 0, getattr(error, "offset", None) or 1
        message = f'declarations: {getattr(error, "msg", None) or error}; such as `output="h", inputs=("x",)` is needed'
        raise CellError(message, max(line - 1, 0), column - 1, text) from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise CellError('declarations: keyword arguments are needed, such as `output="h", inputs=("x",)`')
    return dict(_declared(keyword, text) for keyword in call.keywords)


def _declared(keyword: ast.keyword, text: str) -> tuple[str, Any]:
    known = [name for name in inspect.signature(Cell).parameters if name != "text"]
    if keyword.arg not in known:
        raise CellError(f"declarations: `{keyword.arg}` is none of {', '.join(known)}", keyword.lineno - 1, keyword.col_offset, text)
    try:
        return keyword.arg, ast.literal_eval(keyword.value)
    except (ValueError, TypeError, RecursionError):
        message = f"declarations: `{keyword.arg}` needs texts, numbers, tuples, lists and dictionaries of such"
        raise CellError(message, keyword.value.lineno - 1, keyword.value.col_offset, text) from None


def _warned(cell: Cell) -> str:
    return "".join(f'<p class="warning">Warning: {html.escape(doubt, quote=False)}</p>' for doubt in doubts(cell))


def kernels(page: Page) -> str:
    """Return the loops of the CPU's kernels, the numbers in them linked to the equations."""
    done: set[str] = set()
    return "\n".join(f"<h3><code>{listing.name}</code></h3>{rendered(listing, done)}" for listing in page.listings)


def home(cell: Cell) -> str:
    """Return a file of the cell that `derive show`, `check` and `generate` take."""
    return f"{HEADER.format(file=f'{cell.name}.py', name=cell.name)}{definition(cell)}\n"
