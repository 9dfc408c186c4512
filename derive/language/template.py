"""`derive new`: a commented file of a cell, to start from."""

from __future__ import annotations

from pathlib import Path

from .errors import CellError

HEADER = '''"""A recurrent cell of my own.

    derive show {file}                      its equations, and the gradients that follow
    derive check {file}                     its kernels against automatic differentiation and finite differences
    derive generate {file} --out kernels    a package of kernels: from kernels import {name}
"""

'''

CELL = '''from derive import Cell

{name} = Cell(
    # One assignment a line. `@` is matrix times vector, `*` is elementwise, `[a, b]` puts vectors one after the other.
    # `h_prev` is the state `h` at the step before; `x` is the input. Every other name that is not assigned is a parameter.
    """
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    g = tanh(W @ x + U @ h_prev + b)
    h = (1 - z) * h_prev + z * g
    """,
    name="{name}",  # the name of the generated module
    output="h",  # what is handed on at every step
    title="A gated cell of my own",
    reference="",  # the paper, and the numbers of its equations
    # shapes={{"alpha": ""}},         a scalar; "p, n" is a matrix, "k" a vector of another size
    # constants={{"dt": 0.1}},        numbers and arrays that are not trained
    # init={{"b_z": -1.0}},           initial values; also "orthogonal", "glorot", "zeros" …
    # inputs=("x", "m"), context=("v",), fixed=("A",)
    # latex={{"g": r"\\tilde h"}},     how a name is typeset
    # functions={{"mix(z, v, w)": "z * v + (1 - z) * w"}},   of your own; with a pair of texts, a value and its derivative
)
'''


def write_template(path: Path) -> None:
    """Write the template to `path`.

    Raises
    ------
    CellError
        If the file is there already, or its name is not that of a Python module.
    """
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise CellError(f"`{path}` is no name for a file of cells: an identifier and `.py` are needed, such as `my_cell.py`")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write((HEADER + CELL).format(file=path.name, name=path.stem))
    except FileExistsError:
        raise CellError(f"`{path}` is there already: nothing was written") from None
    except OSError as error:
        raise CellError(f"`{path}` could not be written: {error.strerror}") from None
