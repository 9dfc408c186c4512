"""A recurrent cell: its definition, and what can be done with it.

This is a face: nothing below imports it, and it imports what it offers when that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

from .language.definition import Definition
from .language.errors import CellError
from .language.names import canonical_keys
from .language.rewrite import replaced

if TYPE_CHECKING:
    import numpy as np

    from .calculus.structure import Structure
    from .jacobian import StepJacobian


class Cell(Definition):
    """A recurrent cell, defined by the equations of one step.

    Parameters
    ----------
    text : str
        The equations, one a line.  `s_prev` is the value of state `s` at the step before; every name that is neither assigned nor declared
        below is a parameter.  ``for j in range(a, b):`` repeats the lines that are indented below it, and ``W[j]`` is a parameter for each.
    name : str
        An identifier: the name of the generated module.
    output : str
        The assigned name that is handed on at every step.
    title, reference, description : str
        For people.
    inputs : tuple of str
        What is given at every step; arrays `(T, B, ·)`.
    context : tuple of str
        What is given once a sequence; arrays `(B, ·)`.
    fixed : tuple of str
        Parameters, inputs and contexts that get no gradient.
    shapes : mapping, optional
        Declared shapes by name, such as ``{"P": "p, n", "alpha": ""}`` (kept as `declared_shapes`; `shapes` holds those of all names).
    constants : mapping, optional
        Numbers and arrays by name.
    init : mapping, optional
        Initial value of a parameter, or the name of a rule; the value of a state before the first step, where it is not zero.
    latex : mapping, optional
        How a name is typeset.
    functions : mapping, optional
        Functions of the cell's own, by name and arguments: an expression, ``{"mix(z, v, w)": "z * v + (1 - z) * w"}``, that is put in where
        the function is called; or, of one argument, a pair of its value and what stands for its derivative,
        ``{"spike(u)": ("step(u)", "exp(-u * u)")}``.
    heads : str, optional
        The name of a size, such as ``"H"``: the cell is that of one head, so many times side by side.  Parameters and states have an axis
        of heads in front; ``merge(v)`` has the heads' vectors one after the other, ``part(v)`` is each head's part of a vector.
    shared : tuple of str
        Parameters that all heads have in common.

    Raises
    ------
    CellError
        If the text or a declaration is wrong; all errors are found at construction.
    """

    @cached_property
    def array_constants(self) -> Mapping[str, np.ndarray]:
        """The constants that are vectors or matrices, as read-only float64 arrays."""
        from .verify.constants import constants_of

        return constants_of(self)

    def evaluate(self, namespace: Mapping[str, Any], xp: Any) -> dict[str, Any]:
        """Return all assigned names after one step on arrays of NumPy, PyTorch or JAX: see `derive.verify.evaluate.evaluate`.

        Raises
        ------
        ValueError
            If a name is missing in `namespace`.
        """
        from .verify.evaluate import evaluate

        return evaluate(self, namespace, xp)

    def jacobian(self) -> StepJacobian:
        """Return ∂s_t/∂s'_{t-1} for every pair of states, as sums of products of ``Diag(v)`` and matrices."""
        from .calculus.jacobian import jacobian
        from .jacobian import StepJacobian

        found = jacobian(self)
        return StepJacobian(found.cell, found.forward, found.blocks)

    @cached_property
    def structure(self) -> Structure:
        """How states couple, whether the step is affine in them, which parameters only add: see `derive.calculus.structure`."""
        from .calculus.structure import structure

        return structure(self)

    def _repr_latex_(self) -> str:
        """Return the equations typeset, for notebooks."""
        from .notation.latex import equations

        return equations(self, tags=False)

    def replace(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        reference: str | None = None,
        **expressions: str | float,
    ) -> Cell:
        """Return the cell with expressions put for names, constants folded, and what is no longer used left out.

        An assigned name gets a new right side; a parameter is replaced wherever it is read.  New names become parameters.

        Parameters
        ----------
        name, title, description, reference : str, optional
            Of the new cell; those of this one by default.
        **expressions : str or float
            By name, what is put for it: text of the language, or a number.

        Raises
        ------
        CellError
            If a name is not one of the cell's, or what results is not a cell.

        Examples
        --------
        ``gru.replace(name="gru_nobias", b_r="0", b_z="0", b_in="0", b_hn="0")``, ``lstm.replace(o="1")``.
        """
        for key, value in expressions.items():
            if isinstance(value, Real) and not math.isfinite(value):
                raise CellError(f"replace: `{key}` needs an expression or a finite number, not {value!r}", text=self.text)
        texts = {"name": name, "title": title, "reference": reference, "description": description}
        own = {key: getattr(self, key) if text is None else text for key, text in texts.items()}
        found = replaced(self, canonical_keys("replace", {key: str(value) for key, value in expressions.items()}), own)
        assert isinstance(found, Cell)
        return found
