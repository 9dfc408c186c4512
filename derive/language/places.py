"""A text as Python's parser sees it: its tree, where nodes stand in what was written, and why Python cannot read it."""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from .errors import CellError
from .hints import character_hint
from .indentation import depths
from .tree import Span
from .vocabulary import MAX_DEPTH, MAX_EQUATIONS

TOO_LARGE = "the number is too large: at most 1e300"
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


_BLOCK = "a block is `for j in range(a, b):`, with integers or constants for a and b, and the lines that it repeats indented below"
_INSTEAD = {"while": "how often lines are repeated is told beforehand, `for j in range(3):`"}
_NO_BLOCK = "the block has no lines: those that `for` repeats are indented below it"


def no_index(name: str) -> str:
    """Return how a value is written that stands with an index of time."""
    return f"there is no index of time: `{name}` is the value at this step, `{name}_prev` that of a state at the step before"


def _reason(message: str, line: str, column: int) -> tuple[int, str]:
    """Return where and why Python cannot read a line, in the terms of the language."""
    if "nested" in message:
        return column, f"nested too deeply: at most {MAX_DEPTH} levels are read"
    if "Exceeds the limit" in message:
        return column, TOO_LARGE
    if "invalid character" in message and (hint := character_hint(line[column : column + 1])):
        return column, f"`{line[column]}` is not in the language: {hint}"
    if "invalid decimal literal" in message:
        return column, "a number stands before a name: write `2 * a` for the product"
    code = line.split("#")[0]
    indices = re.finditer(r"(?<!\w)([^\W_]\w*?)_?\{([^{}]*)\}", code) if "invalid syntax" in message else ()
    if index := next((index for index in indices if re.search(r"\bt\b", index[2])), None):
        return index.start(), no_index(index[1])
    if "invalid syntax" in message and (gap := re.search(r"[\w)\]][ \t]+(?=\w)", code)):
        return gap.end(), "two values beside each other: the product of a matrix and a vector is `W @ x`, the elementwise one `a * b`"
    if "invalid syntax" in message and ":=" in code:
        return code.index(":="), "`:=` is not in the language: a line is `name = expression`"
    if "invalid syntax" in message and ";" in code:
        return code.index(";"), "`;` is not in the language: `[a, b]` concatenates, and each assignment has a line of its own"
    return column, f"cannot be read: {message}"


@dataclass(frozen=True)
class Written:
    """A text, and its parts by the nodes of Python's tree."""

    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines as Python's tokenizer counts them."""
        return re.split(r"\r\n|\r|\n", self.text)

    @cached_property
    def depths(self) -> list[int]:
        """How many blocks each line is in."""
        return depths(self.text, self.lines)

    # Places. Lines are read without their indentation, which means nothing but in blocks, so columns are shifted back.

    def span(self, node: ast.AST) -> Span:
        """Where a node stands in the text as it was written; `ast` counts bytes of UTF-8."""
        row: int = node.lineno  # type: ignore[attr-defined]
        first, last = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
        line = self.lines[row - 1]
        bare = line.lstrip()
        depth = self.depths[row - 1]
        shift, code = len(line) - len(bare), bare.encode()
        first, last = first - depth, last - depth * (node.end_lineno == row)  # type: ignore[attr-defined]
        start = shift + len(code[:first].decode(errors="ignore"))
        same = node.end_lineno == row  # type: ignore[attr-defined]
        return Span(row, start, shift + len(code[:last].decode(errors="ignore")) if same else len(line.rstrip()))

    def error(self, message: str, node: ast.AST) -> CellError:
        return CellError.at(self.span(node), self.text, message)

    # Statements

    def tree(self) -> ast.Module:
        """Python's tree of the text; whatever Python cannot read becomes a `CellError`."""
        code = "\n".join(" " * depth + line.lstrip() for line, depth in zip(self.lines, self.depths, strict=True))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(code)
        except _UNPARSABLE as error:
            raise self.unreadable(error) from None

    def unreadable(self, error: Exception) -> CellError:
        if isinstance(error, RecursionError | MemoryError):
            return CellError(f"the text is nested too deeply: at most {MAX_DEPTH} levels are read; name parts of it on lines of their own")
        if not isinstance(error, SyntaxError) or not error.lineno:
            return CellError(f"the text cannot be read: {error}")
        # the line after `for …:` is where Python misses a block
        block = re.search(r"statement on line (\d+)", error.msg)
        row = min(int(block[1]) if block else error.lineno, len(self.lines))
        line = self.lines[row - 1]
        if loop := re.match(r"\s*(for)\b", line):
            return CellError.at(Span(row, loop.start(1), loop.end(1)), self.text, _NO_BLOCK if block else _BLOCK)
        for word in re.finditer(r"[^\W\d]\w*", line.split("#")[0]):
            if keyword.iskeyword(word[0]):
                instead = _INSTEAD.get(word[0], "a line is `name = expression`")
                message = f"`{word[0]}` is a keyword of Python, not part of the language: {instead}"
                return CellError.at(Span(row, word.start(), word.end()), self.text, message)
        start = len(line) - len(line.lstrip()) + max((error.offset or 1) - 1, 0)
        start, reason = _reason(error.msg, line, start)
        return CellError.at(Span(row, start, start + 1), self.text, reason)

    def statements(self) -> list[ast.stmt]:
        body = self.tree().body
        if len(body) > MAX_EQUATIONS:
            raise self.error(f"more than {MAX_EQUATIONS} equations", body[MAX_EQUATIONS])
        self.check_apart(body)
        return body

    def check_apart(self, body: list[ast.stmt]) -> None:
        """Check that no two statements, in blocks either, stand on one line."""
        for before, after in pairwise(body):
            if before.end_lineno == after.lineno:
                raise self.error("two assignments on one line: one assignment a line is needed", after)
        for line in body:
            if isinstance(line, ast.For):
                self.check_apart(line.body)
