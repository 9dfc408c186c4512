"""`derive bench`: cells are compared on the CPU, and the rows of the table printed as they come."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType

from ..cells.load import cells_named
from ..language.definition import Definition
from ..package.memory import compile_all
from ..runtime.cpu import threads as runtime_threads
from . import chart, layers, machine, memory, network, profile, pytorch, second, stamps
from .compare import Settings, compare, size_for
from .contender import Size, threads_of
from .goals import FIRST_ORDER
from .measure import BRIEF, Clock, Limits, wait_until_quiet
from .options import RUNS, parse, plan
from .peak import peak
from .peers import PEERS
from .phases import HVP, KEPT, MEMORY, MODEL, PHASES, SECOND, TORCH
from .record import Record, Row, load
from .table import LEGEND, SECOND_LEGEND, about, choices, gaps, goals, header, line, markdown, mean_lines, short

Modules = Sequence[tuple[Definition, ModuleType]]


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str
        See `derive.bench.options`.

    Returns
    -------
    int
        0, 1 if a file or a cell is wrong or a chart cannot be drawn; wrong usage ends the process with 2.
    """
    options = parse(argv)
    if options.chart and not chart.available():
        return _fail("--chart needs matplotlib: pip install matplotlib")
    try:
        if options.table:
            print(markdown(load(options.table)))
            return 0
        if options.profile:
            return _profiled(options, _cells(options.cells))
        if {*options.phases} & {*TORCH} and not importlib.util.find_spec("torch"):
            return _fail("layers of PyTorch need torch: pip install torch")
        order = 2 if {*options.phases} & {*SECOND} else 1
        found = load(options.source) if options.source else _modules(_cells(options.cells), order)
        if isinstance(found, Record) and not chart.drawn(found):
            raise ValueError(f"{options.source} has nothing to draw: no row of {', '.join(PHASES)}")
    except ValueError as error:
        return _fail(str(error))
    record = found if isinstance(found, Record) else _measured(options, found)
    if options.chart:
        chart.draw(record, options.chart)
        print(f"chart: {options.chart}")
    return 0


def _fail(message: str) -> int:
    print(f"derive bench: {message}", file=sys.stderr)
    return 1


def _cells(names: Sequence[str]) -> list[Definition]:
    """Return cells by their names or files; CellError if there is no such cell."""
    return list(dict.fromkeys(cell for name in names for cell in cells_named(name)))


def _modules(cells: Sequence[Definition], order: int) -> Modules:
    """Return cells with their generated modules."""
    modules = compile_all(cells, order=order)
    return [(cell, modules[cell.name]) for cell in cells]


def _profiled(options: argparse.Namespace, cells: Sequence[Definition]) -> int:
    """Print where the time of each pass goes."""
    if not stamps.SUPPORTED:
        return _fail("--profile needs the clock of a POSIX system")
    runtime_threads.set_threads(options.threads)
    order = 2 if options.second else 1
    found = [row for cell in cells for row in profile.profile(cell, options.sizes, options.dtype, options.threads, order)]
    told = machine.describe(), options.dtype, options.threads, peak(options.dtype)
    if options.json:
        options.json.write_text(profile.as_json(found, *told), encoding="utf-8")
    print(profile.markdown(found, *told))
    return 0


def _measured(options: argparse.Namespace, modules: Modules) -> Record:
    """Measure; print each row when it is there, and write what there is to the file that was asked for."""
    notes = _set_threads(options.threads, options.peers, options.phases, [module for _, module in modules])
    notes += [busy] if (busy := machine.busy()) else []
    if not options.runs:
        notes.append(f"where calls are short there are more runs, until those of one contender took {BRIEF:g} s")
    notes += _absences(options.phases, [cell for cell, _ in modules])
    clock = Clock(quiet=wait_until_quiet if options.pauses else None)
    limits = Limits(options.runs) if options.runs else Limits(RUNS, brief=BRIEF)
    settings = Settings(options.dtype, tuple(options.peers), tuple(options.phases), limits, clock)
    record = Record(
        machine=machine.describe(),
        dtype=options.dtype,
        threads=options.threads,
        runs=limits.runs,
        pauses=options.pauses,
        peak=peak(options.dtype),
        peers=(*settings.peers, *([FIRST_ORDER] if {HVP, KEPT} & {*options.phases} else [])),
        notes=tuple(notes),
        rows=(),
    )
    print("\n".join([*about(record), "", header(record.peers)]), flush=True)
    for row in _rows(modules, plan(options), settings):
        # The best of many: a machine that is shared is slow for a while now and then.
        record = replace(record, rows=(*record.rows, row), peak=max(record.peak, peak(options.dtype)))
        print(line(row, record), flush=True)
        if options.json:
            options.json.write_text(record.json(), encoding="utf-8")
    legend = [*LEGEND, *(SECOND_LEGEND if {*options.phases} & {*SECOND} else ())]
    table = [goals(record), ""] if goals(record) else []
    print("\n".join(["", *gaps(record), *choices(record), *short(record), "", *table, *mean_lines(record), *legend]))
    return record


def _absences(phases: Sequence[str], cells: Sequence[Definition]) -> list[str]:
    """Return what rows there are not, and why."""
    notes = [f"no row for a model: {reason}" for cell in cells if MODEL in phases and (reason := network.absence(cell))]
    notes += [reason for cell in cells for phase in phases if phase in SECOND and (reason := second.absence(cell, phase))]
    for cell in cells:
        reasons = [layers.absence(cell, phase) for phase in phases if phase in TORCH]
        notes += reasons if all(reasons) else []  # others have their rows in other phases
    return [*notes, *([reason] if MEMORY in phases and (reason := memory.absence()) else [])]


def _rows(modules: Modules, planned: Mapping[Size, Sequence[str]], settings: Settings) -> Iterator[Row]:
    for cell, module in modules:
        found: dict[Size, dict[str, None]] = {}
        for size, phases in planned.items():  # two sizes may be one to a cell
            found.setdefault(size_for(cell, size), {}).update(dict.fromkeys(phases))
        for size, once in found.items():
            yield from compare(cell, module, size, replace(settings, phases=tuple(once)))


def _set_threads(threads: int, peers: Sequence[str], phases: Sequence[str], modules: Iterable[ModuleType]) -> list[str]:
    """Let everyone use as many threads; return what is to be said about peers: those that are not there, or go their own way."""
    runtime_threads.set_threads(threads)
    if {*phases} & {*TORCH}:  # they run on PyTorch's, whoever is beside them
        pytorch.set_threads(threads)
    for module in modules:  # threads are common to packages of one version, and this may be another
        threads_of(module).set_threads(threads)
    missing = {PEERS[name].package: [p for p in peers if PEERS[p].package == PEERS[name].package] for name in peers}
    notes = [f"{package} is not installed: no {', '.join(names)}" for package, names in missing.items() if not PEERS[names[0]].installed]
    said = [PEERS[name].set_threads(threads) for name in peers if PEERS[name].installed]
    return [*notes, *dict.fromkeys(note for note in said if note)]
