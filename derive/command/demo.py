"""`derive demo`: tanh RNN, GRU and LSTM of equal size learn Bach's chorales, with generated kernels only."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

NEEDS = ("music21", "tqdm", "matplotlib")  # the extra `demo`


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` how long and from where to train, and where the curves go."""
    parser.description = "Train a tanh RNN, a GRU and an LSTM of equal size on Bach's chorales."
    add = parser.add_argument
    add("--epochs", type=_positive, default=None, help="passes over the training set (default: those of the settings)")
    add("--out", type=Path, default=Path("demo.png"), help="picture of the learning curves (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the initial parameters and the order of batches (default: %(default)s)")
    add("--no-plot", action="store_true", help="table only")


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def run(options: argparse.Namespace) -> int:
    """Train the three cells, print the table, write the learning curves.

    Returns
    -------
    int
        0, or 1 if the extra `demo` is not installed or the picture has no folder to go to.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(f"derive demo needs {', '.join(missing)}: pip install 'derive-rnn[demo]' (in a checkout: pip install -e '.[demo]')")
    if not options.no_plot and not options.out.parent.is_dir():
        return _fail(f"--out: there is no folder {options.out.parent}")
    return _compared(options)


def _compared(options: argparse.Namespace) -> int:
    from ..demo.comparison import NOTE, table, trained  # these import the generated kernels
    from ..demo.curves import save
    from ..demo.train import Settings

    start = time.perf_counter()
    chosen = {} if options.epochs is None else {"epochs": options.epochs}
    results = trained(Settings(seed=options.seed, **chosen))
    print(f"\n{table(results)}\n\n{NOTE}\n{time.perf_counter() - start:.0f} s in all")
    if not options.no_plot:
        save(options.out, {name: result.epochs for name, result in results.items()})
        print(f"learning curves: {options.out}")
    return 0


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
