"""How names and operations are written: as LaTeX, and as plain text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from unicodedata import normalize

from ..language.sizes import Size

GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Pi",
    "Sigma",
    "Upsilon",
    "Phi",
    "Psi",
    "Omega",
]
SUM, PRODUCT, ATOM = 1, 2, 3  # how tightly what is written binds
ROMAN = {"layer_norm": "LN", "clip_gradient": r"clip\_gradient"}  # functions whose name in the text is not what is typeset
CIRCUMFLEX = "\u0302"
MARKS = {"": "", "bar": "\u0304", "dot": "\u0307", "bars": "\u033f"}
ACCENTS = {"bar": ("bar", "overline"), "dot": ("dot", "dot"), "hat": ("hat", "widehat")}  # of TeX: narrow, and wide
SUPERSCRIPTS = str.maketrans("0123456789-+/.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ᐟ·")


LONGEST_NUMBER = 12  # characters
LONGEST_DENOMINATOR = 10**6  # what has a larger one is rounded for the eye


def _rounded(value: Fraction) -> str:
    """Return a number with six digits."""
    mantissa, _, exponent = f"{float(value):.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _scientific(text: str) -> str:
    """Return a number in LaTeX, with a power of ten where it has an exponent."""
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(mantissa, rf"{mantissa} \cdot {power}")


def plus(term: str) -> str:
    """Return a term as what is added in a sum."""
    return f" - {term[1:]}" if term.startswith("-") else f" + {term}"


@dataclass(frozen=True)
class Notation(ABC):
    """Base of the two notations: what formulas are composed of."""

    names: Mapping[str, str]

    times = " * "
    hadamard = " ⊙ "
    space = " "
    transpose = "ᵀ"

    @abstractmethod
    def name(self, identifier: str, time: str = "") -> str:
        """Return an author's name; `time` is ``t``, ``t-1`` or empty."""

    def transposed(self, text: str) -> str:
        return text + self.transpose

    def current(self, identifier: str) -> str:
        """Return an input at step t."""
        return self.name(identifier, "t")

    @abstractmethod
    def marked(self, mark: str, text: str) -> str:
        """Return what is written as `text` with a mark: ``bar``, the cotangent; ``dot``, the tangent; ``bars``, the tangent of the
        cotangent; or none.
        """

    @abstractmethod
    def marked_name(self, mark: str, identifier: str, time: str) -> str:
        """Return an author's name with a mark."""

    def bar(self, text: str) -> str:
        """Return the cotangent of what is written as `text`."""
        return self.marked("bar", text)

    def barred_name(self, identifier: str, time: str) -> str:
        """Return the cotangent of an author's name."""
        return self.marked_name("bar", identifier, time)

    @abstractmethod
    def hatted_name(self, identifier: str, time: str, mark: str = "") -> str:
        """Return the normalised value of an author's name, with a mark."""

    @abstractmethod
    def sigma(self, identifier: str, time: str, mark: str = "") -> str:
        """Return the standard deviation of an author's name, with a mark."""

    @abstractmethod
    def argument(self, letter: str, identifier: str, time: str, number: int = 0, mark: str = "") -> str:
        """Return the argument of a function in the line that makes a name, called by a letter; of several, `number` says which."""

    @abstractmethod
    def delta(self, identifier: str, time: str, number: int = 0) -> str:
        """Return the cotangent of the argument of a function in the line that makes a name; of several, `number` says which."""

    @abstractmethod
    def listed(self, formulas: list[str]) -> str:
        """Return formulas beside one another."""

    @abstractmethod
    def raised(self, text: str, signs: str) -> str:
        """Return what is written as `text` with signs that say which part of a cotangent it is: ``+``, ``0``, ``1``, or none."""

    def carried(self, text: str) -> str:
        """Return the cotangent that later steps hand back."""
        return self.raised(text, "+")

    @abstractmethod
    def function(self, name: str, *args: str, slope: bool = False) -> str:
        """Return a call of a function of the cell's own; with `slope`, of what is put for its derivative."""

    @abstractmethod
    def numbered(self, name: str, variable: str, offset: int) -> str:
        """Return one of several parameters: that of a variable, an integer added."""

    @abstractmethod
    def becomes(self, left: str, right: str) -> str:
        """Return that a name has another value from here on."""

    @abstractmethod
    def block(self, variable: str, first: str, last: str) -> str:
        """Return the head of a block."""

    @staticmethod
    def number_of(variable: str, offset: int) -> str:
        """Return the number of one of several parameters."""
        if not variable:
            return str(offset)
        return variable if not offset else f"{variable}{'+' if offset > 0 else '-'}{abs(offset)}"

    def group(self, text: str) -> str:
        return f"({text})"

    def size(self, size: Size) -> str:
        return str(size)

    def span(self, start: Size, end: Size) -> str:
        """Return a range of features, its end excluded."""
        return f"{self.size(start)} : {self.size(end)}"


@dataclass(frozen=True)
class Latex(Notation):
    """LaTeX for KaTeX and MathJax."""

    times = r"\,"
    hadamard = r" \odot "
    space = r"\, "
    transpose = r"^{\top}"

    def name(self, identifier: str, time: str = "") -> str:
        base, *rest = identifier.split("_") if identifier not in self.names else (self.names[identifier],)
        subscript = [self._letters(r) for r in rest if r]
        head = base if identifier in self.names else self._letters(base)
        parts = [*subscript, *([time] if time else [])]
        if identifier in self.names and time and "_" in head:
            return rf"\left({head}\right)_{{{time}}}" if re.search(r"_[^{]*$|_\{[^}]*\}$", head) is None else self._merge(head, time)
        return f"{head}_{{{','.join(parts)}}}" if parts else head

    @staticmethod
    def _single(text: str) -> str:
        """Return what may get a superscript: TeX refuses a second one."""
        return f"{{{text}}}" if "^" in text or "'" in text else text

    def transposed(self, text: str) -> str:
        return self._single(text) + self.transpose

    @staticmethod
    def _merge(head: str, time: str) -> str:
        """Add the time to a subscript that the author gave."""
        match = re.search(r"_(\{([^}]*)\}|(.))$", head)
        assert match is not None
        return f"{head[: match.start()]}_{{{match[2] or match[3]},{time}}}"

    @staticmethod
    def _letters(text: str) -> str:
        match = re.fullmatch(r"([A-Za-z]+)(\d*)", text)
        if not match:
            return rf"\mathit{{{text}}}" if text and not text.isdigit() else text
        word, digits = match.groups()
        head = "\\" + word if word in GREEK else word if len(word) == 1 else rf"\mathit{{{word}}}"
        return f"{head}^{{({digits})}}" if digits and len(word) == 1 else head + digits

    def marked(self, mark: str, text: str) -> str:
        return rf"\left({text}\right)^{{\cdot}}" if mark == "dot" and " " in text else self._over(text, mark, text)

    def marked_name(self, mark: str, identifier: str, time: str) -> str:
        return self._accented(identifier, time, lambda head: self._over(head, mark, head))

    def hatted_name(self, identifier: str, time: str, mark: str = "") -> str:
        return self._accented(identifier, time, lambda head: self._over(head, mark, self._over(head, "hat", head)))

    def sigma(self, identifier: str, time: str, mark: str = "") -> str:
        return self._of(r"\sigma", identifier, time, mark)

    def argument(self, letter: str, identifier: str, time: str, number: int = 0, mark: str = "") -> str:
        return self._of(letter, identifier, time, mark, number)

    @classmethod
    def _over(cls, letters: str, mark: str, text: str) -> str:
        """Return `text` with a mark, the wide one if its letters, scripts aside, are several."""
        if mark == "bars":
            return cls._over(letters, "bar", cls._over(letters, "bar", text))
        wide = len(re.sub(r"\\[a-zA-Z]+(?![a-zA-Z{])", "x", re.sub(r"_{.*?}", "", letters))) > 2
        return rf"\{ACCENTS[mark][wide]}{{{text}}}" if mark else text

    def _accented(self, identifier: str, time: str, accent: Callable[[str], str]) -> str:
        """Return a name with an accent over its letter, not over its scripts."""
        full, head = self.name(identifier, time), re.split(r"[_^']", self.name(identifier))[0]
        return full.replace(head, accent(head), 1) if full.startswith(head) else accent(full)

    def delta(self, identifier: str, time: str, number: int = 0) -> str:
        return self._of(r"\delta", identifier, time, number=number)

    def _of(self, letter: str, identifier: str, time: str, mark: str = "", number: int = 0) -> str:
        """Return a letter that has a name as its subscript."""
        head, inner = self.marked(mark, letter) if mark else letter, self.name(identifier)
        return (f"{head}_{{{inner},{time}}}" if time else f"{head}_{{{inner}}}") + (f"^{{({number})}}" if number else "")

    def nabla(self, text: str) -> str:
        return rf"\nabla {text}"

    def seed(self, text: str, mark: str = "") -> str:
        return rf"\frac{{\partial {self.marked(mark, 'L')}_{{t}}}}{{\partial {text}}}"

    def raised(self, text: str, signs: str) -> str:
        return rf"{self._single(text)}^{{{signs}}}" if signs else text

    def group(self, text: str) -> str:
        return rf"\left({text}\right)"

    def concat(self, parts: list[str]) -> str:
        return r"\begin{bmatrix} " + r" \\ ".join(parts) + r" \end{bmatrix}"

    def size(self, size: Size) -> str:
        return str(size).replace("*", "")

    def fraction(self, top: str, bottom: str) -> str:
        return rf"\frac{{{top}}}{{{bottom}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{self._single(base)}^{{{exponent}}}"

    def number(self, value: Fraction) -> str:
        if value.denominator == 1:
            return str(value.numerator)
        text = repr(float(value))
        if Fraction(text) == value and len(text) <= 8:
            return _scientific(text)
        if value.denominator > LONGEST_DENOMINATOR:
            return _scientific(_rounded(value))
        sign = "-" if value < 0 else ""
        return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"

    def constant(self, text: str) -> str:
        return text

    def sum_features(self, text: str, index: str = "j") -> str:
        return rf"\textstyle\sum_{{{index}}} {text}" if len(index) > 1 else rf"\textstyle\sum_{index} {text}"

    def apply(self, function: str, *args: str) -> str:
        return rf"\operatorname{{{ROMAN.get(function, function)}}}\left({', '.join(args)}\right)"

    def function(self, name: str, *args: str, slope: bool = False) -> str:
        letters = self._letters(name)
        head = letters if len(name) == 1 or name in GREEK else rf"\operatorname{{{name.replace('_', chr(92) + '_')}}}"
        return rf"{head}{chr(39) * slope}\left({', '.join(args)}\right)"

    def numbered(self, name: str, variable: str, offset: int) -> str:
        number = self.number_of(variable, offset)
        if name in self.names:
            return f"{self.names[name]}_{{{number}}}"
        return re.sub(r"\}$", f",{number}}}", self.name(name)) if self.name(name).endswith("}") else f"{self.name(name)}_{{{number}}}"

    def becomes(self, left: str, right: str) -> str:
        return rf"{left} \leftarrow {right}"

    def block(self, variable: str, first: str, last: str) -> str:
        return rf"\text{{for }} {variable} = {first}, \dots, {last}"

    def picked(self, vector: str, index: str) -> str:
        return rf"\left[{vector}\right]_{{{index}}}"

    def unit(self, index: str) -> str:
        return rf"e_{{{index}}}"

    def over_time(self, text: str) -> str:
        return rf"\sum_t {text}"

    def equals(self, left: str, right: str) -> str:
        return f"{left} = {right}"

    def listed(self, formulas: list[str]) -> str:
        return r", \quad ".join(formulas)


@dataclass(frozen=True)
class Text(Notation):
    """Unicode for terminals and comments."""

    def name(self, identifier: str, time: str = "") -> str:
        return identifier + self._before(time)

    def current(self, identifier: str) -> str:
        return f"{identifier}_t"

    def marked(self, mark: str, text: str) -> str:
        """Return a letter with an accent, and what is longer in words."""
        if not mark:
            return text
        return normalize("NFC", text + MARKS[mark]) if len(normalize("NFD", text)) == 1 else f"{mark}({text})"

    def marked_name(self, mark: str, identifier: str, time: str) -> str:
        if mark == "dot" and identifier.partition("_")[0][-1] in "ij":  # which have a dot: nobody would see this one
            return f"dot({self.name(identifier, time)})"
        return self._accented(identifier, time, MARKS[mark])

    def hatted_name(self, identifier: str, time: str, mark: str = "") -> str:
        return self.marked(mark, self._accented(identifier, time, CIRCUMFLEX))  # in words: two marks over a letter are hard to read

    @staticmethod
    def _accented(identifier: str, time: str, accent: str) -> str:
        head, _, rest = identifier.partition("_")
        tail = f"_{rest}" if rest else ""
        return normalize("NFC", head + accent) + tail + Text._before(time)

    def delta(self, identifier: str, time: str, number: int = 0) -> str:
        return self._of("δ", identifier, time, number=number)

    def sigma(self, identifier: str, time: str, mark: str = "") -> str:
        return self._of("σ", identifier, time, mark)

    def argument(self, letter: str, identifier: str, time: str, number: int = 0, mark: str = "") -> str:
        return self._of(letter, identifier, time, mark, number)

    def _of(self, letter: str, identifier: str, time: str, mark: str = "", number: int = 0) -> str:
        """Return a letter that has a name as its subscript."""
        raised = f"⁽{str(number).translate(SUPERSCRIPTS)}⁾" if number else ""
        return f"{self.marked(mark, letter)}_{identifier}{raised}{self._before(time)}"

    @staticmethod
    def _before(time: str) -> str:
        """Return a step other than t as a subscript."""
        return f"_{{{time}}}" if time and time != "t" else ""

    def nabla(self, text: str) -> str:
        return f"∇{text}"

    def seed(self, text: str, mark: str = "") -> str:
        return f"∂{self.marked(mark, 'L')}_t/∂{text}"

    def raised(self, text: str, signs: str) -> str:
        return text + signs.translate(SUPERSCRIPTS)

    def concat(self, parts: list[str]) -> str:
        return f"[{', '.join(parts)}]"

    def fraction(self, top: str, bottom: str) -> str:
        return f"{top} / {bottom}"

    def power(self, base: str, exponent: str) -> str:
        return base + exponent.translate(SUPERSCRIPTS) if re.fullmatch(r"-?\d+", exponent) else f"{base}^({exponent})"

    def number(self, value: Fraction) -> str:
        if value.denominator == 1:
            return str(value.numerator)
        text = repr(float(value))
        if Fraction(text) == value and len(text) <= LONGEST_NUMBER:
            return text
        return _rounded(value) if value.denominator > LONGEST_DENOMINATOR else f"{value.numerator}/{value.denominator}"

    def constant(self, text: str) -> str:
        return text

    def sum_features(self, text: str, index: str = "j") -> str:
        return f"Σ_{index} {text}"

    def apply(self, function: str, *args: str) -> str:
        return f"{function}({', '.join(args)})"

    def function(self, name: str, *args: str, slope: bool = False) -> str:
        return f"{name}{'′' * slope}({', '.join(args)})"

    def numbered(self, name: str, variable: str, offset: int) -> str:
        return f"{name}[{self.number_of(variable, offset)}]"

    def becomes(self, left: str, right: str) -> str:
        return f"{left} ← {right}"

    def block(self, variable: str, first: str, last: str) -> str:
        return f"for {variable} = {first} … {last}"

    def picked(self, vector: str, index: str) -> str:
        return f"{vector}[{index}]"

    def unit(self, index: str) -> str:
        return f"e_{index}"

    def over_time(self, text: str) -> str:
        return f"Σ_t {text}"

    def equals(self, left: str, right: str) -> str:
        return f"{left} = {right}"

    def listed(self, formulas: list[str]) -> str:
        return ", ".join(formulas)


Style = Latex | Text
