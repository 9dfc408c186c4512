"""The text of C: statements, blocks in braces, and what they are declared as, of the parts of any emitted code."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from ..source import Block, Comment, Source, Statement, Tree, block, code

INDENT = "    "
WIDTH = 120


def declare(variable: str, value: Source, kind: str = "const real") -> Statement:
    """Return the statement that makes a variable, which is constant by default."""
    return Statement((f"{kind} {variable} = {value.text}",), (variable,), value.reads, value)


def declare_array(variable: str, axes: Sequence[Source]) -> Statement:
    """Return the statement that makes an array, or a number where there are no axes, with nothing in it yet."""
    sizes = "".join(f"[{axis.text}]" for axis in axes)
    return Statement((f"real {variable}{sizes}",), (variable,), frozenset().union(*(axis.reads for axis in axes)))


def loop(index: str, size: Source, body: Iterable[Tree]) -> Block:
    """Return the loop over an index that is below a size."""
    head = code(f"for (size_t {index} = 0; {index} < {{}}; ++{index})", size)
    return block(head, body, defines=(index,))


def say(text: str) -> Comment:
    """Return a comment."""
    return Comment((text,))


def printed(trees: Iterable[Tree], depth: int = 0) -> list[str]:
    """Return the lines of statements."""
    lines: list[str] = []
    for tree in trees:
        if isinstance(tree, Block):
            lines += [*folded(f"{tree.head.lines[0]} {{", depth), *printed(tree.body, depth + 1), f"{INDENT * depth}}}"]
        elif isinstance(tree, Comment):
            lines += [line for text in tree.lines for line in folded(text, depth, "// ", "//     ")]
        else:
            lines += folded(f"{tree.lines[0]};", depth)
    return lines


def folded(text: str, depth: int = 0, first: str = "", rest: str = INDENT) -> list[str]:
    """Return a text on as many lines as it takes: C does not ask where they end."""
    indent = INDENT * depth
    wrapper = textwrap.TextWrapper(WIDTH, indent + first, indent + rest, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text)


def commented(lines: Iterable[str]) -> str:
    """Return lines as a comment in a block of its own; none of them can end it."""
    found = [line.replace("*/", "* /").rstrip() for line in lines]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in found), " */"])


def prose(text: str) -> list[str]:
    """Return a paragraph on as many lines as it takes."""
    return textwrap.wrap(text, WIDTH - 3, break_long_words=False, break_on_hyphens=False)
