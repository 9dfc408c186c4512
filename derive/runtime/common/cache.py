"""Where machine code is kept: one place decides for all that is compiled.

A function's code lies in NUMBA_CACHE_DIR if that is set, else in `__pycache__` beside its module, else in the user's folder of Numba. All
are read, whether or not they can be written to; what is compiled goes to the first that can. Where none can, it stays in memory, and a
warning says so, once a process. Code is known again by the content of its module, not by the time of the file: a copy is as good. It is
kept by the processor that it is for, too: unlike machines may share a folder, and each is served its own.

What is read is run: a folder other than the package's own is used only if nobody else can write to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import caching, config, sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler import Compiler, CompilerBase
from numba.misc.appdirs import AppDirs

from .trust import doubt, own
from .version import VERSION, common, source

if config.DISABLE_JIT:
    raise ImportError(
        "NUMBA_DISABLE_JIT is set, but these kernels exist only as machine code: unset it. (To measure the coverage of Python code or to"
        " step through it, nothing needs to be set: code on the host is not compiled.)"
    )

PACKAGE = "__pycache__"  # beside a module: who can write there can write the module as well


class NotKeptWarning(RuntimeWarning):
    """Machine code could be kept nowhere."""


def cached(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function that Numba compiles at its first call for each kind of arguments, or reads from where its code is kept."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        dispatcher._cache = _Cache(function)  # as `cache=True` would, with folders of our own
        return dispatcher

    return decorate


def callback(function: Callable[..., Any], signature: Any, pipeline: type[CompilerBase] = Compiler, **options: Any) -> Any:
    """Return `function`, compiled for callers that know its address, or read from where its code is kept."""
    made: Any = CFunc(function, sigutils.normalize_signature(signature), locals={}, options=options, pipeline_class=pipeline)
    made._cache = _Cache(function)
    made.compile()
    return made


class _Cache(caching._Cache):
    """Numba's cache of a function, in several folders."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._folders: list[_Folder] = []
        file = function.__code__.co_filename
        with contextlib.suppress(OSError):  # else it has no file, as where Python reads from a prompt: it is not kept
            # With the version: a function may have taken in what stands in other modules.
            stamp = hashlib.sha256(VERSION.encode() + source(function.__module__, file)).hexdigest()
            self._folders = [_Folder(function, folder, stamp) for folder in _folders(file)]

    @property
    def cache_path(self) -> str | None:
        return self._folders[0].cache_path if self._folders else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for folder in self._folders:
            with contextlib.suppress(OSError):
                found = None if folder.doubt() else folder.load_overload(sig, target_context)
                if found is not None:
                    return found
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        reasons = []
        for folder in self._folders:
            try:
                folder.save_overload(sig, data)
                return
            except OSError as error:
                reasons.append(error.strerror or str(error))
        if reasons:
            places = ("NUMBA_CACHE_DIR",) if config.CACHE_DIR else ("the package's folder", "the user's")
            tell_not_kept("; ".join(f"{place}: {reason}" for place, reason in zip(places, reasons, strict=False)))

    def enable(self) -> None:
        for folder in self._folders:
            folder.enable()

    def disable(self) -> None:
        for folder in self._folders:
            folder.disable()

    def flush(self) -> None:
        for folder in self._folders:
            folder.flush()


def _folders(file: str) -> Iterator[Path]:
    """Yield where the code of a file's functions may be kept, the first first."""
    below = caching._CacheLocator.get_suitable_cache_subpath(file)
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR, below)
    else:
        yield Path(file).parent / PACKAGE
        users = Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)
        if users.is_absolute():  # else the user has no home
            yield users / below


def tell_not_kept(reason: str) -> None:
    """Warn, once a process, that machine code can be kept nowhere."""
    if hasattr(common, "told_not_kept"):
        return
    common.told_not_kept = True
    package = __name__.removesuffix(".runtime.common.cache")
    warnings.warn(
        f"machine code cannot be kept, and is compiled anew in every process ({reason}). Run `python -m {package}.warm` where the package's"
        " folder can be written to, or set NUMBA_CACHE_DIR to a folder of this user alone",
        NotKeptWarning,
        stacklevel=3,
    )


class _Folder(caching.FunctionCache):
    """Numba's cache of a function, in one folder."""

    def __init__(self, function: Callable[..., Any], folder: Path, stamp: str) -> None:
        self._place = _Place(function, folder, stamp)
        self._impl_class = partial(_Implementation, self._place)
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def doubt(self) -> str:
        return self._place.doubt()


UNREADABLE = (ImportError, AttributeError, EOFError, pickle.UnpicklingError)  # what a package left that had another name, or half a file


class _Files(caching.IndexDataCacheFile):
    """Numba's files, where each says whose code it has.

    An index says which file is whose, by a number. Machines that write at the same time, for processors that are not the same, may take one
    number for two of them, and a process that ends between the two files leaves an index for what was there before.
    """

    def save(self, key: Any, data: Any) -> None:
        super().save(key, (self._source_stamp, key, data))

    def load(self, key: Any) -> Any:
        try:
            found = super().load(key)
        except UNREADABLE:
            return None
        return found[2] if found is not None and found[:2] == (self._source_stamp, key) else None

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except UNREADABLE:
            return {}


class _Implementation(caching.CompileResultCacheImpl):
    def __init__(self, place: _Place, function: Callable[..., Any]) -> None:
        self._locator_classes = [place]  # in place of Numba's
        super().__init__(function)


class _Place(caching._CacheLocator):
    """A folder, as Numba asks for it."""

    def __init__(self, function: Callable[..., Any], folder: Path, stamp: str) -> None:
        self._py_file, self._line = function.__code__.co_filename, function.__code__.co_firstlineno
        self._folder, self._stamp = folder, stamp

    def from_function(self, py_func: Callable[..., Any], py_file: str) -> _Place:
        return self

    def doubt(self) -> str:
        """Return why what lies in the folder must not be run."""
        return "" if self._folder.name == PACKAGE else doubt(self._folder)

    def ensure_cache_path(self) -> None:
        """Make the folder; Numba calls it before it writes."""
        if self._folder.name == PACKAGE:
            self._folder.mkdir(exist_ok=True)
            return
        own(self._folder)

    def get_cache_path(self) -> str:
        return os.fspath(self._folder)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return str(self._line)
