"""A tanh RNN, a GRU and an LSTM of equal size on the same chorales, and the table of what they learn.

The comparison of Chung et al. 2014, "Empirical evaluation of gated recurrent neural networks on sequence modeling", arXiv:1412.3555.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from .data import Split, chorales, split
from .train import Epoch, Fit, Result, Settings, fit

CELLS = {"tanh RNN": "rnn", "GRU": "gru", "LSTM": "lstm"}  # as printed: the generated module
SPLIT_SEED = 0  # the parts of the data stay the same for every --seed
FIGURES = {"GRU, published": 8.54}
MEANING = (
    "Nats a step, summed over the 88 keys; `train end` with the last parameters,\n"
    "the columns right of it with those of the best validation loss."
)
NOTE = (
    f"{MEANING}\n"
    "Published: Chung et al. 2014, arXiv:1412.3555, on JSB chorales, with their own split and preparation of the data:\n"
    "beside ours, not the same test."
)


def read() -> Split:
    """Return the chorales, in parts; progress is shown in a bar."""
    from tqdm import tqdm

    return told(split(chorales(lambda names, total: tqdm(names, "reading chorales", total)), SPLIT_SEED))


def told(data: Split) -> Split:
    """Return the data, and print of how many pieces they are."""
    print(f"{len(data.train)} chorales to train on, {len(data.validation)} to validate, {len(data.test)} to test")
    return data


def trained(settings: Settings, data: Split, fit: Fit = fit, *, cells: Mapping[str, str] = CELLS, bars: bool = True) -> dict[str, Result]:
    """Return what training each cell gave, by its title; progress is shown in bars."""
    return {title: _train_one(title, module, data, settings, fit, bars) for title, module in cells.items()}


def _train_one(title: str, module: str, data: Split, settings: Settings, fit: Fit, bars: bool) -> Result:
    from tqdm import tqdm

    with tqdm(total=settings.epochs, desc=f"{title:<8}", unit="epoch", disable=not bars) as bar:

        def report(epoch: Epoch) -> None:
            bar.set_postfix(train=f"{epoch.train:.3f}", validation=f"{epoch.validation:.3f}", refresh=False)
            bar.update()

        return fit(importlib.import_module(f"generated.{module}"), data, settings, report)


def table(results: Mapping[str, Result], published: Mapping[str, float] = FIGURES) -> str:
    """Hidden size, parameters and losses of each cell, published figures below."""
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
    rows += [(name, "", "", "", "", "", "", f"{figure:.2f}") for name, figure in published.items()]
    widths = [max(len(str(row[i])) for row in (heads, *rows)) for i in range(len(heads))]
    lines = [
        "  ".join(f"{cell!s:>{w}}" if i else f"{cell!s:<{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in (heads, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
