"""What a program calls, told in its text: by that another process, which has not traced it, makes the same ready."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from ..common.chosen import PACKAGE
from .passes import Passes
from .primitives import Form

ATTRIBUTE = "derive_calls"  # of a call of XLA's
_SAFE = " ,:[]{}"  # all but quotation marks, which the text of a program escapes

Spec = tuple[tuple[int, ...], np.dtype]
Specs = tuple[Spec, ...]


def told(name: str, form: Form, specs: Specs) -> str:
    """Return the text of a pass on operands of such shapes and dtypes."""
    form_of = {"module": form.how.module.__name__, "steps": form.how.steps, "moves": form.moves, "asks": form.asks}
    found = {"pass": name, **form_of, "operands": [[shape, dtype.name] for shape, dtype in specs]}
    return quote(json.dumps(found, separators=(",", ":"), default=int), safe=_SAFE)


def found(program: str) -> Iterator[tuple[str, Form, Specs]]:
    """Yield what the text of a program tells, each pass once.

    Raises
    ------
    ValueError
        If it is of a module that is not there.
    """
    for text in dict.fromkeys(re.findall(rf'{ATTRIBUTE} = "([^"]*)"', program)):
        call = json.loads(unquote(text))
        how = Passes(_module(call["module"]), call["steps"])
        specs = tuple((tuple(shape), np.dtype(dtype)) for shape, dtype in call["operands"])
        yield call["pass"], Form(how, tuple(call["moves"]), tuple(call["asks"])), specs


def _module(name: str) -> ModuleType:
    """Return a module of this package, or one that is loaded: a file says of no other what is to be imported."""
    try:
        return sys.modules.get(name) or importlib.import_module(_own(name))
    except ModuleNotFoundError:
        raise ValueError(f"the program calls kernels of `{name}`, which is neither in {PACKAGE} nor loaded: import it first") from None


def _own(name: str) -> str:
    if not name.startswith(f"{PACKAGE}."):
        raise ModuleNotFoundError
    return name


def arguments(text: str) -> dict[str, Any]:
    """Return the attributes of a call of XLA's; nothing is told of one that has nothing to run."""
    return {ATTRIBUTE: text} if text else {}
