"""What the names in a cell's text must satisfy, checked before shapes are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from .errors import CellError, nearest
from .expressions import walk
from .hints import OTHER_STEPS, limit
from .parse import bad_name
from .syntax import Assignment, Name


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


def is_previous(name: str) -> bool:
    """Say whether `name` is that of a value at the step before."""
    return name.endswith("_prev") and len(name) > len("_prev")


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
                last = f"{state[:-5]}_last"
                raise CellError.at(
                    node.span,
                    text,
                    f"`{name}` is two steps back: keep the older value in a state of its own, `{last} = {state}`, and read `{last}_prev`; "
                    f"{limit(OTHER_STEPS)}",
                )
            if state not in where:
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
    """Refuse a parameter that is read once and is one slip away from an assigned name or a state's previous value.

    Families such as `W_i` and `W_f` or `p10` and `h10` are left alone: only names of letters alone, four or more, are compared with
    assigned names.  A name such as `h_t` is a paper's for `h`.
    """
    targets = targets_of(equations)
    counts = Counter(node.id for _, node in names_in(equations))
    previous = sorted(previous_names(equations))
    for _, node in names_in(equations):
        name = node.id
        if name not in parameters or name in declared or counts[name] > 1:
            continue
        said = f'if it is a parameter, say so with `shapes={{"{name}": …}}`'
        if name.endswith("_t") and name[:-2] in (*targets, *inputs):
            now = name[:-2]
            before = f", at the step before `{now}_prev`" if now in targets else ""
            raise CellError.at(node.span, text, f"`{name}` is used once: at this step `{now}` is written `{now}`{before}; {said}")
        plain = [t for t in targets if len(t) >= 4 and t.isalpha()] if len(name) >= 4 and name.isalpha() else []
        for other in (*previous, *(f"{t}_prev" for t in targets), *plain, "eye"):
            if _one_slip(name, other):
                raise CellError.at(
                    node.span,
                    text,
                    f"`{name}` is used once and looks like `{other}`; {said}",
                )


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
