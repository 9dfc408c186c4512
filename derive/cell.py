"""What a cell is: its equations, and what follows from them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from numbers import Rational, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .calculus.naming import canonical
from .language import wellformed as checks
from .language.errors import CellError, nearest
from .language.hints import MATRICES, limit
from .language.parse import parse
from .language.rewrite import Rewritten, rewrite
from .language.shapes import Declarations, Inference, infer, is_batched, rank_of
from .language.sizes import Shape, parse_shape, shape_text
from .language.tree import Assignment
from .language.unparse import unparse, unparse_expression
from .language.walks import walk
from .runtime.common.initial import MATRIX_RULES, RULES
from .verify.evaluate import evaluate

if TYPE_CHECKING:
    from .calculus.jacobian import Jacobian
    from .calculus.structure import Structure


@dataclass(frozen=True, init=False, eq=False)
class Cell:
    """A recurrent cell, defined by the equations of one step.

    Parameters
    ----------
    text : str
        The equations, one a line.  `s_prev` is the value of state `s` at the step before; every name that is neither assigned nor declared
        below is a parameter.
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
        Parameters that get no gradient.
    shapes : mapping, optional
        Declared shapes by name, such as ``{"P": "p, n", "alpha": ""}`` (kept as `declared_shapes`; `shapes` holds those of all names).
    constants : mapping, optional
        Numbers and arrays by name.
    init : mapping, optional
        Initial value of a parameter, or the name of a rule; the value of a state before the first step, where it is not zero.
    latex : mapping, optional
        How a name is typeset.

    Raises
    ------
    CellError
        If the text or a declaration is wrong; all errors are found at construction.
    """

    text: str
    name: str
    output: str
    title: str
    reference: str
    description: str
    inputs: tuple[str, ...]
    context: tuple[str, ...]
    fixed: tuple[str, ...]
    declared_shapes: Mapping[str, str]
    constants: Mapping[str, Any]
    init: Mapping[str, float | str]
    latex: Mapping[str, str]

    def __init__(
        self,
        text: str,
        *,
        name: str,
        output: str,
        title: str = "",
        reference: str = "",
        description: str = "",
        inputs: tuple[str, ...] = ("x",),
        context: tuple[str, ...] = (),
        fixed: tuple[str, ...] = (),
        shapes: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        init: Mapping[str, float | str] | None = None,
        latex: Mapping[str, str] | None = None,
    ) -> None:
        values: dict[str, Any] = {
            "text": text,
            "name": canonical(name) if isinstance(name, str) else name,
            "output": canonical(output) if isinstance(output, str) else output,
            "title": title,
            "reference": reference,
            "description": description,
            "inputs": _names("inputs", inputs),
            "context": _names("context", context),
            "fixed": _names("fixed", fixed),
            "declared_shapes": _mapping("shapes", shapes),
            "constants": _mapping("constants", constants),
            "init": _mapping("init", init),
            "latex": _mapping("latex", latex),
        }
        for key in ("output", "title", "reference", "description"):
            if not isinstance(values[key], str):
                raise CellError(f"{key} needs a text, not {values[key]!r}")
        for key, value in values.items():
            object.__setattr__(self, key, value)
        checks.check_cell_name(self.name)
        self._check()

    # Identity

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        mappings = (self.declared_shapes, self.constants, self.init, self.latex)
        plain = (self.text, self.name, self.output, self.title, self.reference, self.description, self.inputs, self.context, self.fixed)
        return (*plain, *(tuple((k, _content(v)) for k, v in sorted(m.items())) for m in mappings))

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Cell) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy or a pickle makes it again: from its definition, without what has followed from that."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        shapes, constants = given.pop("declared_shapes"), {**self.constants, **self.array_constants}
        return _defined, ({**given, "shapes": shapes, "constants": constants},)

    # What the text says

    @cached_property
    def equations(self) -> tuple[Assignment, ...]:
        """The lines of the text; constants are still names."""
        return parse(self.text, self.scalar_constants)

    @cached_property
    def states(self) -> tuple[str, ...]:
        """The assigned names whose previous value is read, in the order of assignment."""
        previous = checks.previous_names(self.equations)
        return tuple(target for target in checks.targets_of(self.equations) if f"{target}_prev" in previous)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The parameters in order of first appearance, those that are `fixed` included."""
        known = {*self.inputs, *self.context, *self.constants, *checks.targets_of(self.equations)}
        names = dict.fromkeys(node.id for _, node in checks.names_in(self.equations))
        return tuple(name for name in names if name not in known and not checks.is_previous(name))

    @cached_property
    def scalar_constants(self) -> Mapping[str, Fraction | float]:
        """The constants that are numbers, exact where they were given exactly."""
        return {name: _number(name, value) for name, value in self.constants.items() if _is_number(value)}

    @cached_property
    def array_constants(self) -> Mapping[str, np.ndarray]:
        """The constants that are vectors or matrices, as read-only float64 arrays."""
        return {name: _array(name, value) for name, value in self.constants.items() if not _is_number(value)}

    # What follows from it

    @cached_property
    def _inference(self) -> Inference:
        declared = {name: parse_shape(shape) for name, shape in self.declared_shapes.items()}
        known = Declarations(
            text=self.text,
            inputs=self.inputs,
            context=self.context,
            states=self.states,
            parameters=self.parameters,
            scalars=frozenset(self.scalar_constants),
            arrays={name: array.shape for name, array in self.array_constants.items()},
            declared=declared,
        )
        return infer(self.equations, known)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of one row of every name: inputs, context, states, `s_prev`, parameters, constants, assigned names."""
        return self._inference.shapes

    @cached_property
    def integers(self) -> frozenset[str]:
        """The inputs that are indices."""
        return self._inference.integers

    @cached_property
    def equal_sizes(self) -> tuple[tuple[str, str], ...]:
        """Pairs of named sizes that the equations make equal; in `shapes` the second name stands for both."""
        return self._inference.equal_sizes

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The named sizes in `shapes`: d, n, then the others by name."""
        found = {name for shape in self.shapes.values() for size in shape for name in size.names}
        return tuple(sorted(found, key=lambda name: ({"d": 0, "n": 1}.get(name, 2), name)))

    @cached_property
    def batched(self) -> frozenset[str]:
        """The names that have a row for each sequence: what depends on an input, a context or a state; states and the output always."""
        found = frozenset({*self.inputs, *self.context, *self.states, self.output, *(f"{s}_prev" for s in self.states)})
        for line in self.equations:
            if is_batched(line.value, found):
                found |= {*line.targets}
        return found

    # What can be done with it

    def evaluate(self, namespace: Mapping[str, Any], xp: Any) -> dict[str, Any]:
        """Return all assigned names after one step on arrays of NumPy, PyTorch or JAX: see `derive.verify.evaluate.evaluate`.

        Raises
        ------
        ValueError
            If a name is missing in `namespace`.
        """
        return evaluate(self, namespace, xp)

    def jacobian(self) -> Jacobian:
        """Return ∂s_t/∂s'_{t-1} for every pair of states, as sums of products of ``Diag(v)`` and matrices."""
        from .calculus.jacobian import jacobian

        return jacobian(self)

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
        result = rewrite(self, canonical_keys("replace", {key: str(value) for key, value in expressions.items()}))
        return self._rebuilt(
            result,
            {
                "name": self.name if name is None else name,
                "title": self.title if title is None else title,
                "reference": self.reference if reference is None else reference,
                "description": self.description if description is None else description,
            },
        )

    def _rebuilt(self, result: Rewritten, texts: Mapping[str, str]) -> Cell:
        used = {node.id for _, node in checks.names_in(result.equations)} | {*checks.targets_of(result.equations)}

        def keep(mapping: Mapping[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in mapping.items() if key in used}

        shapes = keep(self.declared_shapes) | {key: shape_text(self.shapes[key]) for key in result.keep_shape}
        return Cell(
            unparse(result.equations),
            **texts,
            output=self.output,
            inputs=tuple(i for i in self.inputs if i in used),
            context=tuple(c for c in self.context if c in used),
            fixed=tuple(f for f in self.fixed if f in used),
            shapes=shapes,
            constants=keep(self.constants),
            init=keep(self.init),
            latex=keep(self.latex),
        )

    # Checks

    def _check(self) -> None:
        """Raise the first error of the text and of the declarations."""
        given = {
            **dict.fromkeys(self.inputs, "an input"),
            **dict.fromkeys(self.context, "a context"),
            **dict.fromkeys(self.constants, "a constant"),
        }
        groups = {"inputs": self.inputs, "context": self.context, "constants": tuple(self.constants)}
        checks.check_declared_names(self.text, groups)
        equations = self.equations
        checks.check_assignments(self.text, equations, given)
        checks.check_reads(self.text, equations, given)
        checks.check_output(self.text, self.output, equations)
        declared = frozenset({*self.declared_shapes, *self.fixed, *self.init})
        checks.check_typos(self.text, equations, (*self.inputs, *self.context), self.parameters, declared)
        self._check_declarations()
        self._check_matrices(equations)
        checks.check_inputs(self.text, (*self.inputs, *self.context), equations)

    def _check_declarations(self) -> None:
        targets = checks.targets_of(self.equations)
        read = {node.id for _, node in checks.names_in(self.equations)}
        words = re.findall(r"\w+", canonical(re.sub("#.*", "", self.text)))  # an exponent's constant is a number in the tree
        values = (*self.inputs, *self.context, *self.parameters, *targets, *self.constants)
        for what, keys, allowed, needed in (
            ("shapes", self.declared_shapes, values, "a parameter, an input, a state or an assigned name"),
            ("fixed", self.fixed, self.parameters, "a parameter"),
            ("init", self.init, (*self.parameters, *self.states), "a parameter or a state"),
            ("latex", self.latex, values, "a name of the text"),
            ("constants", self.constants, (*read, *words), "a name that the text reads"),
        ):
            for key in keys:
                if key not in allowed:
                    raise CellError(f"{what}: `{key}` is not {needed}{nearest(str(key), allowed)}", text=self.text)
        for key, shape in self.declared_shapes.items():
            try:
                parse_shape(shape)
            except ValueError as error:
                raise CellError(f"shapes: `{key}`: {error}", text=self.text) from None
        for key, value in self.init.items():
            if not isinstance(value, str | Real) or (isinstance(value, Real) and not math.isfinite(value)):
                raise CellError(f"init: `{key}` needs a finite number or the name of a rule, not {value!r}", text=self.text)
            if key in self.states and isinstance(value, str):
                raise CellError(
                    f"init: `{key}` is a state, whose value before the first step must be a number, not {value!r}", text=self.text
                )
            if isinstance(value, str) and value not in RULES:
                raise CellError(f"init: `{key}`: there is no rule `{value}`{nearest(value, RULES)}: {', '.join(RULES)}", text=self.text)
            if value in MATRIX_RULES and len(self.shapes[key]) != 2:
                raise CellError(f"init: the rule `{value}` needs a matrix, `{key}` is {shape_text(self.shapes[key])}", text=self.text)
        for key, value in self.latex.items():
            if not isinstance(value, str):
                raise CellError(f"latex: `{key}` needs a text, not {value!r}", text=self.text)
        _ = self.array_constants

    def _check_matrices(self, equations: tuple[Assignment, ...]) -> None:
        """Refuse matrices that change with the input or over time: the language has only static ones."""
        for name in (*self.states, *self.inputs, *self.context):
            shape = parse_shape(self.declared_shapes[name]) if name in self.declared_shapes else ()
            if len(shape) == 2:
                kind = "states" if name in self.states else "inputs"
                raise CellError(
                    f"`{name}` is declared a matrix ({shape_text(shape)}): the language has no matrix-valued {kind}; {limit(MATRICES)}",
                    text=self.text,
                )
        for line in equations:
            for node in walk(line.value):
                if is_batched(node, self.batched) and rank_of(node, self.shapes) == 2:
                    raise CellError.at(
                        node.span,
                        self.text,
                        f"`{unparse_expression(node)}` is a matrix that changes from row to row: the language has only matrices made of "
                        f"parameters and constants; scale the product instead, as in `a * (W @ x)`, or {limit(MATRICES)}",
                    )
        if len(self.shapes[self.output]) == 2:
            raise CellError(f"the output `{self.output}` is a matrix: it must be a vector or a scalar", text=self.text)


def canonical_keys(what: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping by names as the text has them."""
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        if canonical(name) in found:
            raise CellError(f"{what}: `{canonical(name)}` is given twice: Python reads different letters as one name")
        found[canonical(name)] = value
    return found


def _defined(definition: dict[str, Any]) -> Cell:
    return Cell(**definition)


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise CellError(f'{what} needs a tuple of names, such as ("{names}",), not a text')
    if not isinstance(names, Iterable):
        raise CellError(f'{what} needs a tuple of names, such as ("x",), not {names!r}')
    return tuple(canonical(name) if isinstance(name, str) else name for name in names)


def _mapping(what: str, mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping) or not all(isinstance(name, str) for name in mapping):
        raise CellError(f'{what} needs a mapping from names, such as {{"W": …}}, not {mapping!r}')
    return canonical_keys(what, mapping)


def _is_number(value: Any) -> bool:
    try:
        return np.ndim(value) == 0
    except ValueError:  # rows of different lengths
        return False


def _number(name: str, value: Any) -> Fraction | float:
    value = value.item() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise CellError(f"constants: `{name}` needs a finite number or an array, not {value!r}")
    return Fraction(value) if isinstance(value, Rational) else float(value)


def _array(name: str, value: Any) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise CellError(f"constants: `{name}` needs a number or an array of numbers") from None
    if array.ndim > 2 or array.size == 0 or not np.isfinite(array).all():
        raise CellError(f"constants: `{name}` needs finite numbers in a vector or a matrix, its shape is {array.shape}")
    array.flags.writeable = False
    return array


def _content(value: Any) -> Any:
    """Return what stands for a value in comparisons."""
    if _is_number(value):
        return value.item() if isinstance(value, np.ndarray | np.generic) else value
    array = np.asarray(value, dtype=np.float64)
    return array.shape, array.tobytes()
