"""The function that makes what is made of parameters alone."""

from __future__ import annotations

from collections.abc import Callable

from ...calculus.ir import Concat, Equation, Map, Transpose
from ..source import Comment, Tree, name
from .interface import Interface
from .lies import Fields, is_view
from .memory import Memory, viewed
from .static import Static
from .text import declare_array


def prepared(fields: Fields, say: Callable[[Equation], list[Comment]]) -> list[Tree]:
    """Return its statements: arrays for what is made on the way, then value by value."""
    interface, places = fields.interface, fields.places
    equations, names = needed(interface), interface.scope()
    shown = {eq.name for eq in equations if shows(eq, equations, interface)}
    lies, lines = dict(fields.given), list[Tree]()
    for eq in equations:
        if eq.name in shown:
            continue
        if eq.name in interface.made:
            lies[eq.name] = places.own(eq.name, fields.field("made", eq.name))
        else:
            memory = Memory(name(names.fresh(eq.name)), interface.rec.axes(eq.name))
            lies[eq.name] = places.own(eq.name, memory)
            lines.append(declare_array(memory.source.text, [places.size(axis) for axis in memory.axes]))
    lies = viewed(places, [eq for eq in equations if eq.name in shown], lies)
    static = Static(places, lies, say)
    return [*lines, *(line for eq in equations if eq.name not in shown for line in static.made(eq))]


def needed(interface: Interface) -> list[Equation]:
    """Return the static equations that what is made needs."""
    wanted = set(interface.made)
    for eq in reversed(interface.rec.prologue):
        wanted.update(eq.node.operands() if eq.name in wanted else ())
    return [eq for eq in interface.rec.prologue if eq.name in wanted]


def shows(eq: Equation, equations: list[Equation], interface: Interface) -> bool:
    """Say whether a value that is made on the way shows another one; so does a transpose that is read element by element."""
    if not isinstance(eq.node, Transpose) or eq.name in interface.made:
        return is_view(eq, interface.rec.types[eq.name].headed)
    return all(isinstance(other.node, Map | Concat) for other in equations if eq.name in other.node.operands())
