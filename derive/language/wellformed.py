"""What the names in a cell's text must satisfy, checked before shapes are found."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from .errors import CellError, nearest
from .hints import OTHER_STEPS, limit
from .names import is_previous
from .tree import Assignment, Name
from .vocabulary import bad_name
from .walks import walk

LONGEST_NAME = 100  # bytes of a cell's name: file systems take 255 for a file's, and caches of kernels add to it
_BEFORE = "prev|previous|prv|old|older|last|before|past|prior|lag|lagged|earlier"
_STEPS = r"(?:t_?m(?:inus)?_?|t_?minus_?|minus_?|m|t_?)(\d{1,3})"
_EARLIER = (
    re.compile(rf"(.+)_(?:{_BEFORE})_?(\d{{0,3}})", re.IGNORECASE),
    re.compile(rf"(.+)_{_STEPS}", re.IGNORECASE),
    re.compile(r"(.+?)(?:prev|previous)_?(\d{0,3})", re.IGNORECASE),
    re.compile(r"(.+?)tm(\d{1,3})", re.IGNORECASE),
    re.compile(rf"(?:{_BEFORE})_(.+?)()", re.IGNORECASE),
    re.compile(r"(?:prev|previous)(.+?)()", re.IGNORECASE),
)


def names_in(equations: Sequence[Assignment]) -> Iterator[tuple[int, Name]]:
    """Yield every name that is read, with the number of its equation (from 0), in the order of the text."""
    for number, line in enumerate(equations):
        for node in walk(line.value):
            if isinstance(node, Name):
                yield number, node


def targets_of(equations: Sequence[Assignment]) -> tuple[str, ...]:
    """Return the assigned names in order."""
    return tuple(target for line in equations for target in line.targets)


def previous_names(equations: Sequence[Assignment]) -> frozenset[str]:
    """Return the names `s_prev` that are read."""
    return frozenset(node.id for _, node in names_in(equations) if is_previous(node.id))


def check_cell_name(name: object) -> None:
    """Check that a cell's name can be that of a module and of its file."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise CellError(f"the name of a cell must be an identifier, not {repr(name)[:LONGEST_NAME]}")
    if name.startswith("_"):
        raise CellError(f"the name of a cell is that of a module: `{name[:LONGEST_NAME]}` must not begin with an underscore")
    if len(name.encode()) > LONGEST_NAME:
        raise CellError(f"the name of a cell is that of a file: at most {LONGEST_NAME} bytes, `{name[:20]}…` has {len(name.encode())}")


def check_declared_names(text: str, groups: dict[str, tuple[str, ...]]) -> None:
    """Check that inputs, context and constants are distinct identifiers that nothing else claims."""
    seen: dict[str, str] = {}
    for group, names in groups.items():
        for name in names:
            if not isinstance(name, str) or not name.isidentifier():
                raise CellError(f"{group}: {name!r} is not a name", text=text)
            if reason := bad_name(name):
                raise CellError(f"{group}: {reason}", text=text)
            if is_previous(name):
                raise CellError(f"{group}: `{name}` would be the previous value of a state `{name[:-5]}`: choose another name", text=text)
            if name in seen:
                raise CellError(f"{group}: `{name}` is already declared in {seen[name]}", text=text)
            seen[name] = group


def check_assignments(text: str, equations: Sequence[Assignment], given: dict[str, str]) -> None:
    """Check the left sides; `given` tells of each declared name what it is."""
    seen: dict[str, int] = {}
    for line in equations:
        for target in line.targets:
            if target in seen:
                raise CellError.at(
                    line.span, text, f"`{target}` is assigned twice, first in line {seen[target]}: give one of them another name"
                )
            if target in given:
                raise CellError.at(line.span, text, f"`{target}` is {given[target]} and cannot be assigned: choose another name")
            if is_previous(target):
                raise CellError.at(
                    line.span,
                    text,
                    f"`{target}` is the value of `{target[:-5]}` at the step before and cannot be assigned: assign `{target[:-5]}`",
                )
            seen[target] = line.span.line


def check_reads(text: str, equations: Sequence[Assignment], given: dict[str, str]) -> None:
    """Check that what is read exists: states are assigned, and assigned names are read after their line."""
    targets = targets_of(equations)
    where = {target: number for number, line in enumerate(equations) for target in line.targets}
    for number, node in names_in(equations):
        name = node.id
        if is_previous(name):
            state = name[:-5]
            if state in given:
                raise CellError.at(
                    node.span,
                    text,
                    f"`{state}` is {given[state]}, which has no previous value: assign it to a state, `{state}_last = {state}`, and read "
                    f"`{state}_last_prev`",
                )
            if is_previous(state):
                raise CellError.at(node.span, text, f"`{name}` is two steps back: {_two_back(state[:-5])}")
            if state not in where:
                if f"{state}_t" in where:
                    raise CellError.at(node.span, text, f"`{name}` makes `{state}` a state: {_without_step(f'{state}_t')}")
                hint = nearest(name, (f"{t}_prev" for t in targets))
                raise CellError.at(node.span, text, f"`{name}` makes `{state}` a state, but no line assigns `{state}`{hint}")
        elif name in where and where[name] >= number:
            raise CellError.at(
                node.span,
                text,
                f"`{name}` is used before it is assigned, in line {equations[where[name]].span.line}: "
                f"its value at the step before is `{name}_prev`",
            )


def check_output(text: str, output: str, equations: Sequence[Assignment]) -> None:
    """Check that the output is assigned."""
    targets = targets_of(equations)
    if output not in targets:
        raise CellError(f"the output `{output}` is not assigned by any line{nearest(output, targets)}", text=text)


def check_inputs(text: str, names: tuple[str, ...], equations: Sequence[Assignment]) -> None:
    """Check that every input and context is read."""
    read = {node.id for _, node in names_in(equations)}
    for name in names:
        if name not in read:
            hint = nearest(name, read - set(targets_of(equations))) or "; a cell without inputs has `inputs=()`"
            raise CellError(f"the input `{name}` is never used{hint}", text=text)


def check_typos(
    text: str, equations: Sequence[Assignment], inputs: tuple[str, ...], parameters: tuple[str, ...], declared: frozenset[str]
) -> None:
    """Refuse a parameter that looks like a value of this step or of the one before, or is one slip away from such a name.

    The value of a step before is what a recurrence is made of: as a parameter it would leave a feedforward net, without a word.

    Families such as `W_i` and `W_f` or `p10` and `h10` are left alone: only names of letters alone, four or more, that are read once are
    compared with assigned names.  A name such as `h_t` is a paper's for `h`.
    """
    targets = targets_of(equations)
    counts = Counter(node.id for _, node in names_in(equations))
    previous = (*sorted(previous_names(equations)), *(f"{t}_prev" for t in targets))
    for _, node in names_in(equations):
        name = node.id
        if name not in parameters or name in declared:
            continue
        once = "is used once and " if counts[name] == 1 else ""
        said = f'; if it is a parameter, say so with `shapes={{"{name}": …}}`'
        plain = [t for t in targets if len(t) >= 4 and t.isalpha()] if len(name) >= 4 and name.isalpha() and once else []
        like = next((other for other in (*previous, *plain, *(["eye"] if once else [])) if _one_slip(name, other)), "")
        if what := _of_a_step(name, targets, inputs) or (f"`{name}` {once}looks like `{like}`" if like else ""):
            raise CellError.at(node.span, text, what + said)


def _of_a_step(name: str, targets: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    """Return how the value of a step that `name` looks like is written; nothing, if it looks like none."""
    if name.endswith("_t") and name[:-2] in (*targets, *inputs):
        now = name[:-2]
        before = f", at the step before `{now}_prev`" if now in targets else ""
        return f"`{name}` looks like `{now}` at this step, which is written `{now}`{before}"
    for pattern in _EARLIER:
        if (found := pattern.fullmatch(name)) and (base := _base(found[1], targets, inputs)):
            steps = int(found[2] or 1)
            if not steps:
                return ""
            if base in inputs:
                return f"`{name}` looks like the input `{base}` at an earlier step: {_of_an_input(base)}"
            if steps != 1:
                return f"`{name}` looks like `{base}` {steps} steps back: {_two_back(base)}"
            now = base.removesuffix("_t")
            return (
                f"`{name}` looks like `{base}` at the step before: {_without_step(base) if now != base else f'it is written `{now}_prev`'}"
            )
    return ""


def _base(found: str, targets: tuple[str, ...], inputs: tuple[str, ...]) -> str:
    """Return the assigned name or the input that the rest of a name is: `h`, or for `h` what a line assigns as `h_t`."""
    return next((name for name in (found, f"{found}_t", found.removesuffix("_t")) if name in (*targets, *inputs)), "")


def _without_step(name: str) -> str:
    now = name.removesuffix("_t")
    return f"write `{now}` for what the text calls `{name}`, and `{now}_prev` for its value at the step before"


def _of_an_input(name: str) -> str:
    return f"an input has no previous value: assign it to a state, `{name}_last = {name}`, and read `{name}_last_prev`"


def _two_back(name: str) -> str:
    last = f"{name}_last"
    return f"keep the older value in a state of its own, `{last} = {name}_prev`, and read `{last}_prev`; {limit(OTHER_STEPS)}"


def _one_slip(a: str, b: str) -> bool:
    """Say whether two names differ by one letter changed, added, left out, or swapped with the next; digits count as deliberate."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = next((k for k, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), min(len(a), len(b)))
    rest_a, rest_b = a[start:], b[start:]
    if any(c.isdigit() for c in rest_a[:1] + rest_b[:1]):
        return False
    swapped = rest_a[:2] == rest_b[:2][::-1] and rest_a[2:] == rest_b[2:]
    return rest_a[1:] == rest_b[1:] or rest_a[1:] == rest_b or rest_a == rest_b[1:] or swapped
