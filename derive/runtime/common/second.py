"""What a module of second order does on the host: double backward, tangents, and Hessians times vectors.

Its passes are links of a chain (see `Link` of ``common.table``). What one is given and hands out has a role: an input by its name,
``params.W``, ``state.h``, ``dy``, ``dfinal.h``, ``kept.f`` for a value of each step of the forward pass, ``first.dy`` for dy itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import Any, ClassVar

from .layer import BY_SEQUENCE, OVER_TIME, Array, BaseLayer, Pass
from .sizes import Shape

Values = dict[str, Any]  # by role
CHANGED = "`clip_gradient` and `scale_gradient` change gradients on their way back, and there is no tangent of what they are then"
HOW = "`derive generate --order 2` makes one with it, and so does `derive.compile(cell, order=2)`"


class SecondOrder(BaseLayer):
    """The functions of second order of a cell's module."""

    # What a device has of its own

    nothing: ClassVar[Any] = None
    """What a pass is given for None, where that is not zeros."""

    @abstractmethod
    def retaken(self, tape: Any) -> Any:
        """Return the call that a tape is of, ready to run again."""

    @abstractmethod
    def graded(self, forward: Pass, run: Pass, dy: Any, tape: Any, dfinal: Any) -> tuple[Any, Any]:
        """Return the gradients of a call, and a `Tape2`."""

    @abstractmethod
    def stepped(self, forward: Pass, inputs: Any, params: Any, state: Any, **options: Any) -> tuple[Array, Any, Any]:
        """Return output, final state and tape of a sequence of one step."""

    @abstractmethod
    def added(self, call: Any, one: Array, other: Array) -> Array:
        """Return the sum of two results, to which the first may give its memory."""

    def whole(self, forward: Pass, tape: Any) -> Any:
        """Return a tape that keeps all."""
        return tape

    # What the module's functions do

    def backward_backward(self, twice: Pass, by_inputs: Pass, through: Pass, u: Any, tape2: Any, only: Any = None) -> Any:
        """Return the gradients of Σ ⟨u, gradients⟩, all or `only` some; where `u` has nothing for parameters, by a pass that asks for
        nothing.
        """
        asked = self.twice_asked(only)
        told = ", which backward(…, second=True) returns after the gradients"
        self.check_given(tape2, "backward_backward", "tape2", "Tape2", told)
        self.check_given(tape2.tape, "backward_backward", "tape2.tape")
        return self.twice((twice, by_inputs, through), self.retaken(tape2.tape).asking(asked), u, tape2)

    def twice_asked(self, only: Any) -> Container[str]:
        """Return the names of the gradients that a caller of `backward_backward` asks for, checked."""
        return self.asked(only, "backward_backward", "dy", "dfinal")

    def twice(self, works: tuple[Pass, Pass, Pass], call: Any, u: Any, tape2: Any) -> Any:
        """Do what `backward_backward` does, with the call of a tape that was checked."""
        work, by_inputs, through = works
        kept = {"forward": tape2.tape.saved, "backward": tape2.saved}
        given = self._roles(u, "u", "backward_backward") | {"first.dy": self._first(call, tape2)}
        link = "backward_backward"
        if f"{link}_inputs" in self.links and all(given[f"params.{name}"] is None for name in self.params):
            link, work = f"{link}_inputs", by_inputs
        found = self.linked(link, work, call, given, kept, "u")
        rest = self.linked("through", through, call, _kept(found), kept, "u")
        for name, value in found.items():
            if value is not None and name in rest:
                rest[name] = value if rest[name] is None else self.added(call, rest[name], value)
        return self.records["Second"](*self._outputs(call, found), *self._fields(call, rest))

    def tangent(self, forward: Pass, work: Pass, v: Any, tape: Any) -> tuple[Array, Any]:
        """Return the derivatives of output and final state along `v`."""
        self.check_given(tape, "tangent")
        tape = self.whole(forward, tape)
        return self.moved(work, self.retaken(tape), v, tape)

    def moved(self, work: Pass, call: Any, v: Any, tape: Any) -> tuple[Array, Any]:
        """Do what `tangent` does, with the call of a tape that keeps all."""
        found = self.linked("tangent", work, call, self._roles(v, "v", "tangent"), {"forward": tape.saved}, "v")
        return self._outputs(call, found)

    def hvp(
        self,
        forward: Pass,
        back: Pass,
        along: Pass,
        hessian: Pass,
        output: str,
        v: Any,
        tape: Any,
        dy: Any,
        dfinal: Any,
        curvature: Callable[[Array], Any] | None,
    ) -> tuple[Any, Any]:
        """Return the gradients, and their derivatives along `v`; `output` is the role of the output among what is kept."""
        grads, tape2 = self.graded(forward, back, dy, tape, dfinal)
        call = cache(lambda: self.retaken(tape2.tape))
        moved, bent = self.along(along, call, v, tape2), None
        if curvature:
            y = moved.get(output)
            bent = curvature(self._or_zero(call(), None, OVER_TIME, self.output) if y is None else y)
        return grads, self.hessian(hessian, call, v, tape2, moved, bent)

    def along(self, work: Pass, call: Callable[[], Any], v: Any, tape2: Any) -> Values:
        """Return the derivatives along `v` of all that the forward pass keeps, and of the final states, by role."""
        return self.ran_along(work, call(), v, tape2)

    def ran_along(self, work: Pass, call: Any, v: Any, tape2: Any) -> Values:
        """Do what `along` does, with the call of a tape that was checked."""
        kept = {"forward": tape2.tape.saved, "backward": tape2.saved}
        return self.linked("along", work, call, self._roles(v, "v", "hvp"), kept, "v")

    def hessian(self, work: Pass, call: Callable[[], Any], v: Any, tape2: Any, moved: Values, bent: Any) -> Any:
        """Return the derivatives of the gradients along `v`, given those of what is kept, and of the cotangent of the output."""
        return self.ran_hessian(work, call(), v, tape2, moved, bent)

    def ran_hessian(self, work: Pass, call: Any, v: Any, tape2: Any, moved: Values, bent: Any) -> Any:
        """Do what `hessian` does, with the call of a tape that was checked."""
        kept = {"forward": tape2.tape.saved, "backward": tape2.saved}
        given = self._roles(v, "v", "hvp") | _kept(moved) | {"dy": bent, "first.dy": self._first(call, tape2)}
        return self.records["Grads"](*self._fields(call, self.linked("hessian", work, call, given, kept, "v")))

    def step_tangent(
        self, forward: Pass, work: Pass, inputs: Any, params: Any, state: Any, v: Any, **options: Any
    ) -> tuple[Array, Any, Array, Any]:
        """Return output and state of one step, and their derivatives along `v`."""
        y, final, tape = self.stepped(forward, self.one_step(inputs), params, state, **options)
        given = self.records["Grads"]
        if isinstance(v, given):
            v = v._replace(**{name: None if value is None else value[None] for name, value in v._asdict().items() if name in self.inputs})
        dy, dfinal = SecondOrder.tangent(self, forward, work, v, tape)
        return y[0], final, dy[0], dfinal

    def without_second_order(self) -> tuple[Callable[..., Any], ...]:
        """Return what stands for the functions of second order in a module that has none."""
        return tuple(self._missing(name) for name in ("backward_backward", "tangent", "hvp", "step_tangent"))

    def without_tangents(self) -> tuple[Callable[..., Any], ...]:
        """Return what stands for the functions of tangents in a module whose backward pass is not linear in what it is given."""
        return tuple(_refusing(name, f"{self.name}.{name}: {CHANGED}", CHANGED) for name in ("tangent", "hvp", "step_tangent"))

    def _missing(self, function: str) -> Callable[..., Any]:
        return _refusing(function, self.no_second_order(function), f"Of second order, which this module was generated without: {HOW}.")

    def no_second_order(self, function: str) -> str:
        """Return what is said to one who asks a module without second order for it."""
        return f"{self.name}.{function}: this module was generated without second order: {HOW}"

    # Roles

    def as_rows(self, call: Any, value: Any, argument: str, kind: str, shape: Shape) -> Any:
        if value is None and self.nothing is not None:
            return self.nothing
        return super().as_rows(call, value, argument, kind, shape)

    def as_given(self, call: Any, value: Any, lead: tuple[str, ...], shape: Shape) -> Any:
        return None if value is None or value is self.nothing else super().as_given(call, value, lead, shape)

    def _first(self, call: Any, tape2: Any) -> Array:
        """Return the cotangent of the output that the backward pass was given, which double backward is not linear in."""
        return self.cotangent(call, tape2.dy, "tape2.dy", OVER_TIME, self.output)

    def _or_zero(self, call: Any, value: Any, lead: tuple[str, ...], shape: Shape) -> Array:
        return self.xp.zeros(self.axes(call, lead, shape), call.stored_dtype) if value is None else value

    def _outputs(self, call: Any, found: Mapping[str, Any]) -> tuple[Array, Any]:
        """Return what belongs to the output and to the final states, from values by role; None for what is not asked for."""
        dy = self._or_zero(call, found.get("dy"), OVER_TIME, self.output) if "dy" in call.asked else None
        if "dfinal" not in call.asked:
            return dy, None
        final = [self._or_zero(call, found.get(f"dfinal.{name}"), BY_SEQUENCE, shape) for name, shape in self.state.items()]
        return dy, self.records["State"](*final)

    def _roles(self, grads: Any, argument: str, function: str) -> Values:
        """Return what a `Grads` has, by role; None is zero."""
        self.check_given(grads, function, argument, "Grads")
        found: Values = {name: getattr(grads, name) for name in (*self.inputs, *self.context)}
        for field, kind, names in (("params", "Params", self.params), ("state", "State", self.state)):
            record = getattr(grads, field)
            if record is not None:
                self.check_given(record, function, f"{argument}.{field}", kind, " or None")
            found |= {f"{field}.{name}": None if record is None else getattr(record, name) for name in names}
        for name, value in found.items():
            if value is not None and name not in self.links["through"].handed:
                raise ValueError(f"{self.name}.{function}: {argument}.{name} must be None: there is no gradient with respect to it")
        return found

    def _fields(self, call: Any, found: Mapping[str, Any]) -> list[Any]:
        """Return the fields of a `Grads` from values by role: zero for one that nothing depends on, None for what has no gradient, or is
        not asked for.
        """

        def value(name: str, lead: tuple[str, ...], shape: Shape) -> Any:
            if name.partition(".")[0] not in call.asked:
                return None
            own = name in self.links["through"].handed
            return self._or_zero(call, found.get(name), lead, shape) if own else found.get(name)

        inputs = [value(name, OVER_TIME, shape) for name, shape in self.inputs.items()]
        inputs += [value(name, BY_SEQUENCE, shape) for name, shape in self.context.items()]
        params = [value(f"params.{name}", (), shape) for name, shape in self.params.items()]
        state = [value(f"state.{name}", BY_SEQUENCE, shape) for name, shape in self.state.items()]
        made = (("params", self.records["Params"](*params)), ("state", self.records["State"](*state)))
        return [*inputs, *[record if name in call.asked else None for name, record in made]]


def _refusing(function: str, message: str, told: str) -> Callable[..., Any]:
    """Return what stands for a function that a module does not have."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(message)

    refuse.__name__ = refuse.__qualname__ = function
    refuse.__doc__ = told
    return refuse


def _kept(values: Mapping[str, Any]) -> Values:
    """Return those of the values that the forward pass keeps."""
    return {name: value for name, value in values.items() if name.startswith("kept.")}
