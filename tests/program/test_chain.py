"""A chain of more than two links, made by `adjoint` alone, through passes, printer and layer: what nothing may assume is a pair."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

from derive.calculus.chain import BACKWARD, FORWARD, Derivation
from derive.calculus.derivation import differentiate
from derive.cells import get
from derive.codegen.cpu.module import module
from derive.package.contents import files
from derive.package.folder import write
from derive.program.pipeline import compiled
from derive.verify.evaluate import unroll
from derive.verify.problem import Problem, sample

Array = np.ndarray
TWICE, THROUGH = "backward_backward", "through"
CELLS = ("rnn", "gru", "lstm_layernorm")


def chain(name: str) -> Derivation:
    """Return the links of double backward: the adjoint of the backward pass, and that of the forward pass by all that it keeps."""
    cell = get(name)
    found = differentiate(cell).differentiated(TWICE, BACKWARD, tag="C")
    return found.differentiated(THROUGH, FORWARD, seeds=dict.fromkeys((cell.output, *found.saved(FORWARD))), tag="D")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ModuleType]]:
    """The modules printed from the chains, in a package of their own."""
    folder = tmp_path_factory.mktemp("chains")
    package = dict(files([get(name) for name in CELLS], cuda=False))
    for name in CELLS:
        package[f"{name}.py"] = module(get(name), compiled(chain(name)), "a chain of four links", "nothing")
    write(package, folder / "chained")
    sys.path.insert(0, str(folder))
    yield {name: importlib.import_module(f"chained.{name}") for name in CELLS}
    sys.path.remove(str(folder))


def by_chain(made: ModuleType, p: Problem, second: dict[str, Array], **options: object) -> dict[str, Array]:
    """Return the gradients of Σ ⟨second, gradient⟩ by all that there is, by the four passes of a module."""
    cell, links = p.cell, chain(p.cell.name)
    back, twice, through = (links[name] for name in (BACKWARD, TWICE, THROUGH))
    params, state = made.Params(*(p.arrays[n] for n in cell.parameters)), made.State(*(p.arrays[f"{s}_prev"] for s in cell.states))
    _, _, tape = made.forward(p.arrays["x"], params, state, **options)
    _, kept = made.backward(p.dy, tape, made.State(*(p.dfinal[s] for s in cell.states)), second=True)
    given = {twice.cotangent[back.cotangent[n]]: second[n] for n in ("x", *cell.parameters)}
    given |= {carry.previous: second[f"{s}_prev"] for s, carry in zip(cell.states, twice.recurrence.carries, strict=True)}
    given |= {back.cotangent[cell.output]: p.dy}
    found, nothing = made.backward_backward({n: given[n] for n in made.LAYER.links[TWICE].given}, tape, {BACKWARD: kept})
    assert nothing is None
    seeds = {through.cotangent[n]: found.get(twice.cotangent.get(n, ""), np.zeros_like(p.dy)) for n in through_seeds(links)}
    seeds |= {carry.previous: np.zeros_like(p.dfinal[s]) for s, carry in zip(cell.states, through.recurrence.carries, strict=True)}
    rest, _ = made.through(seeds, tape, {})
    result = {n: rest[through.cotangent[n]] + found.get(twice.cotangent.get(n, ""), 0.0) for n in ("x", *cell.parameters)}
    result["dy"] = found[twice.cotangent[back.cotangent[cell.output]]]
    for s, ahead, behind in zip(cell.states, twice.recurrence.carries, through.recurrence.carries, strict=True):
        result |= {f"dfinal {s}": found[ahead.value], f"{s}_prev": rest[behind.value]}
    return result


def through_seeds(links: Derivation) -> list[str]:
    """Return the values of a step whose cotangents the last link is given."""
    link = links[THROUGH]
    return [n for n, cotangent in link.cotangent.items() if link.recurrence.labels[cotangent].kind == "seed"]


def by_torch(p: Problem, second: dict[str, Array]) -> dict[str, Array]:
    """Return the same by PyTorch, through the cell's own text."""
    cell = p.cell
    leaves = {n: torch.tensor(v, requires_grad=True) for n, v in p.arrays.items()}
    seeds = {"dy": p.dy} | {f"dfinal {s}": v for s, v in p.dfinal.items()}
    cotangents = {n: torch.tensor(v, requires_grad=True) for n, v in seeds.items()}
    params, state = {n: leaves[n] for n in cell.parameters}, {s: leaves[f"{s}_prev"] for s in cell.states}
    y, final = unroll(cell, {"x": leaves["x"]}, params, state, torch)
    loss = (y * cotangents["dy"]).sum() + sum((final[s] * cotangents[f"dfinal {s}"]).sum() for s in cell.states)
    first = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
    outer = sum((g * torch.tensor(second[n])).sum() for n, g in zip(leaves, first, strict=True))
    wanted = leaves | cotangents
    found = torch.autograd.grad(outer, list(wanted.values()))
    return {n: g.numpy() for n, g in zip(wanted, found, strict=True)}


@pytest.mark.parametrize("name", CELLS)
def test_double_backward_by_four_links_is_pytorchs(name: str, modules: dict[str, ModuleType]) -> None:
    p = sample(get(name), steps=4, batch=3, seed=5)
    random = np.random.default_rng(6)
    second = {n: random.standard_normal(v.shape) for n, v in p.arrays.items()}
    found, expected = by_chain(modules[name], p, second), by_torch(p, second)
    assert found.keys() == expected.keys()
    for n, value in expected.items():
        assert np.abs(value).max() > 1e-6, f"{n}: the test would see nothing"
        np.testing.assert_allclose(found[n], value, rtol=1e-10, atol=1e-10 * np.abs(value).max(), err_msg=n)


@pytest.mark.parametrize("name", CELLS)
def test_sequences_of_unequal_length_are_those_by_themselves(name: str, modules: dict[str, ModuleType]) -> None:
    p = sample(get(name), steps=4, batch=3, seed=7)
    random, lengths = np.random.default_rng(8), [2, 4, 1]
    second = {n: random.standard_normal(v.shape) for n, v in p.arrays.items()}
    found = by_chain(modules[name], p, second, lengths=np.array(lengths))
    total = {n: np.zeros_like(p.arrays[n]) for n in p.cell.parameters}
    for b, length in enumerate(lengths):
        alone = by_torch(_alone(p, b, length), {n: _part(p, n, v, b, length) for n, v in second.items()})
        for n, value in alone.items():
            if n in total:
                total[n] += value
            else:
                got = found[n][:length, b] if n in ("x", "dy") else found[n][b]
                np.testing.assert_allclose(got, value.reshape(got.shape), rtol=1e-10, atol=1e-11, err_msg=f"{n}, sequence {b}")
    for n, value in total.items():
        np.testing.assert_allclose(found[n], value, rtol=1e-10, atol=1e-10 * np.abs(value).max(), err_msg=n)


def _alone(p: Problem, b: int, length: int) -> Problem:
    arrays = {n: _part(p, n, v, b, length) for n, v in p.arrays.items()}
    return Problem(p.cell, p.sizes, length, 1, arrays, p.dy[:length, b : b + 1], {s: v[b : b + 1] for s, v in p.dfinal.items()})


def _part(p: Problem, name: str, value: Array, b: int, length: int) -> Array:
    """Return what one sequence has of an array."""
    if name in p.cell.parameters:
        return value
    return value[:length, b : b + 1] if name in p.cell.inputs else value[b : b + 1]


def test_a_link_is_asked_for_by_name() -> None:
    links = chain("rnn")
    assert [link.name for link in links] == [FORWARD, BACKWARD, TWICE, THROUGH]
    assert [link.recurrence.reverse for link in links] == [False, True, False, True]
    assert {*links[TWICE].reads.values()} == {FORWARD, BACKWARD} and {*links[THROUGH].reads.values()} == {FORWARD}
    with pytest.raises(KeyError, match="rnn has no link `third`: it has forward, backward"):
        links["third"]
