"""`derive bench --cuda`: cells are compared on a device, and the rows of the table printed as they come."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...cells.load import cells_named
from ...package.memory import compile_all
from ...runtime.cuda.current import current
from ...runtime.cuda.kind import KINDS
from ..compare import Settings, failure
from ..measure import Limits
from ..options import RUNS, number, size
from ..phases import ALONE
from . import clock, device
from .cases import BUILT_IN, DEFAULT, LOOPS, chosen, peers_of
from .device_record import DeviceRecord, load
from .device_table import LEGEND, about, aligned, cells_of_row, heads, markdown, remarks
from .match import Match, compare

DESCRIPTION = "Measure kernels on the CUDA device beside other ways to run the same cells, in interleaved runs, and print a table."
EPILOG = f"""\
Without --cells, --kinds and --sizes, {len(DEFAULT)} cases are measured:
{chr(10).join(f"  {case.cell} {case.kind} {','.join(map(str, case.size))}" for case in DEFAULT)}
With any of them, every cell in every kind and size (default: lstm gru, bfloat16, 16,1024,768,768).
Peers: torch.nn, the layers of cuDNN, for the cells that it has; for others eager and compile."""


def main(argv: Sequence[str]) -> int:
    """Run the command; return 0, or 1 if a file or a cell is wrong or there is no device that can be used."""
    options = _parser().parse_args(argv)
    try:
        if options.table:
            print(markdown(load(options.table)))
            return 0
        current()
        device.require_torch()
        matches = _matches(options)
    except (RuntimeError, ValueError) as error:
        print(f"derive bench --cuda: {error}", file=sys.stderr)
        return 1
    _measured(options, matches)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="derive bench --cuda", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, peers = parser.add_argument, (*BUILT_IN, *LOOPS)
    add("--cells", nargs="+", metavar="NAME", help="names or files of cells")
    add("--kinds", nargs="+", metavar="KIND", choices=KINDS, help=f"of number: {' '.join(KINDS)}")
    add("--sizes", nargs="+", metavar="B,T,d,n", type=size)
    add("--peers", nargs="*", metavar="PEER", choices=peers, help=f"instead of those that are usual for a cell: {' '.join(peers)}")
    add("--phases", nargs="+", metavar="PHASE", choices=ALONE, default=ALONE, help=f"{' or '.join(ALONE)} (default: both)")
    add("--runs", type=number, default=RUNS, metavar="N", help=f"counted runs of each; fewer if they take long (default: {RUNS})")
    add("--json", type=Path, metavar="FILE", help="write everything there, after each row")
    add("--table", type=Path, metavar="FILE.json", help="measure nothing: print what --json wrote as Markdown")
    return parser


def _matches(options: argparse.Namespace) -> list[Match]:
    """Return what is to be measured; CellError if there is no such cell."""
    cases = chosen(options.cells, options.kinds, options.sizes)
    cells = {name: cells_named(name) for name in dict.fromkeys(case.cell for case in cases)}
    modules = compile_all(dict.fromkeys(cell for found in cells.values() for cell in found), cuda=True)
    return [
        Match(case, cell, modules[cell.name], peers_of(cell.name) if options.peers is None else tuple(options.peers))
        for case in cases
        for cell in cells[case.cell]
    ]


def _measured(options: argparse.Namespace, matches: Sequence[Match]) -> None:
    """Measure; print each row when it is there, and write what there is to the file that was asked for."""
    settings = Settings(phases=tuple(options.phases), limits=Limits(options.runs), clock=clock.warmed())
    record, peers = DeviceRecord(device.describe(), options.runs, (), ()), tuple(dict.fromkeys(p for m in matches for p in m.peers))
    print("\n".join([*about(record), "", aligned(heads(peers), peers)]), flush=True)
    for match in matches:
        try:
            for row in compare(match, settings):
                record = replace(record, rows=(*record.rows, row))
                print(aligned(cells_of_row(row, peers), peers), flush=True)
        except Exception as error:  # what fails is a remark below the table, not its end
            record = replace(record, notes=(*record.notes, f"{match}: {failure(error)}"))
            print(record.notes[-1], flush=True)
        if options.json:
            options.json.write_text(record.json(), encoding="utf-8")
    print("\n".join(["", *remarks(record), *LEGEND]))
