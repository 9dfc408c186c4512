"""The one error that a cell's text can raise, other errors in words, and the hint for a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from .tree import Span

WIDTH = 140  # characters of a line of the text that are shown


class CellError(ValueError):
    """A cell's definition is wrong.

    Attributes
    ----------
    message : str
        What came and what is needed.
    line, column : int
        The place in the text: 1-based line and 0-based column; line 0 if the error is not in the text.
    text : str
        The cell's text.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0, text: str = "") -> None:
        self.message, self.line, self.column, self.text = message, line, column, text
        super().__init__(message)

    @classmethod
    def at(cls, span: Span, text: str, message: str) -> CellError:
        """Return the error for a place in `text`."""
        return cls(message, span.line, span.column, text)

    def __str__(self) -> str:
        lines = self.text.splitlines()
        if not 1 <= self.line <= len(lines):
            return self.message
        line = lines[self.line - 1].expandtabs(1)
        start = len(line) - len(line.lstrip())
        shown, dots = line.strip(), ""
        if len(shown) > WIDTH:  # what stands around the place
            start, dots = max(start, self.column - WIDTH // 2), "… "
            shown = f"{dots}{line[start : start + WIDTH].strip()} …"
        caret = " " * max(self.column - start + len(dots), 0) + "^"
        return f"line {self.line}, column {self.column + 1}: {self.message}\n    {shown}\n    {caret}"

    def __reduce__(self) -> tuple[type[CellError], tuple[str, int, int, str]]:
        return type(self), (self.message, self.line, self.column, self.text)


def in_words(error: Exception) -> str:
    """Return an error as part of a sentence: of the system's, the file and what happened to it."""
    if isinstance(error, OSError) and error.strerror:
        return f"`{error.filename}`: {error.strerror}" if error.filename else error.strerror
    return str(error)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return `` (did you mean `…`?)`` for the most similar candidate, or nothing."""
    close = get_close_matches(name, sorted(set(candidates)), n=1, cutoff=0.6)
    return f" (did you mean `{close[0]}`?)" if close else ""
