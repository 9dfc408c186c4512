"""What a training loop needs beside the kernels: clipping, optimisers, truncated backpropagation. NumPy only.

Parameters and gradients are **trees**: an array, or a tuple, NamedTuple, list or dict of trees. `None` stands where there is no gradient
(an integer input, a `fixed` parameter): it is left alone, and so is the parameter in its place. Nothing is changed in place; every result
keeps the dtype of its array, float32 or float64.

    optimiser = Adam(learning_rate=1e-3)
    for x, dy_of in batches:
        y, _, tape = lstm.forward(x, params)
        grads = lstm.backward(dy_of(y), tape)
        clipped, norm = clip_by_global_norm(grads.params, 1.0)
        params = optimiser.update(params, clipped)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

Tree = Any
"""An array, None, or a tuple, NamedTuple, list or dict of trees."""

T = TypeVar("T")


def tree_leaves(tree: Tree) -> list[Any]:
    """The arrays of a tree in order, without its Nones."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for child in tree.values() for leaf in tree_leaves(child)]
    if isinstance(tree, (tuple, list)):
        return [leaf for child in tree for leaf in tree_leaves(child)]
    return [tree]


def tree_map(function: Callable[..., Any], tree: T, *others: Tree) -> T:
    """Apply `function` to the arrays that stand at one place in `tree` and in `others`; None in `tree` stays None.

    Raises
    ------
    ValueError
        If one of `others` is not built like `tree`.
    """
    result: Any
    if tree is None:
        return tree
    if isinstance(tree, dict):
        if any(not isinstance(other, dict) or other.keys() != tree.keys() for other in others):
            raise ValueError(f"trees differ: a dict with keys {list(tree)} stands opposite {_describe(others)}")
        result = {key: tree_map(function, child, *(other[key] for other in others)) for key, child in tree.items()}
    elif isinstance(tree, (tuple, list)):
        if any(not isinstance(other, (tuple, list)) or len(other) != len(tree) for other in others):
            raise ValueError(f"trees differ: a {type(tree).__name__} of {len(tree)} stands opposite {_describe(others)}")
        children = [tree_map(function, *places) for places in zip(tree, *others, strict=True)]
        result = type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    else:
        result = function(tree, *others)
    return result


def _describe(others: tuple[Tree, ...]) -> str:
    return ", ".join(type(other).__name__ + (f" of {len(other)}" if isinstance(other, (tuple, list, dict)) else "") for other in others)


# ---------------------------------------------------------------------------------------------------------------------------- clipping


def global_norm(grads: Tree) -> float:
    """The Euclidean norm of all arrays of a tree taken as one vector, summed in float64. 0 for an empty tree; nan or inf if an entry is."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(sum(float(np.sum(np.square(leaf, dtype=np.float64))) for leaf in tree_leaves(grads))))


def clip_by_global_norm(grads: T, max_norm: float) -> tuple[T, float]:
    """Scale all gradients by one factor so that their joint norm is at most `max_norm`.

    `g * min(1, max_norm / norm)`, with norm over all arrays, so that the direction stays (Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063,
    algorithm 1).

    Parameters
    ----------
    grads : tree of float arrays
    max_norm : float
        Positive; `inf` only measures.

    Returns
    -------
    grads : tree
        The same object if nothing had to be scaled. **If the norm is nan or inf, there is no factor that helps: the gradients come back
        as they are**, and the norm says so. Test `math.isfinite(norm)` and skip that update; the optimisers would carry a nan for good.
    norm : float
        The norm before clipping.

    Raises
    ------
    ValueError
        If `max_norm` is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    norm = global_norm(grads)
    if not np.isfinite(norm) or norm <= max_norm:
        return grads, norm
    factor = max_norm / norm
    return tree_map(lambda g: np.asarray(g * g.dtype.type(factor)), grads), norm


def clip_by_value(grads: T, limit: float) -> T:
    """Cut every entry to [-limit, limit]. An infinite entry becomes ±limit, a nan stays nan. ValueError unless `limit` > 0."""
    if not limit > 0:
        raise ValueError(f"limit must be positive, got {limit}")
    return tree_map(lambda g: np.asarray(np.clip(g, g.dtype.type(-limit), g.dtype.type(limit))), grads)


# -------------------------------------------------------------------------------------------------------------------------- optimisers


class _Optimiser:
    """Common part: `update` walks the trees, `_step` is the formula for one array.

    The state is in the open: `slots`, what is remembered for each array, and `steps`, the number of updates so far.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate >= 0:
            raise ValueError(f"learning_rate must not be negative, got {learning_rate}")
        self.learning_rate = float(learning_rate)  # may be set between updates: that is a schedule
        self.steps = 0
        self.slots: list[dict[str, Any]] | None = None  # one dict an array with a gradient, in the order of the tree

    def update(self, params: T, grads: Tree) -> T:
        """One step of the optimiser.

        Parameters
        ----------
        params : tree of float arrays
        grads : tree built like `params`
            None leaves that parameter as it is. Where a gradient is None must not change from one update to the next.

        Returns
        -------
        tree
            New parameters, with the dtypes of the old ones; `params` is not altered.

        Raises
        ------
        ValueError
            If the trees or the shapes differ, from each other or from those of the first update. The state is then unchanged.
        """
        pairs: list[tuple[Any, Any]] = []
        tree_map(lambda p, g: None if g is None else pairs.append((p, g)), params, grads)
        self._check(pairs)
        if self.slots is None:
            self.slots = [{name: np.zeros_like(p) for name in self.slot_names} for p, _ in pairs]
        self.steps += 1
        slots = iter(self.slots)

        def one(p: Any, g: Any) -> Any:
            return p if g is None else np.asarray(p - self._step(p, g.astype(p.dtype, copy=False), next(slots)), dtype=p.dtype)

        return tree_map(one, params, grads)

    def _check(self, pairs: list[tuple[Any, Any]]) -> None:
        for p, g in pairs:
            if p.shape != g.shape:
                raise ValueError(f"a parameter has shape {p.shape}, its gradient {g.shape}")
        if self.slots is None:
            return
        if len(pairs) != len(self.slots):
            raise ValueError(f"{len(pairs)} arrays have a gradient, at the first update {len(self.slots)} had one")
        for (p, _), slots in zip(pairs, self.slots, strict=True):
            for slot in slots.values():
                if slot.shape != p.shape:
                    raise ValueError(f"a parameter has shape {p.shape}, at the first update it had {slot.shape}")

    def _step(self, p: Any, g: Any, slots: dict[str, Any]) -> Any:
        raise NotImplementedError


class SGD(_Optimiser):
    """Gradient descent, with momentum: `v ← μ v + g`, `θ ← θ - η v` (Polyak 1964, in the form of Sutskever et al. 2013 with η outside)."""

    slot_names = ("v",)

    def __init__(self, learning_rate: float, momentum: float = 0.0) -> None:
        super().__init__(learning_rate)
        self.momentum = float(momentum)

    def _step(self, p: Any, g: Any, slots: dict[str, Any]) -> Any:
        slots["v"] = self.momentum * slots["v"] + g
        return self.learning_rate * slots["v"]


class RMSProp(_Optimiser):
    """RMSProp: `v ← α v + (1-α) g²`, `θ ← θ - η g / (√v + ε)`.

    Tieleman & Hinton 2012, lecture 6.5 of "Neural networks for machine learning"; ε outside the root and α = 0.99 as in PyTorch.
    """

    slot_names = ("v",)

    def __init__(self, learning_rate: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__(learning_rate)
        self.alpha, self.eps = float(alpha), float(eps)

    def _step(self, p: Any, g: Any, slots: dict[str, Any]) -> Any:
        slots["v"] = self.alpha * slots["v"] + (1 - self.alpha) * g * g
        return self.learning_rate * g / (np.sqrt(slots["v"]) + self.eps)


class Adam(_Optimiser):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1).

    `m ← β₁ m + (1-β₁) g`, `v ← β₂ v + (1-β₂) g²`, `m̂ = m / (1-β₁ᵗ)`, `v̂ = v / (1-β₂ᵗ)`, `θ ← θ - η m̂ / (√v̂ + ε)`.
    """

    slot_names = ("m", "v")

    def __init__(self, learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.eps = float(beta1), float(beta2), float(eps)

    def _step(self, p: Any, g: Any, slots: dict[str, Any]) -> Any:
        slots["m"] = self.beta1 * slots["m"] + (1 - self.beta1) * g
        slots["v"] = self.beta2 * slots["v"] + (1 - self.beta2) * g * g
        m_hat = slots["m"] / (1 - self.beta1**self.steps)
        v_hat = slots["v"] / (1 - self.beta2**self.steps)
        return self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)


# ---------------------------------------------------------------------------------------------- truncated backpropagation through time


def windows(x: Tree, length: int) -> Iterator[Tree]:
    """Cut time-major arrays into consecutive windows of `length` steps, views; the last one may be shorter.

    Parameters
    ----------
    x : tree of arrays (T, …)
        All with the same T; T = 0 yields nothing.
    length : int
        At least 1.

    Raises
    ------
    ValueError
        If `length` is less than 1 or the arrays differ in T.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    steps = {leaf.shape[0] for leaf in tree_leaves(x)}
    if len(steps) > 1:
        raise ValueError(f"arrays differ in their number of steps: {sorted(steps)}")
    return (_cut(x, t, length) for t in range(0, max(steps, default=0), length))


def _cut(x: Tree, t: int, length: int) -> Tree:
    return tree_map(lambda leaf: leaf[t : t + length], x)


class Window(NamedTuple):
    """What `truncated_bptt` yields for one window."""

    y: Any
    """(L, B, n): the output."""
    dy: Any
    """(L, B, n): its cotangent, as `cotangent` gave it."""
    grads: Any
    """The module's `Grads` for this window alone; `grads.state` is the gradient of the carried state, not passed on."""
    final: Any
    """The state after the window; the next window starts from it."""


def truncated_bptt(
    module: Any,
    x: Any,
    params: Any | Callable[[], Any],
    cotangent: Callable[[Any, slice], Any],
    length: int,
    state: Any = None,
) -> Iterator[Window]:
    """Backpropagation through time over windows: the state is carried from one to the next, the gradient is cut between them.

    The form with equal forward and backward lengths (Williams & Peng 1990, BPTT(h; h)). Each yielded gradient is the full BPTT gradient of
    its window, with the state it started from held constant. The next window runs when the next result is asked for, so parameters
    may be updated in between: give `params` as a function.

    Parameters
    ----------
    module : generated module or `derive.compile(cell)`
    x : array (T, B, d)
    params : Params, or a function without arguments that returns the current ones
    cotangent : function
        `cotangent(y, window)` is dL/dy, (L, B, n), for the outputs `y` of the steps `window` (a slice of the T steps).
    length : int
        Steps of a window; the last one may be shorter.
    state : State, optional
        Before the first step; zeros by default.

    Yields
    ------
    Window

    Raises
    ------
    ValueError
        If `length` is less than 1.
    """
    start = 0
    for x_window in windows(x, length):
        steps = slice(start, start + len(x_window))
        y, state, tape = module.forward(x_window, params() if callable(params) else params, state)
        dy = cotangent(y, steps)
        yield Window(y, dy, module.backward(dy, tape), state)
        start = steps.stop
