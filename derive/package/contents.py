"""Generated packages: their files, and modules in memory."""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ..cell import Cell
from ..codegen.cpu.module import module
from ..codegen.cuda.module import module as cuda_module
from ..language.errors import CellError, in_words
from ..program.pipeline import compile_cell
from ..runtime.common.trust import own
from .pickles import make_portable
from .write import MARK, Files, complete, drift, write

__all__ = ["MARK", "Files", "cache_folder", "compile", "compile_all", "drift", "files", "package_of", "write"]

RUNTIME = Path(__file__).parents[1] / "runtime"
MADE_FROM = "# Made from "
TRAINING, WARM = "training", "warm"
CUDA = "cuda"
BESIDE = {f"{name}.py": f"common/{name}.py" for name in (TRAINING, WARM)}  # files of the runtime that lie beside the cells
RESERVED = ("runtime", TRAINING, WARM, CUDA, "torch", "jax", "flax")
ARGUMENTS = ("params", "state", "steps", "lengths", "reverse", "tape", "out", "dtype", "seed", "batch", "self", "tf32", "stream")


def files(
    cells: Iterable[Cell], source: str = "derive/cells", sources: Mapping[str, str] | None = None, *, cuda: bool = True
) -> dict[str, str]:
    """Return the files of the package generated for `cells`, by path.

    The same on every machine: no date, no version, no path of the machine.

    Parameters
    ----------
    cells : iterable of Cell
    source : str
        Where the cells are defined, for the headers.
    sources : mapping, optional
        The same for single cells, by name, where it is known more closely.
    cuda : bool
        Whether there are modules for CUDA devices too.

    Raises
    ------
    CellError
        If two cells have one name, or a name cannot be a module or an argument of the generated functions.
    """
    cells = tuple(cells)
    _check_names(cells)
    runtime = {name: text for name, text in _runtime_files().items() if cuda or not name.startswith(CUDA)}
    digests = {False: _digest(*(text for name, text in runtime.items() if not name.startswith(CUDA))), True: _digest(*runtime.values())}
    digest = digests[False]  # kernels of the CPU do not change with what is for devices
    found = {
        f"runtime/{name}": _stamped(text, f"derive/runtime/{name}", digests[name.startswith(CUDA)])
        for name, text in runtime.items()
        if name not in BESIDE.values()
    }
    found |= {path: _stamped(runtime[name], f"derive/runtime/{name}", digest) for path, name in BESIDE.items()}
    for cell in cells:
        compiled = compile_cell(cell)
        where = (sources or {}).get(cell.name, source)
        found[f"{cell.name}.py"] = _marked(module(cell, compiled, where, ""), digest)
        if cuda:
            found[f"{CUDA}/{cell.name}.py"] = _marked(cuda_module(cell, compiled, where, ""), digests[True])
    found["__init__.py"] = _init(cells, source, "Recurrent layers: kernels with their gradients, on NumPy and Numba alone.")
    if cuda:
        found[f"{CUDA}/__init__.py"] = _init(cells, source, "The same layers for CUDA devices: `numba.cuda` kernels, products by cuBLAS.")
    return dict(sorted(found.items()))


def _check_names(cells: tuple[Cell, ...]) -> None:
    seen: set[str] = set()
    for cell in cells:
        if cell.name in RESERVED:
            raise CellError(f"a cell cannot be named `{cell.name}`: the generated package has a module of that name")
        if cell.name in seen:
            raise CellError(f"two cells are named `{cell.name}`: each needs a name of its own")
        seen.add(cell.name)
        for name in (*cell.inputs, *cell.context):
            if name in ARGUMENTS:
                raise CellError(f"{cell.name}: an input cannot be named `{name}`: the generated functions have an argument of that name")
        for name in cell.sizes:
            if name in ARGUMENTS:
                raise CellError(f"{cell.name}: a size cannot be named `{name}`: the generated functions have an argument of that name")


@lru_cache(maxsize=1)
def _runtime_files() -> dict[str, str]:
    return {path.relative_to(RUNTIME).as_posix(): path.read_text(encoding="utf-8") for path in sorted(RUNTIME.glob("**/*.py"))}


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _stamped(text: str, source: str, digest: str) -> str:
    return f"{MARK} from {source}. Do not edit.\n# Made from {digest}\n{text}"


def _marked(body: str, digest: str) -> str:
    """Return a module with the hash of all that it is made from."""
    return body.replace(f"{MADE_FROM}\n", f"{MADE_FROM}{_digest(body, digest)}\n", 1)


def _init(cells: tuple[Cell, ...], source: str, title: str) -> str:
    names = "\n".join(f"    {cell.name:<28}{cell.title}".rstrip() for cell in cells)
    return f'{MARK} from {source}. Do not edit.\n"""{title}\n\n{names}\n"""\n'


# In memory


def compile(cell: Cell, *, cuda: bool = False) -> ModuleType:
    """Return the module generated for `cell`, the same as `derive generate` writes; with `cuda`, that for CUDA devices.

    It is kept in a cache folder by its content (``DERIVE_CACHE_DIR``, else ``$XDG_CACHE_HOME/derive-rnn``, else
    ``~/.cache/derive-rnn``), so that machine code is compiled once: a second process starts with it. What lies there is run, so it is
    used only if nobody but this user and root can write to it; else, and where it cannot be written, a temporary folder is, with a warning.

    Parameters
    ----------
    cell : Cell
    cuda : bool
        Whether the module is that for CUDA devices.

    Returns
    -------
    module
        With `init`, `zero_state`, `pack`, `forward`, `backward`, `infer` and `step`.

    Raises
    ------
    CellError
        If the cell's name or an input's cannot be used in a module.
    """
    return compile_all([cell], cuda=cuda)[cell.name]


def compile_all(cells: Iterable[Cell], *, cuda: bool = False) -> dict[str, ModuleType]:
    """Return the modules generated for `cells`, by name: as `compile` does, but in one package, which compiles their runtime once."""
    cells = tuple(cells)
    package = package_of(cells, cuda=cuda)
    folder_name = f"{package}.{CUDA}" if cuda else package
    return {cell.name: importlib.import_module(f"{folder_name}.{cell.name}") for cell in cells}


@lru_cache(maxsize=256)
def package_of(cells: tuple[Cell, ...], *, cuda: bool) -> str:
    """Return the name of the package generated for `cells`, which is imported."""
    package = files(cells, "a cell in memory", cuda=cuda)
    name = f"_derive_{_digest(*package.values())}"
    if name not in sys.modules:
        folder = _kept(package, name)
        spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        kinds = (name, f"{name}.{CUDA}") if cuda else (name,)
        modules = [importlib.import_module(f"{kind}.{cell.name}") for kind in kinds for cell in cells]
        make_portable(modules, name, cells, cuda=cuda)
    return name


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
