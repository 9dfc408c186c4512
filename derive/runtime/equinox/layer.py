"""A layer of any cell, of one sequence."""

from __future__ import annotations

from typing import Any

import equinox as eqx
from jax import numpy as jnp

from ..jax.function import Function, function
from ..jax.layers import initial, run, sizes_of


class RNN(eqx.Module):
    """A cell over a sequence; `jax.vmap` makes it one over many, which are one call of the kernels.

    Parameters
    ----------
    cell : str, module, or derive.Cell
        The name of a cell of this package, a generated module, or, where `derive` is installed, a cell that it compiles now.
    input_size, hidden_size : int, optional
        The sizes d and n of a cell that has them.
    order : 1 or 2
        Of derivatives; with 2, a cell that the package has without second derivatives is compiled with them, where `derive` is installed.
    dtype : float32 or float64, optional
        Of the parameters; by default as `jax_enable_x64` says.
    key : key of jax.random
        Parameters begin by the cell's rules, and their numbers come of it.
    **sizes : int
        The cell's other sizes.

    Attributes
    ----------
    params : Params
        By the names of the equations: ``layer.params.W_i``.

    Raises
    ------
    ValueError, TypeError
        It says which cell or size is not known, or missing.
    """

    params: Any
    function: Function = eqx.field(static=True)
    input_size: int | None = eqx.field(static=True)
    hidden_size: int | None = eqx.field(static=True)

    def __init__(
        self,
        cell: Any,
        input_size: int | None = None,
        hidden_size: int | None = None,
        *,
        order: int = 1,
        dtype: Any = None,
        key: Any,
        **sizes: int,
    ) -> None:
        self.function, self.input_size, self.hidden_size = function(cell, order=order), input_size, hidden_size
        known = sizes_of(self.function, {"d": input_size, "n": hidden_size, **sizes})
        self.params = initial(self.function, key, known, dtype or jnp.result_type(float))

    def __call__(
        self, x: Any, state: Any = None, *, length: Any = None, reverse: bool = False, key: Any = None, **others: Any
    ) -> tuple[Any, Any]:
        """Run the cell over a sequence.

        Parameters
        ----------
        x : array (T, ·)
            The cell's first input. Axes before that of steps are of sequences, as those that `jax.vmap` maps.
        state : State, or tuple of arrays (·,), optional
            Before the first step; as the cell's rules say, zero as a rule.
        length : whole number, optional
            How many steps the sequence has. The others are not run, and give zero.
        reverse : bool
            From the last step to the first; outputs stay where their inputs are.
        key
            Not used: it is there since layers of Equinox have it.
        **others
            The cell's other inputs, `(T, ·)`, and contexts by name. What is true or false is taken for 1 or 0.

        Returns
        -------
        y : array (T, ·)
        final : State

        Raises
        ------
        ValueError, TypeError
            While JAX traces: it names the argument, what came and what is needed.
        """
        return run(self.function, x, self.params, state, others, lengths=length, reverse=reverse)
