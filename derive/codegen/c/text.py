"""The text of C: statements, blocks in braces, and what they are declared as, of the parts of any emitted code."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence

from ..source import Block, Comment, Source, Statement, Tree, block, code

INDENT = "    "
WIDTH = 120
GLUE = "\N{NO-BREAK SPACE}"


def declare(variable: str, value: Source, kind: str = "const real") -> Statement:
    """Return the statement that makes a variable, which is constant by default."""
    return Statement((f"{kind} {variable} = {value.text}",), (variable,), value.reads, value)


def declare_array(variable: str, axes: Sequence[Source]) -> Statement:
    """Return the statement that makes an array, or a number where there are no axes, with nothing in it yet."""
    sizes = "".join(f"[{axis.text}]" for axis in axes)
    return Statement((f"real {variable}{sizes}",), (variable,), frozenset().union(*(axis.reads for axis in axes)))


def put(memory: Source, element: Source, value: Source) -> Statement:
    """Return the statement that writes an element of a memory, which it defines and does not read."""
    return Statement((f"{element.text} = {value.text}",), tuple(sorted(memory.reads)), (element.reads - memory.reads) | value.reads)


def without(trees: Iterable[Tree], unread: Collection[str]) -> list[Tree]:
    """Return statements without those that define nothing but `unread` names, and without loops in which nothing is left."""
    kept: list[Tree] = []
    for tree in trees:
        if isinstance(tree, Block):
            tree = Block(tree.head, tuple(without(tree.body, unread)))
        empty = isinstance(tree, Block) and not tree.body
        needless = isinstance(tree, Statement) and tree.defines and all(made in unread for made in tree.defines)
        kept += [] if empty or needless else [tree]
    return kept


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


def refolded(line: str) -> list[str]:
    """Return a line that is indented already on as many lines as it takes."""
    text = line.lstrip()
    return folded(text, (len(line) - len(text)) // len(INDENT))


def folded_head(head: str) -> list[str]:
    """Return the head of a function on as many lines as it takes, each argument on one."""
    name, _, arguments = head.partition("(")
    glued = f"{name}({arguments.replace(', ', ',').replace(' ', GLUE).replace(',', ', ')}"
    return [line.replace(GLUE, " ") for line in folded(glued)]


def commented(lines: Iterable[str]) -> str:
    """Return lines as a comment in a block of its own; none of them can end it."""
    found = [line.replace("*/", "* /").rstrip() for line in lines]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in found), " */"])


def prose(text: str) -> list[str]:
    """Return a paragraph on as many lines as it takes."""
    return textwrap.wrap(text, WIDTH - 3, break_long_words=False, break_on_hyphens=False)
