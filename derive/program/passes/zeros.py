"""Hand out no zeros: a later link takes what it is not given for zero, and so does whoever adds results up.

Of a gradient that does not depend on a value, the cotangent of that value vanishes at every step: ``x̿⁰ = 0``.  `THROUGH` stays as it is:
what it hands out is what has a gradient at all.

Needs: nothing.  Leaves: links beyond the first two that hand out fewer values.
"""

from __future__ import annotations

from dataclasses import replace

from ...calculus.chain import BACKWARD, FORWARD, Derivation, Link
from ...calculus.ir import Map, prune
from ...calculus.second import THROUGH


def zeros(derivation: Derivation) -> Derivation:
    """Return `derivation` without zeros among what links of second order hand out at each step."""
    links = tuple(link if link.name in (FORWARD, BACKWARD, THROUGH) else _without(link) for link in derivation)
    return replace(derivation, links=links).settled().mapped(prune)


def _without(link: Link) -> Link:
    gone = {eq.name for eq in link.recurrence.body if isinstance(eq.node, Map) and eq.node.expr == 0}
    return replace(link, handed=tuple(name for name in link.handed if name not in gone))
