"""Modules in memory: packages that are kept in a cache folder by their content, and imported from there."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ..language.definition import Definition
from ..language.errors import CellError, in_words
from ..runtime.common.trust import own
from .contents import CUDA, digest, files
from .folder import Files, complete
from .pickles import make_portable


def compile(cell: Definition, *, cuda: bool = False, order: int = 1) -> ModuleType:
    """Return the module generated for `cell`, the same as `derive generate` writes; with `cuda`, that for CUDA devices.

    It is kept in a cache folder by its content (``DERIVE_CACHE_DIR``, else ``$XDG_CACHE_HOME/derive-rnn``, else
    ``~/.cache/derive-rnn``), so that machine code is compiled once: a second process starts with it. What lies there is run, so it is
    used only if nobody but this user and root can write to it; else, and where it cannot be written, a temporary folder is, with a warning.

    Parameters
    ----------
    cell : Definition
    cuda : bool
        Whether the module is that for CUDA devices.
    order : 1 or 2
        Of derivatives: with 2, the module has `backward_backward`, `tangent`, `hvp` and `step_tangent` too.

    Returns
    -------
    module
        With `init`, `zero_state`, `pack`, `forward`, `backward`, `infer` and `step`.

    Raises
    ------
    CellError
        If the cell's name or an input's cannot be used in a module.
    """
    return compile_all([cell], cuda=cuda, order=order)[cell.name]


def compile_all(cells: Iterable[Definition], *, cuda: bool = False, order: int = 1) -> dict[str, ModuleType]:
    """Return the modules generated for `cells`, by name: as `compile` does, but in one package, which compiles their runtime once."""
    if order not in (1, 2):
        raise CellError(f"order must be 1 or 2, got {order!r}")
    cells = tuple(cells)
    package = package_of(cells, cuda=cuda, order=order)
    folder_name = f"{package}.{CUDA}" if cuda else package
    return {cell.name: importlib.import_module(f"{folder_name}.{cell.name}") for cell in cells}


@dataclass(frozen=True)
class Member:
    """A class or a function of a package that was compiled in memory: it is called as that.

    Attributes
    ----------
    cells : tuple of Definition
        What the package is made from.
    cuda : bool
    order : int
    module : str
        The module's name in the package.
    name : str
    """

    cells: tuple[Definition, ...]
    cuda: bool
    order: int
    module: str
    name: str

    def __call__(self, *values: Any) -> Any:
        package = package_of(self.cells, cuda=self.cuda, order=self.order)
        return getattr(importlib.import_module(f"{package}.{self.module}"), self.name)(*values)


@lru_cache(maxsize=256)
def package_of(cells: tuple[Definition, ...], *, cuda: bool, order: int = 1) -> str:
    """Return the name of the package generated for `cells`, which is imported."""
    package = files(cells, "a cell in memory", cuda=cuda, frameworks=False, orders={cell.name: order for cell in cells})
    name = f"_derive_{digest(*package.values())}"
    if name not in sys.modules:
        folder = _kept(package, name)
        import_from(folder, name)
        kinds = (name, f"{name}.{CUDA}") if cuda else (name,)
        modules = [importlib.import_module(f"{kind}.{cell.name}") for kind in kinds for cell in cells]
        make_portable(modules, name, partial(Member, cells, cuda, order))
    return name


def import_from(folder: Path, name: str) -> None:
    """Import a package from its folder, under a name that need not be the folder's."""
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def located(module: ModuleType) -> tuple[str, Path]:
    """Return the name of a package's module, and the folder where it lies: from these, another process imports it."""
    assert module.__file__ is not None
    return module.__name__, Path(module.__file__).parent


def imported(name: str, folder: Path) -> ModuleType:
    """Return a module of a package by its name, as another process has imported it from a folder, with all that is compiled there."""
    package = name.rpartition(".")[0]
    if package not in sys.modules:
        import_from(folder, package)
    return importlib.import_module(name)


def _kept(package: Files, name: str) -> Path:
    """Return the folder that holds a package: in the cache, else a temporary one."""
    try:
        folder = cache_folder() / name
        own(folder)
        complete(package, folder)
        return folder
    except (OSError, RuntimeError) as error:  # it cannot be written, or the user has no home
        reason = in_words(error)
    if not _temporary.cache_info().currsize:  # once a process
        told = f"{reason}: kernels are compiled in a temporary folder, anew in every process; DERIVE_CACHE_DIR can name a folder for them"
        warnings.warn(told, RuntimeWarning, stacklevel=5)
    folder = _temporary() / name
    complete(package, folder)
    return folder


@lru_cache(maxsize=1)
def _temporary() -> Path:
    """Return a folder of this process alone, which is removed at its end."""
    folder, process = tempfile.mkdtemp(prefix="derive-rnn-"), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == process else None)
    return Path(folder)


def cache_folder() -> Path:
    """Return the folder where compiled cells are kept."""
    own = os.environ.get("DERIVE_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "derive-rnn"
