"""What formulas call the values that the author gave no name, where writing them out time and again would hide the line.

The argument of a normalisation and the result of a softmax stand several times in the line of a cotangent, a sum of matrices in the
products and in the gradients of its terms; two functions in one line have two arguments, whose cotangents are told apart by numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from string import ascii_lowercase, ascii_uppercase

from ..calculus.ir import Equation, Label, Map, MatVec, MatVecT
from ..calculus.rowfunctions import Normalised, Softmax
from ..language.definition import Definition

ARGUMENTS, PROBABILITIES, MATRICES = "uqas", "pwym", "MAKQ"  # letters to begin with
UNFIT = "dehjltIL"  # differential, unit vector, state, indices, loss, time and the identity


def called(cell: Definition, equations: Iterable[Equation], label: Callable[[str], Label]) -> dict[str, str]:
    """Return names for arguments of `layer_norm`, results of `softmax` and sums of matrices that have none: a letter that is free,
    numbered if need be.
    """
    equations = tuple(equations)
    matrices = {eq.node.matrix for eq in equations if isinstance(eq.node, MatVec | MatVecT)}
    arguments = dict.fromkeys(eq.node.value for eq in equations if isinstance(eq.node, Normalised))
    results = dict.fromkeys(eq.name for eq in equations if isinstance(eq.node, Softmax) and eq.name not in arguments)
    made = dict.fromkeys(eq.name for eq in equations if eq.name in matrices and isinstance(eq.node, Map) and not eq.node.expr.is_Mul)
    taken = {name.partition("_")[0] for name in (*cell.shapes, *cell.constants, *cell.sizes)} | set(UNFIT)
    found: dict[str, str] = {}
    for names, wishes in ((arguments, ARGUMENTS), (results, PROBABILITIES), (made, MATRICES)):
        letters = ascii_uppercase if wishes.isupper() else ascii_lowercase
        letter = next(wish for wish in (*wishes, *letters, *(2 * c for c in letters)) if wish not in taken)
        taken.add(letter)
        nameless = [name for name in names if label(name).kind in ("part", "preactivation")]
        found |= {name: f"{letter}_{k}" if len(nameless) > 1 else letter for k, name in enumerate(nameless, 1)}
    return found


def numbered(equations: Iterable[Equation], label: Callable[[str], Label]) -> dict[str, int]:
    """Return the number of each pre-activation of a line that has several, in the order in which they are computed."""
    names = dict.fromkeys(eq.name for eq in equations if label(eq.name).kind == "preactivation")
    count = Counter(label(name).of for name in names)
    seen: Counter[str] = Counter()
    found = {}
    for name in names:
        line = label(name).of
        seen[line] += 1
        if count[line] > 1:
            found[name] = seen[line]
    return found
