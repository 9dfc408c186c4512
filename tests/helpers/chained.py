"""All values of a chain of second order at a problem, by the interpreter: each link is given what the earlier ones hand out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from derive.calculus.chain import BACKWARD, FORWARD, Derivation, Link
from derive.calculus.ir import Recurrence
from derive.calculus.second import ALONG, HESSIAN, THROUGH, role
from derive.language.names import previous
from derive.verify.constants import constants_of
from derive.verify.interpret import run
from derive.verify.problem import Problem

Arrays = dict[str, np.ndarray]


def values(found: Derivation, p: Problem, along: Mapping[str, np.ndarray], curvature: float) -> dict[str, Arrays]:
    """Return every value of every link, by link and name: of a step `(T, B, ·)`, static ones as they are.

    Parameters
    ----------
    found : Derivation
        With the links of second order.
    p : Problem
    along : mapping
        The direction, by the names of the problem's arrays.
    curvature : float
        For a Hessian times a vector: how much dy changes by the output.
    """
    cell = p.cell
    start = {**p.arrays, **constants_of(cell)}
    given = {(f"params.{n}" if n in cell.parameters else n): value for n, value in along.items()}
    given |= {f"state.{state}": given.pop(previous(state)) for state in cell.states}
    made: dict[str, Arrays] = {}
    handed: dict[str, Arrays] = {}  # by link and role
    for link in found:
        known = dict(given)
        if link.name == BACKWARD:
            known = {"dy": p.dy, **{f"dfinal.{state}": value for state, value in p.dfinal.items()}}
        if link.name == THROUGH:
            known = kept(handed["backward_backward"])
        if link.name == HESSIAN:
            moved = kept(handed[ALONG])
            known |= moved | {"dy": curvature * moved[f"kept.{cell.output}"]}
        known["first.dy"] = p.dy
        made[link.name] = run_link(found, link, p, made, start, known)
        handed[link.name] = {role(found, link, n): made[link.name][n] for n in link.handed} if link.of else {}
    return made


def kept(handed: Arrays) -> Arrays:
    return {name: value for name, value in handed.items() if name.startswith("kept.")}


def run_link(found: Derivation, link: Link, p: Problem, made: Mapping[str, Arrays], start: Arrays, known: Arrays) -> Arrays:
    """Return every value of a link."""
    rec, inputs = everything(link.recurrence), {}
    for name in rec.inputs:
        if name in link.reads:
            inputs[name] = made[link.reads[name]][name]
        elif not link.of or name in found[FORWARD].recurrence.types:
            inputs[name] = start[name]
        else:
            inputs[name] = known.get(role(found, link, name), zeros(rec, name, p))
    carries = {carry.previous for carry in rec.carries}
    result = run(rec, inputs, p.sizes, p.steps, p.batch)
    return {name: value for name, value in inputs.items() if name not in carries} | result.sequences | result.results


def everything(rec: Recurrence) -> Recurrence:
    """Return a recurrence that hands out all that it computes."""
    steps = (*(carry.previous for carry in rec.carries), *(eq.name for eq in rec.body))
    return replace(rec, written=steps, results=tuple(eq.name for eq in (*rec.prologue, *rec.accumulators, *rec.epilogue)))


def zeros(rec: Recurrence, name: str, p: Problem) -> np.ndarray:
    kind = rec.types[name]
    lead = ((p.batch,) if kind.batched else ()) + ((p.sizes[rec.heads],) if kind.headed else ())
    steps = (p.steps,) if name in rec.sequences else ()
    return np.zeros((*steps, *lead, *(size.evaluate(p.sizes) for size in kind.shape)))
