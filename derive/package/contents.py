"""The files of generated packages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from ..calculus.laws import is_true
from ..codegen.cpu.module import module
from ..codegen.cuda.module import module as cuda_module
from ..codegen.torch.step import has_steps, step_module
from ..language.definition import Definition
from ..language.errors import CellError
from ..program.pipeline import compile_cell
from .folder import MARK

RUNTIME = Path(__file__).parents[1] / "runtime"
MADE_FROM = "# Made from "
TRAINING, WARM = "training", "warm"
CUDA, TORCH, JAX, FLAX, EQUINOX = "cuda", "torch", "jax", "flax", "equinox"
FRAMEWORKS = {TORCH: (), JAX: (), FLAX: (JAX,), EQUINOX: (JAX,)}
"""Parts of the runtime for other frameworks, and which of them each is built on."""
OWN = ""  # the part of the runtime that every package has, and that its kernels are compiled with
STEPS = f"runtime/{TORCH}/steps"  # apart from the kernels, which need not be compiled anew for them
TOLD = '"""Steps of cells in PyTorch, for derivatives that their kernels do not have."""'
BESIDE = {f"{name}.py": f"common/{name}.py" for name in (TRAINING, WARM)}  # files of the runtime that lie beside the cells
RESERVED = ("runtime", TRAINING, WARM, CUDA, *FRAMEWORKS)
ARGUMENTS = (
    *("params", "state", "steps", "lengths", "reverse", "tape", "out", "dtype", "seed", "batch", "self", "tf32", "stream"),
    *("dy", "dfinal", "second", "curvature"),
)

LAYERS = '''"""The kernels of this package as layers of PyTorch: see `runtime.torch`."""

from .runtime.torch import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell, convert, layer, packed

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "convert", "layer", "packed"]
'''

FUNCTIONS = '''"""The kernels of this package as functions of JAX, each by the name of its cell: see `runtime.jax`."""

from .runtime.jax import TARGET, Function, function, read_exported
from .runtime.jax import __dir__ as __dir__  # by which a cell's name is found, and listed
from .runtime.jax import __getattr__ as __getattr__

__all__ = ["TARGET", "Function", "function", "read_exported"]
'''

MODULES = '''"""The kernels of this package as modules of Flax: see `runtime.flax`."""

from .runtime.flax import RNN, Fixed, from_flax, to_flax

__all__ = ["RNN", "Fixed", "from_flax", "to_flax"]
'''

LIKEWISE = '''"""The kernels of this package as layers of Equinox: see `runtime.equinox`."""

from .runtime.equinox import RNN, from_equinox, to_equinox

__all__ = ["RNN", "from_equinox", "to_equinox"]
'''
BRIDGES = {TORCH: LAYERS, JAX: FUNCTIONS, FLAX: MODULES, EQUINOX: LIKEWISE}  # the modules for other frameworks


def files(
    cells: Iterable[Definition],
    source: str = "derive/cells",
    sources: Mapping[str, str] | None = None,
    *,
    cuda: bool = True,
    frameworks: bool = True,
    orders: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Return the files of the package generated for `cells`, by path.

    The same on every machine: no date, no version, no path of the machine.

    Parameters
    ----------
    cells : iterable of Definition
    source : str
        Where the cells are defined, for the headers.
    sources : mapping, optional
        The same for single cells, by name, where it is known more closely.
    cuda : bool
        Whether there are modules for CUDA devices too.
    frameworks : bool
        Whether there are modules for other frameworks: `torch`, with layers of PyTorch, `jax`, with functions of JAX, `flax`, `equinox`.
    orders : mapping, optional
        By cell, the order of its derivatives: 1, as by default, or 2.

    Raises
    ------
    CellError
        If two cells have one name, or a name cannot be a module or an argument of the generated functions.
    """
    cells = tuple(cells)
    _check_names(cells)
    left = {*(() if cuda else [CUDA]), *(() if frameworks else FRAMEWORKS)}
    runtime = {name: text for name, text in _runtime_files().items() if _part(name) not in left}
    parts = {part: [text for name, text in runtime.items() if _part(name) == part] for part in (OWN, CUDA, *FRAMEWORKS)}
    own = digest(*parts[OWN])  # kernels of the CPU do not change with what is for devices or for frameworks
    below = {CUDA: (), **FRAMEWORKS}
    digests = {OWN: own, **{part: digest(*(text for each in (OWN, *of, part) for text in parts[each])) for part, of in below.items()}}
    found = {
        f"runtime/{name}": _stamped(text, f"derive/runtime/{name}", digests[_part(name)])
        for name, text in runtime.items()
        if name not in BESIDE.values()
    }
    bridges = {part: text for part, text in BRIDGES.items() if part not in left}
    found |= {f"{part}.py": _stamped(text, f"derive/runtime/{part}", digests[part]) for part, text in bridges.items()}
    found |= {path: _stamped(runtime[name], f"derive/runtime/{name}", own) for path, name in BESIDE.items()}
    found["__init__.py"] = _init(cells, source, "Recurrent layers: kernels with their gradients, on NumPy and Numba alone.")
    if frameworks:
        found[f"{STEPS}/__init__.py"] = f"{MARK} from {source}. Do not edit.\n{TOLD}\n"
    if cuda:
        found[f"{CUDA}/__init__.py"] = _init(cells, source, "The same layers for CUDA devices: `numba.cuda` kernels, products by cuBLAS.")
    for cell in cells:
        where, second = (sources or {}).get(cell.name, source), (orders or {}).get(cell.name) == 2
        compiled = compile_cell(cell, 2) if second else compile_cell(cell)  # as others ask for it: it is done once
        found[f"{cell.name}.py"] = _marked(module(cell, compiled, where, ""), own)
        if cuda:
            text = cuda_module(cell, compiled, where, "")
            found[f"{CUDA}/{cell.name}.py"] = _marked(text, digests[CUDA])
        if frameworks and not second and has_steps(cell) and is_true(cell):  # a replay takes Hessians for symmetric
            found[f"{STEPS}/{cell.name}.py"] = _marked(step_module(cell, where, ""), "")
    return dict(sorted(found.items()))


def _part(name: str) -> str:
    """Return which part of the runtime a file of it belongs to."""
    folder = name.partition("/")[0]
    return folder if folder in (CUDA, *FRAMEWORKS) else OWN


def _check_names(cells: tuple[Definition, ...]) -> None:
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


def digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _stamped(text: str, source: str, hashed: str) -> str:
    return f"{MARK} from {source}. Do not edit.\n# Made from {hashed}\n{text}"


def _marked(body: str, of: str) -> str:
    """Return a module with the hash of all that it is made from."""
    return body.replace(f"{MADE_FROM}\n", f"{MADE_FROM}{digest(body, of)}\n", 1)


def _init(cells: tuple[Definition, ...], source: str, title: str) -> str:
    names = "\n".join(f"    {cell.name:<28}{cell.title}".rstrip() for cell in cells)
    return f'{MARK} from {source}. Do not edit.\n"""{title}\n\n{names}\n"""\n'
