"""Where machine code is kept: read without write access, compiled ahead, and never run if somebody else could have put it there."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, python, without_rights
from llvmlite.binding import get_host_cpu_features

from derive.cell import Cell
from derive.cells import REGISTRY
from derive.package import contents
from derive.package.folder import write
from derive.runtime.common import cache, trust

RNN = REGISTRY["rnn"]
LEAKY = Cell("h = a * h_prev + x", name="leaky", output="h")  # without a product it is compiled in two seconds

# How many functions Numba compiles.
LISTEN = """
import numpy as np
from numba.core import event

class Listener(event.Listener):
    compiled = 0
    def on_start(self, found):
        Listener.compiled += 1
    def on_end(self, found):
        pass

event.register("numba:run_pass", Listener())
"""

# Calls of many kinds, with arrays of many sizes; then how many functions were compiled.
COUNT = (
    LISTEN
    + """
from kernels import {cell} as cell
dtype = np.float32
params = cell.LAYER.init(dict.fromkeys(cell.LAYER.sizes, 24), 0, dtype)
packed = cell.pack(params)
for steps, batch in ((1, 1), (3, 1), (2, 40), (40, 200)):
    x, lengths = np.ones((steps, batch, 24), dtype), np.full(batch, steps)
    for options in ({{}}, {{"tape": "recompute"}}, {{"lengths": lengths}}, {{"reverse": True}}):
        y, final, tape = cell.forward(x, params, **options)
        cell.backward(y, tape)
        cell.backward(None, tape, final)
    cell.infer(x, packed)
    for _ in range(3):
        final = cell.step(x[0], packed, final)[1]
        cell.step(x[0], params, final)
print(Listener.compiled)
"""
)

# Two functions that are compiled in no time.
LIGHT = """
import numpy as np
from kernels import rnn
from kernels.runtime.cpu.reduce import feature_sum, log_sum_exp
feature_sum(np.ones(3))
log_sum_exp(np.ones(3))
print(sum(sum(function.stats.cache_misses.values()) for function in (feature_sum, log_sum_exp)))
"""

COMPILE = """
import derive
module = derive.compile(derive.Cell("h = tanh(W @ x + U @ h_prev)", name="kept", output="h"))
other = derive.compile(derive.Cell("h = tanh(W @ x - U @ h_prev)", name="other", output="h"))
print(module.__file__)
"""


def package(folder: Path, *cells: Cell) -> Path:
    write(contents.files(cells, cuda=False), folder / "kernels")
    return folder


def close(folder: Path) -> Path:
    """Let nobody write into a folder, and give its files another time, as a copy may have."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (1, 1))
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def closed_home(folder: Path) -> str:
    home = folder / "home"
    home.mkdir(mode=0o555)
    return str(home)


def warm(folder: Path, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", "kernels.warm", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


USE = """
import numpy as np
from {name} import leaky
x = np.arange(6, dtype=np.float64).reshape(3, 2, 1)
y, _, tape = leaky.forward(x, leaky.Params(np.full(1, 0.5)))
print(y.sum(), leaky.backward(np.ones_like(y), tape).params.a)
"""


def test_a_folder_may_have_another_name(tmp_path: Path) -> None:
    """Machine code that was compiled for the package under one name is not in the way under another."""
    write(contents.files([LEAKY]), tmp_path / "kernels")
    printed = python(USE.format(name="kernels"), path=tmp_path)
    (tmp_path / "kernels").rename(tmp_path / "others")
    assert python(USE.format(name="others"), path=tmp_path) == printed == python(USE.format(name="others"), path=tmp_path)


# Without write access


def test_what_was_compiled_ahead_is_used_without_write_access(tmp_path: Path) -> None:
    image = package(tmp_path / "image", RNN)
    assert warm(image, "rnn", "--dtypes", "float32").startswith("rnn float32: ")
    close(image)
    done = without_rights("-W", "error", "-c", COUNT.format(cell="rnn"), folder=image, HOME=closed_home(tmp_path))
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_where_nothing_can_be_written_it_is_compiled_in_memory_with_one_warning(tmp_path: Path) -> None:
    image = close(package(tmp_path / "image", RNN))
    done = without_rights("-W", "always::RuntimeWarning", "-c", LIGHT, folder=image, HOME=closed_home(tmp_path))
    assert done.returncode == 0 and done.stdout == "2\n", done.stderr
    assert done.stderr.count("machine code cannot be kept") == done.stderr.count("Warning") == 1
    assert "`python -m kernels.warm`" in done.stderr


def test_what_is_missing_in_a_closed_package_is_kept_in_the_users_folder(tmp_path: Path) -> None:
    image = close(package(tmp_path / "image", RNN))
    done = [without_rights("-W", "error", "-c", LIGHT, folder=image, HOME=str(tmp_path)) for _ in range(2)]
    assert [(one.stdout, one.stderr) for one in done] == [("2\n", ""), ("0\n", "")]
    assert list((tmp_path / ".cache" / "numba").rglob("*.nbc"))


def test_kernels_for_devices_are_made_where_nothing_can_be_written(tmp_path: Path) -> None:
    pytest.importorskip("numba_cuda")
    write(contents.files([LEAKY]), tmp_path / "image" / "kernels")
    code = """
        from kernels.runtime.cpu import division
        from kernels.runtime.cuda.kind import KINDS
        from kernels.runtime.cuda.numba_machine import NumbaMachine
        print(NumbaMachine(KINDS["float32"], 32).kernel(division.is_light))
    """
    image = close(tmp_path / "image")
    done = without_rights("-c", textwrap.dedent(code), folder=image, HOME=closed_home(tmp_path))
    assert done.returncode == 0 and "machine code cannot be kept" in done.stderr, done.stderr


def test_compile_falls_back_to_a_temporary_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = without_rights("-c", COMPILE, folder=tmp_path, HOME=closed_home(tmp_path), TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout).is_relative_to(temporary)
    assert done.stderr.count("compiled in a temporary folder") == done.stderr.count("Warning") == 1
    assert list(temporary.iterdir()) == []  # it goes with the process


def test_compile_uses_a_folder_that_is_closed_but_complete(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    python(COMPILE, DERIVE_CACHE_DIR=str(cache))
    close(cache)
    done = without_rights("-W", "error", "-c", COMPILE, folder=tmp_path, DERIVE_CACHE_DIR=str(cache))
    assert done.stderr == "" and Path(done.stdout).is_relative_to(cache)


# Ahead of time


def test_warm_for_another_processor(tmp_path: Path) -> None:
    """Whoever says that he is that processor uses the code; whoever does not, compiles for his own."""
    package(tmp_path, LEAKY)
    baseline = "x86-64-v2" if sys.platform == "linux" and os.uname().machine == "x86_64" else "generic"
    said = warm(tmp_path, "leaky", "--dtypes", "float32", "--cpu", baseline).splitlines()[-1]
    variables = dict(word.split("=") for word in said.split()[-2:])
    assert variables == {"NUMBA_CPU_NAME": baseline, "NUMBA_CPU_FEATURES": ""}
    run = [sys.executable, "-W", "error", "-c", COUNT.format(cell="leaky")]
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    told, untold = (int(subprocess.run(run, env={**os.environ, **more}, **options).stdout) for more in (variables, {}))  # type: ignore[call-overload]
    assert told == 0 and untold > 0


def test_warm_calls_cells_of_every_form(tmp_path: Path) -> None:
    forms = {
        "none": Cell("h = tanh(a * h_prev + b)", name="none", output="h", inputs=()),
        "several": Cell("h = a * h_prev + x * v + m", name="several", output="h", inputs=("x", "m"), context=("v",)),
        "index": Cell("l = logsumexp(a) - pick(a, k)", name="index", output="l", inputs=("a", "k")),
    }
    package(tmp_path, *forms.values())
    said = warm(tmp_path, "--dtypes", "float32").splitlines()
    assert [line.partition(":")[0] for line in said] == [f"{name} float32" for name in sorted(forms)]


@pytest.mark.skipif(os.name == "nt" or os.uname().machine != "x86_64", reason="names of x86-64")
@pytest.mark.parametrize(("cpu", "width"), [("x86-64", 16), ("x86-64-v3", 32), ("x86-64-v4", 64)])
def test_tiles_are_for_the_processor_that_numba_compiles_for(cpu: str, width: int) -> None:
    code = "from derive.runtime.cpu.tile import VECTOR_BYTES; print(VECTOR_BYTES)"
    assert python(code, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="") == f"{width}\n"


def test_warm_says_what_it_cannot_do(tmp_path: Path) -> None:
    image = close(package(tmp_path / "image", LEAKY))
    home = closed_home(tmp_path)
    cases = [(["lstm"], 2, "no cell `lstm` in this package; there are: leaky"), (["--cpu", "mine"], 2, "no processor `mine`")]
    for arguments, status, part in [*cases, (["--dtypes", "float32"], 1, "machine code cannot be kept")]:
        done = without_rights("-m", "kernels.warm", *arguments, folder=image, HOME=home)
        assert done.returncode == status and part in done.stderr and "Traceback" not in done.stderr, done.stderr


# Of unlike machines

SHARED = (
    LISTEN
    + """
from derive.runtime.cpu import product, target

rng = np.random.default_rng(0)
a, b = rng.integers(-3, 4, (30, 40)).astype(np.float32), rng.integers(-3, 4, (40, 50)).astype(np.float32)
out, packed = np.empty((30, 50), np.float32), product.panels(b)
product.multiply(a, packed, out, False)
right = (out == a @ b).all()
print(target.TARGET.vector_bytes, right, len(packed), Listener.compiled > 0)
"""
)


@pytest.mark.skipif(sys.platform == "win32" or os.uname().machine != "x86_64", reason="names of x86-64")
def test_unlike_machines_share_a_folder(tmp_path: Path) -> None:
    """Tiles of another size, a packed operand of another width, functions compiled apart: each finds its own, whoever was there before."""

    def run(cpu: str) -> list[str]:
        return python(SHARED, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="").split()

    wide = get_host_cpu_features().get("fma")
    kinds = {"x86-64": ["16", "True", "2240"]} | ({"x86-64-v3": ["32", "True", "2560"]} if wide else {"x86-64-v2": ["16", "True", "2240"]})
    for compiled in ("True", "False"):
        assert {cpu: run(cpu) for cpu in kinds} == {cpu: [*found, compiled] for cpu, found in kinds.items()}


def test_a_file_of_another_processor_is_not_read(tmp_path: Path) -> None:
    """Both found no index, took the number 1, and wrote the index in one order and the code in the other."""
    one, other, again = (cache._Files(str(tmp_path), "loop", stamp) for stamp in ("text", "text", "another text"))
    one.save("for one", "its code")
    (tmp_path / "loop.nbi").unlink()
    other.save("for the other", "code of its own")
    assert (one.load("for one"), other.load("for the other")) == (None, "code of its own")
    one._save_data("loop.1.nbc", ("text", "for one", "its code"))
    assert (one.load("for one"), other.load("for the other")) == (None, None)
    other.save("for the other", "code of its own")
    one.save("for one", "its code")
    assert (one.load("for one"), other.load("for the other")) == ("its code", "code of its own")
    again._save_index({"for one": "loop.1.nbc"})  # and ended before it wrote the code
    assert again.load("for one") is None


# What others could have written


def test_a_shared_cache_is_not_run(tmp_path: Path) -> None:
    """What lies in a folder that others can write to is left alone, though it looks right."""
    shared = tmp_path / "shared"
    made = Path(python(COMPILE, DERIVE_CACHE_DIR=str(shared)).strip()).parent
    planted = tmp_path / "planted.py"
    planted.write_text("print('planted')")
    target = made / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(planted), str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert "planted" in python(COMPILE, DERIVE_CACHE_DIR=str(shared))  # in a folder of one's own, one is trusted
    shared.chmod(0o777)
    done = without_rights("-c", COMPILE, folder=tmp_path, DERIVE_CACHE_DIR=str(shared))
    assert "planted" not in done.stdout and not Path(done.stdout).is_relative_to(shared)
    assert "can be written to by other users" in done.stderr


def test_a_shared_folder_of_numba_is_not_run(tmp_path: Path) -> None:
    package(tmp_path, RNN)
    shared = tmp_path / "shared"
    shared.mkdir()
    assert [python(LIGHT, path=tmp_path, NUMBA_CACHE_DIR=str(shared)) for _ in range(2)] == ["2\n", "0\n"]
    shared.chmod(0o777)
    done = without_rights("-c", LIGHT, folder=tmp_path, NUMBA_CACHE_DIR=str(shared))
    assert done.stdout == "2\n" and "can be written to by other users" in done.stderr


def test_whom_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above, folder = tmp_path / "above", tmp_path / "above" / "cache"
    trust.own(folder)
    assert folder.stat().st_mode & 0o777 == above.stat().st_mode & 0o777 == 0o700
    for mode, trusted in ((0o755, True), (0o777, False), (0o1777, False)):
        folder.chmod(mode)
        assert (trust.doubt(folder) == "") == trusted
        assert (trust.doubt(folder / "missing") == "") == (
            mode != 0o777
        )  # nobody can replace what is another's where the sticky bit is set
    folder.chmod(0o700)
    for mode, trusted in ((0o777, False), (0o1777, True)):
        above.chmod(mode)
        assert (trust.doubt(folder) == "") == trusted
    for alone in (True, False):  # in the group
        above.chmod(0o770)
        monkeypatch.setattr(trust, "_alone", lambda group, alone=alone: alone)
        assert (trust.doubt(folder) == "") == alone


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    (tmp_path / "cache").mkdir()
    assert "belongs to another user" in trust.doubt(tmp_path / "cache")
    with pytest.raises(PermissionError, match="belongs to another user"):
        trust.own(tmp_path / "cache" / "new")
    assert not (tmp_path / "cache" / "new").exists()


# Unusual imports


def test_a_package_in_an_archive(tmp_path: Path) -> None:
    package(tmp_path, RNN)
    with zipfile.ZipFile(tmp_path / "kernels.zip", "w") as archive:
        for path in (tmp_path / "kernels").rglob("*.py"):
            archive.write(path, path.relative_to(tmp_path))
    (tmp_path / "kernels").rename(tmp_path / "elsewhere")
    paths = os.pathsep.join([str(tmp_path / "kernels.zip"), str(ROOT)])
    done = [without_rights("-W", "error", "-c", LIGHT, folder=tmp_path, PYTHONPATH=paths, HOME=str(tmp_path)) for _ in range(2)]
    assert [(one.stdout, one.stderr) for one in done] == [("2\n", ""), ("0\n", "")]


def test_without_numbas_compiler_there_is_a_word(tmp_path: Path) -> None:
    package(tmp_path, RNN)
    done = without_rights("-c", "from kernels import rnn", folder=tmp_path, NUMBA_DISABLE_JIT="1")
    assert "ImportError: NUMBA_DISABLE_JIT is set, but these kernels exist only as machine code: unset it" in done.stderr
