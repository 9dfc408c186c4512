"""Programs that JAX compiles: called from threads, by way of Python, in another process; and what is refused, by name."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, at_once, generated, python

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402

from generated import jax as ours  # noqa: E402
from generated.runtime.jax import frame, lowering, version  # noqa: E402
from generated.runtime.jax.passes import Passes  # noqa: E402
from generated.runtime.jax.primitives import Form  # noqa: E402

T, B, D, N = 5, 3, 2, 4
gru, loss = ours.gru, ours.softmax_cross_entropy
PARAMS, X = gru.init(D, N), np.ones((T, B, D), np.float32)


def trained(params: Any, x: Any) -> Any:
    return jax.grad(lambda params: (gru(x, params)[0] ** 2).sum())(params)


def test_many_threads_call_one_program() -> None:
    program = jax.jit(trained)
    random = np.random.default_rng(0)
    given = [random.standard_normal((T, B, D)).astype(np.float32) for _ in range(4)]
    want = [program(PARAMS, x) for x in given]
    same = []

    def work(k: int) -> None:
        for _ in range(50):
            same.append(jax.tree.all(jax.tree.map(np.array_equal, program(PARAMS, given[k]), want[k])))

    at_once(work, 4)
    assert len(same) == 200 and all(same)


def test_calls_that_do_not_wait_for_each_other() -> None:
    """XLA may run them at the same time."""
    given = [k * X for k in range(4)]
    found = jax.jit(lambda *given: [gru(x, PARAMS)[0] for x in given])(*given)
    for x, y in zip(given, found, strict=True):
        np.testing.assert_array_equal(y, gru.module.infer(x, gru.module.init(D, N))[0])


def test_large_calls_share_their_work(threads_as_before: None) -> None:
    """Calls large enough to wake workers have the bits of the module's own."""
    module = generated("gru")
    x, params = np.random.default_rng(0).standard_normal((20, 64, 32)).astype(np.float32), module.init(32, 64)
    y, final, tape = module.forward(x, params)
    want = module.backward(y, tape)
    (_, made), grads = jax.jit(
        jax.value_and_grad(lambda params, x, y: ((gru(x, params)[0] * y).sum(), gru(x, params)[0]), argnums=0, has_aux=True)
    )(gru.Params(*params), x, y)
    np.testing.assert_array_equal(made, y)
    assert all(map(np.array_equal, grads, want.params)) and final.h.shape == (64, 64)


def test_memory_may_be_donated() -> None:
    program = jax.jit(lambda state, x: gru(x, PARAMS, state)[1], donate_argnums=0)
    state = jax.block_until_ready(program(gru.zero_state(B, N), X))
    want = gru.module.infer(X, gru.module.init(D, N))[1]
    np.testing.assert_array_equal(state.h, want.h)


# By way of Python


@pytest.fixture
def by_callback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let JAX call kernels by way of Python, in programs that are compiled meanwhile."""
    monkeypatch.setattr(lowering, "refused", lambda: "as a test has it")
    jax.clear_caches()
    yield
    jax.clear_caches()


def test_the_callback_has_the_same_bits(by_callback: None) -> None:
    program = jax.jit(trained)
    assert "custom_call @derive" not in program.lower(PARAMS, X).as_text()
    found = program(PARAMS, X)
    module = generated("gru")
    y, _, tape = module.forward(X, module.init(D, N))
    assert all(map(np.array_equal, found, module.backward(2 * y, tape).params))


def test_an_interface_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lowering.refused.cache_clear()
    monkeypatch.setattr(version, "INTERFACE", (1, 0))
    with pytest.warns(
        lowering.CallbackWarning, match=r"by way of Python.*: its interface for functions of others has version 0\.\d+, and 1\.0"
    ):
        assert lowering.refused()
    lowering.refused.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(version, "TRIED", ((0, 1), (0, 2)))
    with pytest.warns(RuntimeWarning, match=r"was not tried with this package, which was with JAX from 0\.1 and below 0\.2"):
        version.tell()


def test_a_jax_without_what_is_needed_is_told() -> None:
    """By an error at its import, before the primitives are made."""
    old = "import jax; jax.__version__ = '0.7.2'; jax.typeof = type\ntry: import generated.jax\nexcept ImportError as error: print(error)"
    assert python(old).startswith("JAX 0.7.2 was not tried with this package, which was with JAX from 0.10 and below 0.11: this one lacks")


def test_the_interface_is_the_one_whose_layouts_are_known() -> None:
    assert version.unlike() == "" and (frame.FRAME, frame.LIST, frame.BUFFER) == (168, 40, 48)


def test_structs_of_other_sizes_are_refused() -> None:
    """The handler reads no more of a frame that is too short, and XLA hands on what it says."""
    told = list[bytes]()

    @ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    def create(given: int) -> int:
        told.append(ctypes.string_at(ctypes.c_int64.from_address(given + frame.ERROR_MESSAGE).value))
        return 1

    api, call = (np.zeros(32, np.int64) for _ in range(2))
    api[0], api[frame.API_ERROR // 8] = frame.API, ctypes.cast(create, ctypes.c_void_p).value
    call[0], call[frame.FRAME_API // 8], call[frame.FRAME_STAGE // 8] = frame.FRAME - 8, api.ctypes.data, frame.EXECUTE
    handle = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(frame.handler())
    assert handle(call.ctypes.data) == 1 and b"structs have other sizes" in told[0]


# In other processes


AGAIN = """
import sys, time
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
import numpy as np
from generated.jax import gru
y, _ = jax.jit(lambda x: gru(x, gru.init(2, 4)))(np.ones((5, 3, 2), np.float32))
print(float(y.sum()))
"""


def test_a_program_that_jax_keeps_serves_another_process(tmp_path: Path) -> None:
    """It holds no address of the process that made it."""
    command = [sys.executable, "-c", AGAIN, str(tmp_path)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout for _ in range(2)]
    assert any(tmp_path.iterdir()) and said[0] == said[1] == f"{float(gru(X, PARAMS)[0].sum())}\n"


EXPORTED = """
import sys
import jax, numpy as np
from jax import export
from generated.jax import TARGET, gru
params, x = gru.init(2, 4), np.ones((5, 3, 2), np.float32)
program = jax.jit(lambda x, params, state: gru(x, params, state))
given = x, params, gru.zero_state(3, 4)
if sys.argv[2] == "write":
    checks = [export.DisabledSafetyCheck.custom_call(TARGET)]
    open(sys.argv[1], "wb").write(export.export(program, disabled_checks=checks)(*given).serialize())
else:
    program.lower(*given)
    y, final = export.deserialize(open(sys.argv[1], "rb").read()).call(*given)
    print(float(y.sum()), type(final).__name__)
"""


def test_an_exported_program_is_read_in_another_process(tmp_path: Path) -> None:
    """It has parameters and states by name, as the function has."""
    said = [
        subprocess.run(
            [sys.executable, "-c", EXPORTED, str(tmp_path / "gru.bin"), do], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for do in ("write", "read")
    ]
    assert said == ["", f"{float(gru(X, PARAMS)[0].sum())} State\n"]


READY = """
import sys
import jax, numpy as np
from jax import export
from generated.jax import TARGET, gru, read_exported, softmax_cross_entropy as loss
params, x, k = gru.init(2, 4), np.ones((5, 3, 2), np.float32), np.ones((5, 3), np.int32)
program = jax.jit(lambda x, params, k: loss(gru(x, params)[0], loss.Params(), k=k)[0].sum())
if sys.argv[2] == "write":
    checks = [export.DisabledSafetyCheck.custom_call(TARGET)]
    open(sys.argv[1], "wb").write(export.export(program, disabled_checks=checks)(x, params, k).serialize(vjp_order=1))
    call = program
else:
    call = read_exported(open(sys.argv[1], "rb").read()).call
grads = jax.grad(call, 1)(x, params, k)
print(float(call(x, params, k)), type(grads).__name__, *[float(abs(grad).sum()) for grad in grads])
"""


def test_an_exported_program_is_read_where_nothing_was_traced(tmp_path: Path) -> None:
    """With its derivative; it tells what it calls, among that a loss with indices."""
    command = [sys.executable, "-c", READY, str(tmp_path / "program.bin")]
    said = [subprocess.run([*command, do], capture_output=True, text=True, check=True, cwd=ROOT).stdout for do in ("write", "read")]
    assert said[0] == said[1] and " Params " in said[0]


def test_programs_of_others_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [jax.export.DisabledSafetyCheck.custom_call(ours.TARGET)]
    written = jax.export.export(jax.jit(lambda x: gru(x, PARAMS)[0]), disabled_checks=checks)(X)
    text, data = written.mlir_module(), written.serialize()
    np.testing.assert_array_equal(ours.read_exported(data).call(X), gru(X, PARAMS)[0])
    other = SimpleNamespace(has_vjp=lambda: False)
    monkeypatch.setattr(jax.export, "deserialize", lambda data: other)
    other.mlir_module = lambda: text.replace(f"@{ours.TARGET}(", "@derive_0(")
    with pytest.raises(
        ValueError, match=f"the program calls `derive_0`, and this version of the package is `{ours.TARGET}`: export it anew"
    ):
        ours.read_exported(data)
    other.mlir_module = lambda: text.replace("generated.gru", "antigravity")
    with pytest.raises(ValueError, match="the program calls kernels of `antigravity`, which is neither in generated nor loaded"):
        ours.read_exported(data)


def test_the_package_imports_no_jax() -> None:
    assert python("import sys, generated.gru, generated.warm; print('jax' in sys.modules)") == "False\n"
    assert python("import sys, generated.jax; print(sorted({'derive', 'sympy', 'torch'} & {*sys.modules}))") == "[]\n"


# What is refused


LENGTHS = "lengths must be whole numbers of shape"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gru(X[0], PARAMS), r"gru: x has shape \(3, 2\), needs \(T, B, d\)"),
        (lambda: gru(np.ones((T, B, 7), np.float32), PARAMS), r"gru: (x has shape|params\.\w+ has shape)"),
        (lambda: gru(X.astype(np.float16), PARAMS), "gru: x must be float32 or float64, got float16"),
        (lambda: gru(jnp.asarray(X, jnp.bfloat16), PARAMS), "gru: x must be float32 or float64, got bfloat16"),
        (lambda: gru(X.astype(np.float64), PARAMS), "gru: x is float64, which JAX has with `jax_enable_x64` only"),
        (lambda: gru(X, PARAMS._replace(b_r=np.zeros(N, np.int32))), r"gru: params\.b_r must be float32 or float64, got int32"),
        (
            lambda: jax.jit(gru)(X, jax.tree.map(lambda value: value.astype(int), PARAMS), gru.zero_state(B, N)),
            r"gru: params\.W_r must be float32 or float64, got int32",
        ),
        (lambda: gru.init(D, N, dtype=np.float64), r"gru: W_r is float64, which JAX has with `jax_enable_x64` only"),
        (lambda: gru(X, tuple(PARAMS)), "gru: params must be a gru.Params with fields"),
        (lambda: gru(X, ours.lstm.init(D, N)), "gru: params must be a gru.Params with fields"),
        (lambda: gru(X, PARAMS, (jnp.zeros((B, N)),)), r"gru: state must be a gru.State with fields \('h',\)"),
        (lambda: gru(X, PARAMS, gru.zero_state(B + 1, N)), r"gru: state\.h has shape \(4, 4\), needs \(B, n\) = \(3, 4\)"),
        (lambda: gru(X, PARAMS, lengths=np.array([1, 2])), rf"gru: {LENGTHS} \(B,\) = \(3,\), got int64 of shape \(2,\)"),
        (lambda: jax.jit(lambda n: gru(X, PARAMS, lengths=n))(np.ones(3, np.float32)), f"gru: {LENGTHS}"),
        (lambda: gru(X, PARAMS, lengths=np.array([1, 2, 9])), "gru: lengths must lie in 0 … T = 5, got 1 … 9"),
        (lambda: gru(X, PARAMS, lengths=[[1], [2, 3]]), "gru: lengths must be an array of numbers: "),
        (
            lambda: jax.export.export(jax.jit(gru))(jax.ShapeDtypeStruct(jax.export.symbolic_shape("5, b, 2"), np.float32), PARAMS),
            r"gru: x has shape \(5, b, 2\), needs sizes that are numbers",
        ),
        (lambda: gru("x", PARAMS), "gru: x must be an array of numbers, got str of dtype <U1"),
        (lambda: gru(X, PARAMS._replace(b_r=None)), r"gru: params\.b_r must be an array of numbers, got NoneType of dtype object"),
        (lambda: gru(X, PARAMS, reverse=2), "gru: reverse must be True or False, got 2"),
        (lambda: ours.function("gru", order=3), "order must be 1 or 2, got 3"),
        (lambda: ours.function("grru"), "generated has no cell `grru`"),
        (lambda: ours.function(3), "needs the name of a cell, a generated module, or a derive.Cell, got int"),
    ],
)
def test_errors_name_the_argument(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_errors_of_calls() -> None:
    with pytest.raises(TypeError, match=r"gru: needs x, got x, z"):
        gru(X, PARAMS, z=X)
    with pytest.raises(TypeError, match="softmax_cross_entropy: needs a, k, got a"):
        loss(X, loss.Params())
    with pytest.raises(AttributeError, match="generated has no cell `grru`"):
        ours.grru  # noqa: B018
    assert "gru" in dir(ours) and repr(gru) == "<generated.gru as a function of JAX>"
    with pytest.raises(ImportError):
        from generated.jax import grru  # noqa: F401


BY_XLA = (ValueError, jax.errors.JaxRuntimeError)  # it depends on when the program has ended


def test_indices_are_checked_where_they_are_known() -> None:
    """When a program runs: XLA's error has our sentence."""
    right, wrong = np.zeros((T, B), np.int32), np.full((T, B), D, np.int32)
    program = jax.jit(lambda x, k: loss(x, loss.Params(), k=k)[0])
    want = loss.module.infer(X, loss.module.Params(), k=right)[0]
    np.testing.assert_array_equal(program(X, right), want)
    for numbers in (wrong, -1 - right):
        with pytest.raises(BY_XLA, match="derive: softmax_cross_entropy: k must lie in 0 … 1"):
            jax.block_until_ready(program(X, numbers))
    with jax.enable_x64(True), pytest.raises(BY_XLA, match="derive: softmax_cross_entropy: k must lie in 0 … 1"):
        jax.block_until_ready(program(X, right + np.int64(2**32)))
    with pytest.raises(ValueError, match="softmax_cross_entropy: k must hold integers"):
        program(X, right.astype(np.float32))


def test_a_function_that_is_not_there_is_told() -> None:
    """As in a process that runs a program which another one has exported."""
    assert not lowering.refused()  # which registers the handler
    given = (X, *PARAMS, np.zeros((B, N), np.float32))
    specs = tuple((value.shape, np.dtype(value.dtype)) for value in given)
    plan = lowering.plan("infer", Form(Passes(generated("gru"))), specs)
    words = plan.words.copy()
    words[frame.HEAD] += 1  # the number of the first function
    program = jax.jit(partial(replace(plan, words=words), lowering.TARGET))
    with pytest.raises(jax.errors.JaxRuntimeError, match="this program was made in another process"):
        jax.block_until_ready(program(*given))


def test_nothing_is_said_of_a_jax_that_was_tried() -> None:
    lowering.refused.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        version.tell()
        assert lowering.refused() == ""
