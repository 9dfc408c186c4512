"""What the playground loads: Pyodide, derive with SymPy, and KaTeX, as scripts that hold one compressed stream in base64.

Browsers let a page that is read from a folder load scripts, and nothing else: so they are scripts for all.
"""

from __future__ import annotations

import base64
import gzip
import importlib.util
import io
import json
import shutil
import subprocess
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...cell import Cell
from ...language.errors import CellError
from ..define import declarations
from ..mathml import script
from .browser import last_assigned
from .pyodide import SECONDS

PART = 1 << 20  # characters of base64 in a script: the bar moves on with each
ROOT = Path(__file__).parents[3]
OWN = ("language", "calculus", "notation", "picture", "program", "codegen", "site")
"""The packages of derive that run in the browser, beside the modules at its top."""
LEFT = tuple(
    f"sympy/{name}/" for name in ("benchmarks", "categories", "crypto", "diffgeom", "physics", "sandbox", "stats", "testing", "vector")
)
"""What derive has no use for."""
PYGMENTS = (
    *("filters/__init__.py", "styles/__init__.py", "styles/_mapping.py", "styles/default.py"),
    *("lexers/__init__.py", "lexers/_mapping.py", "lexers/python.py"),
    *("formatters/__init__.py", "formatters/_mapping.py", "formatters/html.py"),
)
"""What Pygments needs for Python in HTML, beside the modules at its top: it has hundreds of languages."""
EXAMPLES = ("gru", "lstm", "rnn", "mgu", "slstm", "indrnn", "lru", "lif", "deltanet", "gated_deltanet", "mlstm", "softmax_cross_entropy")


def write(folder: Path, cells: Sequence[Cell], pyodide: Mapping[str, bytes] | None) -> None:
    """Write the scripts of the playground's data into `folder`.

    Parameters
    ----------
    folder : path
    cells : sequence of Cell
        Among them, the examples.
    pyodide : mapping, optional
        Pyodide's files by name; without them the page says how to have them.
    """
    parts, files = packed(contents(pyodide)) if pyodide else ([], [])
    told = {"parts": len(parts), "files": files, "examples": [example(cell) for cell in cells if cell.name in EXAMPLES]}
    (folder / "data.js").write_text(f"var playground = {{ parts: [], data: {json.dumps(told, ensure_ascii=False)} }};\n", encoding="utf-8")
    for k, part in enumerate(parts):
        (folder / f"part-{k}.js").write_text(f'playground.parts[{k}] = "{part}";\n', encoding="ascii")


def example(cell: Cell) -> dict[str, str]:
    """Return a cell as the page has it in its list: title, equations, and what is declared beside them."""
    output = [] if last_assigned(cell.text) == cell.output else [f'output="{cell.output}"']
    declared = [*output, *declarations(cell)]
    return {
        "name": cell.name,
        "title": cell.title or cell.name,
        "text": textwrap.dedent(cell.text).strip(),
        "declared": ",\n".join(declared).replace("\n        ", "\n    ").replace("\n    }", "\n}"),
    }


def contents(pyodide: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files that the worker reads, by name."""
    lock = json.loads(pyodide["pyodide-lock.json"]) | {"packages": {}}  # nothing is to be loaded from elsewhere
    return {
        **pyodide,
        "pyodide-lock.json": json.dumps(lock).encode(),
        "katex.js": script().read_bytes(),
        "derive.zip": compiled(pyodide, sources()),
    }


def compiled(pyodide: Mapping[str, bytes], sources: bytes) -> bytes:
    """Return an archive with its modules compiled by Pyodide, which then starts three times as fast; without Node.js, as it is."""
    node = shutil.which("node")
    if node is None:
        return sources
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in {**pyodide, "in.zip": sources}.items():
            (folder / file).write_bytes(data)
        command = [node, str(Path(__file__).with_name("compile.mjs")), name, str(folder / "in.zip"), str(folder / "out.zip")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise CellError(f"Pyodide does not compile what the playground runs: {done.stderr.strip()}")
        return (folder / "out.zip").read_bytes()


def packed(files: Mapping[str, bytes]) -> tuple[list[str], list[tuple[str, int]]]:
    """Return files as one compressed stream in parts, and their names with their lengths, in the order of the stream."""
    stream = gzip.compress(b"".join(files.values()), compresslevel=6, mtime=0)
    text = base64.b64encode(stream).decode()
    return [text[k : k + PART] for k in range(0, len(text), PART)], [(name, len(data)) for name, data in files.items()]


def sources() -> bytes:
    """Return a ZIP archive of the Python modules that run in the browser: derive's own, and those that the site is built with."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # the stream around it is compressed
        for name, path in sorted(_modules()):
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()


def _modules() -> Iterator[tuple[str, Path]]:
    for path in (ROOT / "derive").glob("*.py"):
        yield f"derive/{path.name}", path
    for package in OWN:
        for path in (ROOT / "derive" / package).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), path
    for package in ("sympy", "mpmath", "pygments"):
        folder = _folder(package)
        for path in folder.rglob("*.py"):
            name = path.relative_to(folder.parent).as_posix()
            if "/tests/" not in name and not name.startswith(LEFT) and (package != "pygments" or _wanted(name)):
                yield name, path


def _wanted(name: str) -> bool:
    """Say whether a module of Pygments is needed."""
    within = name.removeprefix("pygments/")
    return "/" not in within or within in PYGMENTS


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent
