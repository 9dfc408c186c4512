"""What `derive demo` is told, and what it does."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .corpora import Corpus
    from .train import Result, Settings

NEEDS = ("music21", "tqdm", "matplotlib")  # the extra `demo`
DEVICES = ("cpu", "cuda")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` how long and from where to train, by what, and where the curves go."""
    parser.description = "Train a tanh RNN, a GRU and an LSTM of equal size on Bach's chorales."
    add = parser.add_argument
    add("--epochs", type=_positive, default=None, help="passes over the training set (default: those of the settings)")
    add("--out", type=Path, default=Path("demo.png"), help="picture of the learning curves (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the initial parameters and the order of batches (default: %(default)s)")
    add("--no-plot", action="store_true", help="table only")
    add(
        "--data",
        type=Path,
        metavar="FILE",
        help="learn the published data set, with its split: JSB Chorales.pickle, or the same as JSON (default: music21's chorales)",
    )
    add("--spikes", action="store_true", help="instead: spiking neurons learn to store and recall, by surrogate gradients; needs no extra")
    add("--torch", action="store_true", help="by PyTorch, with generated.torch's layers; by all processes that torchrun starts")
    add("--device", choices=DEVICES, default="cpu", help="with --torch: where the layers compute (default: %(default)s)")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="with --torch: after every epoch, keep there how far the training has come; if FILE is there already, go on from it, "
        "or refuse if it is of other settings or data",
    )


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def main(words: Sequence[str] | None = None) -> int:
    """Run `derive demo` by itself; return the exit status."""
    parser = argparse.ArgumentParser(prog="derive demo")
    arguments(parser)
    return run(parser.parse_args(words))


def run(options: argparse.Namespace) -> int:
    """Train the three cells, print the table, write the learning curves.

    Returns
    -------
    int
        0, or 1 if the extra `demo` or PyTorch is not installed, a file has no folder to go to, or a checkpoint is refused.
    """
    if problem := _problem(options):
        return _fail(problem)
    if options.spikes:
        return _spikes(options)
    from .corpora import corpus  # it imports the generated kernels

    try:
        what = corpus(options.data)
    except ValueError as error:
        return _fail(f"--data: {error}")
    chosen = {} if options.epochs is None else {"epochs": options.epochs}
    settings = what.settings._replace(seed=options.seed, **chosen)
    return _by_torch(options, settings, what) if options.torch else _by_kernels(options, settings, what)


def _problem(options: argparse.Namespace) -> str:
    """Return why nothing can be trained; empty if it can."""
    if options.spikes:
        given = [name for name in ("epochs", "data", "torch", "checkpoint") if getattr(options, name)]
        return f"--{given[0]}: not with --spikes" if given else ""
    needs = [name for name in NEEDS if name != "music21" or not options.data]
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        return f"derive demo needs {', '.join(missing)}: pip install 'derive-rnn[demo]' (in a checkout: pip install -e '.[demo]')"
    if options.torch and importlib.util.find_spec("torch") is None:
        return "derive demo --torch needs torch: pip install torch"
    if options.torch and options.device == "cuda" and not _has_cuda():
        return "--device cuda: PyTorch finds no CUDA device"
    if not options.torch and (options.checkpoint or options.device != "cpu"):
        return f"{'--checkpoint' if options.checkpoint else '--device'}: only with --torch"
    for name, path in (("--out", None if options.no_plot else options.out), ("--checkpoint", options.checkpoint)):
        if path and not path.parent.is_dir():
            return f"{name}: there is no folder {path.parent}"
    return ""


def _has_cuda() -> bool:
    import torch

    found: bool = torch.cuda.is_available()
    return found


def _spikes(options: argparse.Namespace) -> int:
    from .spikes import Settings, compared

    start = time.perf_counter()
    compared(Settings(seed=options.seed))
    print(f"\n{time.perf_counter() - start:.0f} s in all")
    return 0


def _by_kernels(options: argparse.Namespace, settings: Settings, what: Corpus) -> int:
    from .comparison import trained

    start = time.perf_counter()
    _show(options, trained(settings, what.read(), cells=what.cells), what, start)
    return 0


def _by_torch(options: argparse.Namespace, settings: Settings, what: Corpus) -> int:
    from .checkpoint import CheckpointError
    from .comparison import trained
    from .processes import together
    from .pytorch import resumable

    start = time.perf_counter()
    with together(options.device) as processes:
        data = processes.same(what.read)
        try:
            fit = resumable(settings, data, processes, options.checkpoint)
        except CheckpointError as error:
            return _fail(f"--checkpoint: {error}") if processes.first else 1
        results = trained(settings, data, fit, cells=what.cells, bars=processes.first)
    if processes.first:
        _show(options, results, what, start)
    return 0


def _show(options: argparse.Namespace, results: dict[str, Result], what: Corpus, start: float) -> None:
    from .comparison import table
    from .curves import save

    print(f"\n{table(results, what.published)}\n\n{what.note}\n{time.perf_counter() - start:.0f} s in all")
    if not options.no_plot:
        save(options.out, {name: result.epochs for name, result in results.items()})
        print(f"learning curves: {options.out}")


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1
