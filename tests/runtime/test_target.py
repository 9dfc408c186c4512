"""Processors that are not this one: what is known of them, the code of their loops, and some of the other tests, run as them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, ordinary
from llvmlite import binding, ir

from derive.runtime.cpu import elementary, real
from derive.runtime.cpu.real import FLOAT32, FLOAT64, Format, Real
from derive.runtime.cpu.target import Target, describe

LINUX, ARM, MAC = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin23.0.0"
KNOWN = [
    (LINUX, "x86-64", "", Target("x86_64", 16, 16, False)),
    (LINUX, "generic", "", Target("x86_64", 16, 16, False)),
    (LINUX, "nehalem", "", Target("x86_64", 16, 16, False)),
    (LINUX, "sandybridge", "", Target("x86_64", 32, 16, False)),
    (LINUX, "haswell", "", Target("x86_64", 32, 16, True)),
    (LINUX, "alderlake", "", Target("x86_64", 32, 16, True)),
    (LINUX, "skylake-avx512", "", Target("x86_64", 64, 32, True)),
    (LINUX, "znver4", "", Target("x86_64", 64, 32, True)),
    (LINUX, "znver4", "-avx512f", Target("x86_64", 32, 16, True)),
    (LINUX, "haswell", "-avx", Target("x86_64", 16, 16, False)),
    (LINUX, "haswell", "-fma", Target("x86_64", 32, 16, False)),
    (LINUX, "x86-64", "+avx512f", Target("x86_64", 64, 32, True)),
    (ARM, "generic", "", Target("aarch64", 16, 32, True)),
    (ARM, "neoverse-v1", "", Target("aarch64", 16, 32, True)),
    (MAC, "apple-m1", "", Target("arm64", 16, 32, True)),
]


@pytest.fixture(scope="module", autouse=True)
def _every_processor() -> None:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


@pytest.mark.parametrize(("triple", "cpu", "features", "expected"), KNOWN)
def test_what_is_known(triple: str, cpu: str, features: str, expected: Target) -> None:
    assert describe(triple, cpu, features) == expected


# The code of loops


def loop(formula: Callable[[Real], Real], form: Format) -> ir.Module:
    """Return the function that writes `formula` of 1024 numbers into other memory."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [form.type.as_pointer()] * 2), "run")
    for pointer in function.args:
        pointer.add_attribute("noalias")
    entry, body, done = (function.append_basic_block(name) for name in ("entry", "body", "done"))
    builder = ir.IRBuilder(entry)
    builder.branch(body)
    builder.position_at_end(body)
    j = builder.phi(ir.IntType(64))
    source, target = (builder.gep(pointer, [j]) for pointer in function.args)
    builder.store(formula(Real(builder, builder.load(source), form)).value, target)
    following = builder.add(j, j.type(1))
    j.add_incoming(j.type(0), entry)
    j.add_incoming(following, body)
    builder.cbranch(builder.icmp_signed("<", following, j.type(1024)), body, done)
    ir.IRBuilder(done).ret_void()
    return module


def assembly(module: ir.Module, triple: str, cpu: str) -> str:
    """Return what Numba's passes and LLVM make of a module."""
    module.triple = triple
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3, codemodel="default")
    parsed, passes = binding.parse_assembly(str(module)), binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    return machine.emit_assembly(parsed)


# Packed arithmetic, that of single numbers, and calls, in assembly; `s` or `d` stands for %.
X86 = (r"\tv?(?:add|sub|mul|div|fn?m(?:add|sub)\d+)p%\t", r"\tv?(?:add|sub|mul|div|fn?m(?:add|sub)\d+)s%\t", r"\tcallq?\t|fmaf?\b")
NEON = (r"\tf(?:add|sub|mul|div|mla|mls)(?:\tv\d+\.|\tz\d+\.|\.)", r"\tf(?:add|sub|mul|div|madd|msub)\t%\d", r"\tbl?\t_?fma")


@pytest.mark.parametrize("form", [FLOAT32, FLOAT64], ids=["float32", "float64"])
@pytest.mark.parametrize(("triple", "cpu"), list(dict.fromkeys((triple, cpu) for triple, cpu, *_ in KNOWN)))
def test_loops_are_packed_and_call_nothing(triple: str, cpu: str, form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    target = describe(triple, cpu, "")
    for module in (real, elementary):
        monkeypatch.setattr(module, "TARGET", target)
    patterns = [pattern.replace("%", "s" if form is FLOAT32 else "d") for pattern in (X86 if triple == LINUX else NEON)]
    for name in ("exp", "tanh", "sigmoid", "log", "softplus", "sin", "erf"):
        text = assembly(loop(getattr(elementary, name), form), triple, cpu)
        packed, single, calls = (len(re.findall(pattern, text)) for pattern in patterns)
        assert packed >= 5 and single == calls == 0, (name, packed, single, calls)


# Other tests, as another processor

CELLS = ("rnn", "gru_v3")  # one product for all steps, and two phases a step; the second in both dtypes
PRODUCTS = ("more_than_one_block", "strides_and_transposes", "pack_layout", "nan_and_infinity_stay_in_their_row")
FUNCTIONS = ("exp", "tanh", "sigmoid", "log", "sin")
SLICE = [
    *(f"tests/verify/test_gradients.py::test_gradients[{name}]" for name in CELLS),
    "tests/verify/test_torch.py::test_layer_is_that_of_pytorch[rnn]",
    *(f"tests/runtime/test_product.py::test_{name}" for name in PRODUCTS),
    *(f"tests/runtime/test_spikes.py::test_{name}" for name in ("zeros_are_left_out_where_they_are_many", "small_products_are_dense")),
]
REST = [
    *(f"tests/verify/test_{name}.py" for name in ("gradients", "torch", "zoo")),
    *(f"tests/runtime/test_{name}.py" for name in ("vector", "product", "spikes", "apart")),
    "tests/codegen/test_assembly.py",
]
NEEDED = {"x86-64": "sse2", "nehalem": "sse4.2", "sandybridge": "avx", "x86-64-v3": "fma", "haswell": "fma", "skylake-avx512": "avx512vl"}


def run_as(cpu: str, tests: list[str], cache: Path) -> str:
    """Run tests in a process that compiles for another processor, into a folder of its own; return what pytest prints."""
    if platform.machine() not in ("x86_64", "AMD64") or not binding.get_host_cpu_features().get(NEEDED[cpu]):
        pytest.skip(f"this processor cannot run code for {cpu}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTEST_"))}
    environment |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(cache / "processors")}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-q", *tests]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("cpu", "form"), ordinary([("x86-64", "unfused"), ("x86-64-v3", "fused")], [("x86-64", "unfused")]))
def test_a_slice_as_another_processor(cpu: str, form: str, kernel_cache: Path) -> None:
    cases = [f"{form}-{name}-{kind}" for name in FUNCTIONS for kind in ("float64", "float32")]
    errors = [f"tests/runtime/test_vector.py::test_error_over_the_whole_range[{case}]" for case in cases]
    assert "skipped" not in run_as(cpu, [*SLICE, *errors], kernel_cache)


@pytest.mark.exhaustive
@pytest.mark.parametrize("cpu", ["x86-64", "nehalem", "sandybridge", "haswell", "skylake-avx512"])
def test_the_rest_as_another_processor(cpu: str, kernel_cache: Path) -> None:
    run_as(cpu, REST, kernel_cache)
