"""What formulas call the values that the author gave no name, where writing them out time and again would hide the line.

The argument of a normalisation and the result of a softmax stand several times in the line of a cotangent, a sum of matrices in the
products and in the gradients of its terms; two functions in one line have two arguments, whose cotangents are told apart by numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from string import ascii_lowercase, ascii_uppercase

from ..calculus.ir import Equation, Label
from ..calculus.lettered import lettered
from ..language.definition import Definition

ARGUMENTS, PROBABILITIES, MATRICES = "uqas", "pwym", "MAKQ"  # letters to begin with
FUNCTIONS_ARGUMENTS = "azvs"
UNFIT = "dehjltIL"  # differential, unit vector, state, indices, loss, time and the identity


def called(cell: Definition, equations: Iterable[Equation], label: Callable[[str], Label]) -> dict[str, str]:
    """Return names for arguments of `layer_norm`, results of `softmax` and sums of matrices that have none: a letter that is free,
    numbered if need be.
    """
    taken = {name.partition("_")[0] for name in (*cell.shapes, *cell.constants, *cell.sizes)} | set(UNFIT)
    found: dict[str, str] = {}
    for nameless, wishes in zip(lettered(equations, label), (ARGUMENTS, PROBABILITIES, MATRICES), strict=True):
        letters = ascii_uppercase if wishes.isupper() else ascii_lowercase
        letter = next(wish for wish in (*wishes, *letters, *(2 * c for c in letters)) if wish not in taken)
        taken.add(letter)
        found |= {name: f"{letter}_{k}" if len(nameless) > 1 else letter for k, name in enumerate(nameless, 1)}
    return found


def argument_letter(cell: Definition) -> str:
    """Return the letter of functions' arguments, a_v for that of v, which no name of the author's looks like."""
    names = {*cell.shapes, *cell.constants}
    lines = [name for line in cell.equations for name in line.targets]
    return next(wish for wish in (*FUNCTIONS_ARGUMENTS, *ascii_lowercase) if names.isdisjoint(f"{wish}_{name}" for name in lines))


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
