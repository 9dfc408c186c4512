"""A layer of any cell, called as `flax.nnx.RNN` is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flax import nnx
from jax import numpy as jnp

from ..common.truth import truth
from ..jax.function import function
from ..jax.layers import initial, run, sizes_of, start

Carry = Any


class Fixed(nnx.Variable):
    """A parameter that is not trained."""


class RNN(nnx.Module):
    """A cell over sequences.

    Each parameter is an `nnx.Param` by its name in the equations, such as ``layer.W_i``.

    Parameters
    ----------
    cell : str, module, or derive.Cell
        The name of a cell of this package, a generated module, or, where `derive` is installed, a cell that it compiles now.
    in_features, hidden_features : int, optional
        The sizes d and n of a cell that has them.
    time_major, return_carry, reverse, keep_order : bool
        What a call does that is not told.
    fixed : sequence of str
        Parameters that are not trained: they are `Fixed`.
    order : 1 or 2
        Of derivatives; with 2, a cell that the package has without second derivatives is compiled with them, where `derive` is installed.
    param_dtype : float32, or with `jax_enable_x64` float64
    rngs : nnx.Rngs
        Parameters begin by the cell's rules, and their numbers come of the stream `params`.
    **sizes : int
        The cell's other sizes.

    Raises
    ------
    ValueError, TypeError
        It says which cell, size or parameter is not known, or missing.
    """

    def __init__(
        self,
        cell: Any,
        in_features: int | None = None,
        hidden_features: int | None = None,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        fixed: Sequence[str] = (),
        order: int = 1,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **sizes: int,
    ) -> None:
        self.function = function(cell, order=order)
        self.in_features, self.hidden_features, self.param_dtype = in_features, hidden_features, jnp.dtype(param_dtype)
        self.time_major, self.return_carry, self.reverse, self.keep_order = time_major, return_carry, reverse, keep_order
        self.sizes = tuple(sizes_of(self.function, {"d": in_features, "n": hidden_features, **sizes}).items())
        name, fields = self.function.__name__, self.function.Params._fields
        if unknown := sorted(set(fixed) - set(fields)):
            raise ValueError(f"{name}: fixed must name parameters, {', '.join(fields)}, got `{unknown[0]}`")
        for field, value in initial(self.function, rngs.params(), dict(self.sizes), self.param_dtype)._asdict().items():
            if hasattr(self, field):
                raise ValueError(f"{name}: a parameter cannot be named `{field}` here: the layer has an attribute of that name")
            setattr(self, field, Fixed(value) if field in fixed else nnx.Param(value))

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None) -> Carry:
        """Return the states before the first step, as the cell's rules say: zero, as a rule.

        Parameters
        ----------
        input_shape : tuple of int
            Of the inputs of one step, `(…, d)`.
        rngs
            Not used: it is there since cells of Flax have it.
        """
        return self._carry(start(self.function, tuple(input_shape[:-1]), dict(self.sizes), self.param_dtype))

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Carry = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Any = None,
        **others: Any,
    ) -> Any:
        """Run the cell over sequences.

        Parameters
        ----------
        inputs : array (…, T, ·), or (T, …, ·) with `time_major`
            The cell's first input; there may be any axes of sequences, or none.
        initial_carry : array, or tuple of arrays (…, ·), optional
            The states before the first step: the array of a cell with one state, or `(c, h)` of an LSTM.
        seq_lengths : whole numbers (…), optional
            How many steps each sequence has. The others are not run, and give zero.
        return_carry : bool
            Whether the states after each sequence's last step are returned too.
        time_major : bool
            Whether steps are the first axis.
        reverse : bool
            Whether each sequence is run from its last step to its first.
        keep_order : bool
            Whether outputs then stay where their inputs are; if not, that of the last step is the first.
        rngs
            Not used: it is there since `nnx.RNN` has it.
        **others
            The cell's other inputs, as `inputs`, and contexts, `(…, ·)`, by name. What is true or false is taken for 1 or 0.

        Returns
        -------
        y : array (…, T, ·), or (T, …, ·); or `(carry, y)` with `return_carry`

        Raises
        ------
        ValueError, TypeError
            While JAX traces: it names the argument, what came and what is needed.
        """
        time_major, reverse = self._told("time_major", time_major), self._told("reverse", reverse)
        params = self.function.Params(*[getattr(self, name)[...] for name in self.function.Params._fields])
        options = {"time_major": time_major, "lengths": seq_lengths, "reverse": reverse}
        y, final = run(self.function, inputs, params, initial_carry, others, **options)
        if reverse and not self._told("keep_order", keep_order):
            y = _flipped(y, seq_lengths, 0 if time_major else jnp.ndim(inputs) - len(self._row()) - 1)
        return (self._carry(final), y) if self._told("return_carry", return_carry) else y

    def _told(self, name: str, value: bool | None) -> bool:
        """Return an option of a call, or what the layer has for it."""
        return truth(self.function.__name__, name, getattr(self, name) if value is None else value)

    def _row(self) -> tuple[str, ...]:
        """Return the first input's own axes."""
        row: tuple[str, ...] = next(iter(self.function.module.LAYER.inputs.values()))
        return row

    def _carry(self, state: Any) -> Carry:
        """Return states as Flax has them: that of a cell with one is its array."""
        return state[0] if len(state) == 1 else state


def _flipped(y: Any, lengths: Any, axis: int) -> Any:
    """Return outputs from each sequence's last step to its first; what lies past an end stays there."""
    if lengths is None:
        return jnp.flip(y, axis)
    steps, ends = y.shape[axis], jnp.expand_dims(jnp.asarray(lengths), axis)
    t = jnp.arange(steps).reshape([-1 if k == axis else 1 for k in range(ends.ndim)])
    source = (ends - 1 - t) % steps
    return jnp.take_along_axis(y, source.reshape(*source.shape, *[1] * (y.ndim - source.ndim)), axis)
