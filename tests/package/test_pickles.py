"""Pickles of what modules compiled in memory hold are read wherever derive is, and those of a package on disk without it."""

from __future__ import annotations

import copy
import importlib
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, generated, package, python

import derive
from derive import Cell
from derive.package import contents
from derive.verify.problem import initial
from derive.verify.witnesses import arguments

PLAIN = Cell("h = tanh(W @ x + U @ h_prev + b)", name="pickled", output="h")
OPTIONS = Cell(
    """
    u = A @ x + K * v
    h = tanh(W @ u + U @ h_prev + gain * R @ h_prev + third * b)
    """,
    name="pickled_with_options",
    output="u",
    title="Options — of every kind",
    description="What a pickle must carry.",
    context=("v",),
    fixed=("R",),
    shapes={"x": "2", "K": "3", "b": "n"},
    constants={"A": [[1, 2], [3, 4], [5, 6]], "gain": np.float32(0.1), "third": Fraction(1, 3)},
    init={"U": "orthogonal", "h": 0.5},
    latex={"u": r"\tilde u"},
)
READ = """
import pickle, sys
import derive
with open("{path}", "rb") as file:
    cell, records = pickle.load(file)
module = derive.compile(cell, cuda={cuda})
for record in records:
    assert type(record) is getattr(module, type(record).__name__), record
dispatchers = [value for name in list(sys.modules) if name.startswith("_derive_")
               for value in vars(sys.modules[name]).values() if hasattr(value, "signatures")]
assert dispatchers and not any(value.signatures for value in dispatchers)
{more}
"""


def records(cell: Cell) -> tuple[Any, tuple[Any, ...]]:
    """Return a cell's module, and its parameters, states, tape and gradients."""
    module = derive.compile(cell)
    (x, params, state), given = arguments(module, initial(module, cell, sizes={"d": 3, "n": 4}, batch=2, dtype=np.float64))
    y, final, tape = module.forward(x, params, state, **given)
    again = module.forward(x, params, state, tape="recompute", **given)[2]
    return module, (params, final, tape, module.backward(y, tape), again)


@pytest.mark.parametrize("cell", [PLAIN, OPTIONS], ids=lambda cell: cell.name)
def test_a_cell_comes_back_by_its_definition(cell: Cell) -> None:
    for back in (pickle.loads(pickle.dumps(cell)), copy.copy(cell), copy.deepcopy(cell)):
        assert back == cell and hash(back) == hash(cell)
        assert contents.files([back]) == contents.files([cell])
    derive.compile(cell)
    assert len(pickle.dumps(cell)) < 3000  # nothing that follows from it


@pytest.mark.parametrize("cell", [PLAIN, OPTIONS], ids=lambda cell: cell.name)
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_records_come_back_as_they_are(cell: Cell, how: Any) -> None:
    module, found = records(cell)
    for record in found:
        back = how(record)
        assert type(back) is type(record)
        assert_same_bits(back, record)
        assert how is copy.copy or not np.shares_memory(np.asarray(back[0][0]), np.asarray(record[0][0]))
    params, _, tape, grads, again = how(found)
    assert_same_bits(module.backward(None, tape), module.backward(None, found[2]))
    assert_same_bits(module.backward(None, again), module.backward(None, found[4]))
    assert grads._replace(params=params).params is params


@pytest.mark.parametrize("cell", [PLAIN, OPTIONS], ids=lambda cell: cell.name)
@pytest.mark.parametrize("cuda", [False, True])
def test_records_are_read_in_another_process(cell: Cell, cuda: bool, tmp_path: Path) -> None:
    """Where nothing has been compiled, and no kernel needs to be."""
    module = derive.compile(cell, cuda=cuda)
    host = importlib.import_module(module.__name__.replace(".cuda.", "."))
    params, state = host.init(**({"n": 4} if cell.context else {"d": 3, "n": 4})), host.zero_state(2, 4)
    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps((cell, (params, state))))
    more = "print(*(a.tobytes().hex() for a in (*records[0], *records[1])))"
    out = python(READ.format(path=path, cuda=cuda, more=more), DERIVE_CACHE_DIR=str(tmp_path / "cache"))
    assert out.split() == [a.tobytes().hex() for a in (*params, *state)]


def test_tapes_and_packed_parameters_are_read_in_another_process(tmp_path: Path) -> None:
    module, found = records(PLAIN)
    packed = module.pack(found[0])
    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps((found, packed)))
    code = f"""
import pickle, sys
import numpy as np
with open({str(path)!r}, "rb") as file:
    (params, final, tape, grads, again), packed = pickle.load(file)
module = sys.modules[type(params).__module__]
print(np.array_equal(module.infer(tape.inputs.x, packed)[0][-1], final.h))
for kept in (tape, again):
    print(module.backward(None, kept, final).x.tobytes().hex())
"""
    want = [module.backward(None, kept, found[1]).x.tobytes().hex() for kept in (found[2], found[4])]
    assert python(code).split() == ["True", *want]


def test_modules_of_one_package(tmp_path: Path) -> None:
    modules = package(PLAIN, OPTIONS)
    for module, sizes in ((modules[PLAIN.name], (3, 4)), (modules[OPTIONS.name], (4,))):
        params = module.init(*sizes)
        assert type(pickle.loads(pickle.dumps(params))) is type(params) is module.Params


def test_a_package_on_disk_is_pickled_by_its_name() -> None:
    text = pickle.dumps((generated("gru").init(3, 4), generated("gru").zero_state(2, 4)))
    assert b"generated.gru" in text and b"derive." not in text and b"tanh" not in text
