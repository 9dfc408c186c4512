"""The options of `derive bench`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import chart
from .contender import Size
from .peers import LIMIT, PEERS, USUAL
from .phases import BOTH, CELL, DOUBLE, GRAD, NO_GRAD, PACKED, PHASES, SECOND, STEP, TORCH

CELLS = ("lstm", "gru", "rnn", "lstm_peephole", "mut1", "slstm", "lstm_layernorm")
SIZES: tuple[Size, ...] = (
    (1, 100, 64, 128),
    (1, 100, 256, 256),
    (8, 100, 64, 128),
    (32, 100, 64, 128),
    (32, 100, 128, 256),
    (16, 1000, 32, 64),
    (64, 100, 512, 512),
    (128, 50, 1024, 1024),
)
SECOND_CELLS, SECOND_SIZES = ("lstm", "gru", "rnn"), ((32, 100, 64, 128),)
TORCH_CELLS = (*SECOND_CELLS, "lstm_peephole")
SMALL: tuple[Size, ...] = ((1, 10, 8, 8),)
TORCH_SIZES: Mapping[str, tuple[Size, ...]] = {
    STEP: SIZES,
    **dict.fromkeys((PACKED, DOUBLE, CELL), SECOND_SIZES),
    **dict.fromkeys((NO_GRAD, GRAD, BOTH), SMALL),
}
RUNS = 21
DESCRIPTION = "Measure kernels beside other ways to run the same cells, in interleaved runs, and print a table."


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; end the process with a message if they are wrong."""
    parser = _parser()
    options = parser.parse_args(argv)
    _complete(options)
    if options.source and not options.chart:
        parser.error("--from FILE.json needs --chart FILE: what is to be drawn from it")
    if options.torch and options.profile:
        parser.error("--profile has no layers: it cannot go with --torch")
    if options.chart and options.chart.suffix not in chart.SUFFIXES:
        parser.error(f"--chart: {options.chart} must end in {', '.join(chart.SUFFIXES)}")
    if options.chart and not options.source and not {*options.phases} & {*PHASES}:
        parser.error(f"--chart draws the phases {', '.join(PHASES)}, of which none is measured")
    for name, path in (("--json", options.json), ("--chart", options.chart)):
        if path and not path.parent.is_dir():
            parser.error(f"{name}: there is no folder {path.parent}")
    return options


def _complete(options: argparse.Namespace) -> None:
    """Set what was not said: for --second and --torch, what is usual there."""
    if options.torch:
        usual = _usual(TORCH_CELLS, TORCH_SIZES, _of_layers(), TORCH)
    elif options.second:
        usual = _usual(SECOND_CELLS, SECOND_SIZES, _of_second(), SECOND)
    else:
        usual = _usual(CELLS, SIZES, USUAL, PHASES)
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def _usual(cells: Sequence[str], sizes: object, peers: Sequence[str], phases: Sequence[str]) -> dict[str, object]:
    return {"cells": cells, "sizes": sizes, "peers": peers, "phases": phases}


def _of_second() -> tuple[str, ...]:
    return tuple(name for name, peer in PEERS.items() if peer.second)


def _of_layers() -> tuple[str, ...]:
    return tuple(name for name, peer in PEERS.items() if peer.layers)


def plan(options: argparse.Namespace) -> dict[Size, list[str]]:
    """Return the phases of each size: all of them, unless each phase has sizes of its own."""
    found: dict[Size, list[str]] = {}
    for phase in options.phases:
        for each in options.sizes[phase] if isinstance(options.sizes, Mapping) else options.sizes:
            found.setdefault(each, []).append(phase)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="derive bench", description=DESCRIPTION, epilog=_peers(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cells", nargs="+", metavar="NAME", help=f"names or files of cells (default: {' '.join(CELLS)})")
    add("--sizes", nargs="+", metavar="B,T,d,n", type=size, help=f"(default: {_shown(SIZES)})")
    add("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")
    add("--threads", type=number, default=2, metavar="N", help="threads of kernels and peers (default: 2)")
    add("--runs", type=number, metavar="N", help=f"counted runs of each; fewer if they take long (default: {RUNS}, more if they are short)")
    add(
        "--peers",
        nargs="*",
        metavar="PEER",
        choices=PEERS,
        help=f"(default: those below but {', '.join(name for name in PEERS if name not in USUAL)})",
    )
    add("--phases", nargs="+", metavar="PHASE", choices=(*PHASES, *SECOND, *TORCH), help=_phases())
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--second", action="store_true", help=_second())
    kinds.add_argument("--torch", action="store_true", help=_torch())
    add("--pauses", action="store_true", help="wait before each turn until the threads of the one before rest")
    add("--json", type=Path, metavar="FILE", help="write everything there")
    add("--chart", type=Path, metavar="FILE.svg", help="draw the ratios (needs matplotlib)")
    add("--from", dest="source", type=Path, metavar="FILE.json", help="measure nothing: draw --chart from what --json wrote")
    add("--table", type=Path, metavar="FILE.json", help="measure nothing: print what --json wrote as Markdown")
    add(
        "--profile",
        action="store_true",
        help="no peers: print as Markdown in which phase of a pass, with --second of second order, the time goes",
    )
    add("--cuda", action="store_true", help="measure on the CUDA device, with options of its own: derive bench --cuda --help")
    return parser


def _phases() -> str:
    return f"{', '.join(PHASES)} (default: these); of second order {', '.join(SECOND)}; of layers {', '.join(TORCH)}"


def _second() -> str:
    return f"second order: by default its phases, of {', '.join(SECOND_CELLS)}, at {_shown(SECOND_SIZES)}, beside {', '.join(_of_second())}"


def _torch() -> str:
    sizes = f"{STEP} at the sizes above, {', '.join((NO_GRAD, GRAD, BOTH))} at {_shown(SMALL)}, others at {_shown(SECOND_SIZES)}"
    return (
        f"layers of generated.torch, called from PyTorch: by default of {', '.join(TORCH_CELLS)}, {sizes}, beside {', '.join(_of_layers())}"
    )


def _peers() -> str:
    lines = [f"  {peer.name:<12}{peer.what}" for peer in PEERS.values()]
    limited = ", ".join(peer.name for peer in PEERS.values() if peer.limited)
    return "\n".join(["peers:", *lines, f"{limited}: up to {LIMIT / 1e9:.0f}·10⁹ operations of matrix products in an inference call"])


def size(text: str) -> Size:
    """Return a size as it is written on the command line."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"a size is four positive numbers B,T,d,n, such as 32,100,64,128, not {text!r}")
    batch, steps, d, n = map(int, parts)
    return batch, steps, d, n


def _shown(sizes: Sequence[Size]) -> str:
    return " ".join(",".join(map(str, size)) for size in sizes)


def number(text: str) -> int:
    """Return a number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a number of at least 1, not {text!r}")
    return int(text)
