"""`derive demo`: tanh RNN, GRU and LSTM of equal size learn Bach's chorales, with generated kernels only.

The comparison of Chung et al. 2014, "Empirical evaluation of gated recurrent neural networks on sequence modeling", arXiv:1412.3555.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from derive.demo.data import Split
    from derive.demo.train import Epoch, Result, Settings

NEEDS = ("music21", "tqdm", "matplotlib")  # the extra `demo`
CELLS = {"tanh RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}  # as printed: the generated module
SPLIT_SEED = 0  # the parts of the data stay the same for every --seed
PUBLISHED = 8.54
NOTE = (
    "Nats a step, summed over the 88 keys; `train end` with the last parameters,\n"
    "the columns right of it with those of the best validation loss.\n"
    "Published: Chung et al. 2014, arXiv:1412.3555, on JSB chorales, with their own split and preparation of the data:\n"
    "beside ours, not the same test."
)


def main(argv: list[str] | None = None) -> int:
    """Train the three cells, print the table, write the learning curves.

    Parameters
    ----------
    argv : list of str, optional
        `--epochs --out --seed --no-plot`; the process's own arguments by default.

    Returns
    -------
    int
        0, or 1 if the extra `demo` is not installed or the picture has no folder to go to.
    """
    options = _options(argv)
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(f"derive demo needs {', '.join(missing)}: pip install 'derive-rnn[demo]' (in a checkout: pip install -e '.[demo]')")
    if not options.no_plot and not options.out.parent.is_dir():
        return _fail(f"--out: there is no folder {options.out.parent}")
    start = time.perf_counter()
    results = _train(options.epochs, options.seed)
    print(f"\n{table(results)}\n\n{NOTE}\n{time.perf_counter() - start:.0f} s in all")
    if not options.no_plot:
        from derive.demo.plot import save

        save(options.out, {name: result.epochs for name, result in results.items()})
        print(f"learning curves: {options.out}")
    return 0


def table(results: dict[str, Result]) -> str:
    """Hidden size, parameters and losses of each cell, the published figure below."""
    heads = ("", "n", "parameters", "train end", "best epoch", "train", "validation", "test")
    rows = [
        (
            name,
            r.n,
            r.parameters,
            *(f"{v:.3f}" if isinstance(v, float) else v for v in (r.train_end, r.best_epoch, r.train, r.validation, r.test)),
        )
        for name, r in results.items()
    ]
    rows.append(("GRU, published", "", "", "", "", "", "", f"{PUBLISHED:.2f}"))
    widths = [max(len(str(row[i])) for row in (heads, *rows)) for i in range(len(heads))]
    lines = [
        "  ".join(f"{cell!s:>{w}}" if i else f"{cell!s:<{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in (heads, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="derive demo", description="Train a tanh RNN, a GRU and an LSTM of equal size on Bach's chorales."
    )
    parser.add_argument("--epochs", type=_positive, default=None, help="passes over the training set (default: those of the settings)")
    parser.add_argument("--out", type=Path, default=Path("demo.png"), help="picture of the learning curves (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial parameters and the order of batches (default: %(default)s)")
    parser.add_argument("--no-plot", action="store_true", help="table only")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _train(epochs: int | None, seed: int) -> dict[str, Result]:
    from tqdm import tqdm

    from derive.demo.data import chorales, split
    from derive.demo.train import Settings

    settings = Settings(seed=seed) if epochs is None else Settings(seed=seed, epochs=epochs)
    data = split(chorales(lambda names, total: tqdm(names, "reading chorales", total)), SPLIT_SEED)
    print(f"{len(data.train)} chorales to train on, {len(data.validation)} to validate, {len(data.test)} to test")
    return {title: _train_one(title, module, data, settings) for title, module in CELLS.items()}


def _train_one(title: str, module: str, data: Split, settings: Settings) -> Result:
    from tqdm import tqdm

    from derive.demo.train import fit

    with tqdm(total=settings.epochs, desc=f"{title:<8}", unit="epoch") as bar:

        def report(epoch: Epoch) -> None:
            bar.set_postfix(train=f"{epoch.train:.3f}", validation=f"{epoch.validation:.3f}", refresh=False)
            bar.update()

        return fit(importlib.import_module(f"generated.{module}"), data, settings, report)


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
