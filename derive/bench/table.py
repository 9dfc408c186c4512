"""Tables of a record: in columns for a terminal, line by line, and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import exp, log

from .deadline import SECONDS
from .goals import FIRST_ORDER, MEANS, RATIO
from .peers import FAILED, LIMIT, OVER_LIMIT, TOO_LONG
from .phases import HVP, KEPT, MEMORY, PHASES, SECOND, TORCH
from .record import Measured, Peak, Record, Row, Timing

LEGEND = (
    "± is the interquartile range over the median; × is the peer's time over ours: above 1, ours is faster.",
    "GF/s counts the products of matrices; peak is their share of what multiply-adds alone reached in this run.",
    "*: at the peak, where a ratio says nothing: such sizes are left out of the means.",
)
SECOND_LEGEND = (
    f"{MEMORY}: the most that a penalty takes at any time; × is the peer's over ours.",
    f"{FIRST_ORDER}: our own; beside {HVP} a step of training, beside {KEPT} the same without it. 1/3: ours takes three times as long.",
)
WIDTHS = {"cell": 22, "phase": 10, "B": 5, "T": 6, "d": 6, "n": 6, "ms": 10, "±": 6, "GF/s": 8, "peak": 7}
PEER_WIDTHS = (15, 8)
PLACE = ("cell", "phase", "B, T, d, n")
WORDS = {OVER_LIMIT: "limit", TOO_LONG: "too long"}  # where there is no time


def about(record: Record) -> list[str]:
    """Return what holds for all rows."""
    machine, versions = record.machine, record.machine["versions"]
    return [
        f"{record.dtype}, {record.threads} threads, medians of at most {record.runs} interleaved runs, {_rule(record)}",
        f"{machine['processor']}, {machine['cores']} cores, {' '.join(machine['features'])}; multiply-adds reach {record.peak:.0f} GF/s",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        *record.notes,
    ]


def _rule(record: Record) -> str:
    return "each when the threads of the one before rest" if record.pauses else "back to back"


def header(peers: Sequence[str]) -> str:
    """Return the first line of the table for a terminal."""
    return _aligned([*list(WIDTHS)[:8], *(text for peer in peers for text in (f"{peer} ms", "×")), "GF/s", "peak"], peers)


def line(row: Row, record: Record) -> str:
    """Return a row of the table for a terminal."""
    peers = record.peers
    start = [row.cell, row.phase, *map(str, (row.batch, row.steps, row.d, row.n)), *_timed(row.ours)]
    return _aligned([*start, *_beside(row, peers), *_rate(row, record)], peers)


def _aligned(texts: Sequence[str], peers: Sequence[str]) -> str:
    own = list(WIDTHS.values())
    widths = [*own[:8], *(PEER_WIDTHS * len(peers)), *own[8:]]
    first = [f"{text:<{width}}" for text, width in zip(texts[:2], widths[:2], strict=True)]
    return "".join([*first, *(f"{text:>{width}}" for text, width in zip(texts[2:], widths[2:], strict=True))]).rstrip()


def markdown(record: Record) -> str:
    """Return what was reached of goals, the rows, and below them geometric means of the ratios over the sizes of a cell and phase."""
    rows = [row for row in record.rows if row.phase in PHASES]
    tables = [_times(rows, record, _others(record))] if rows else []
    tables += [_own(found, record) for phase in (*SECOND, *TORCH) if (found := [row for row in record.rows if row.phase == phase])]
    means = [[cell, phase, *map(times, values)] for (cell, phase), values in geometric_means(record).items()]
    below = pipes(["cell", "phase", *_others(record)], means) if means else ""
    remarks = [*gaps(record), *choices(record), *short(record)]
    told = listed(remarks) if len(remarks) > 1 else "".join(remarks)
    return "\n\n".join(part for part in (listed(about(record)), goals(record), *tables, told, below) if part)


def _own(rows: Sequence[Row], record: Record) -> str:
    """Return the table of one phase of second order or of layers, with the peers that it has."""
    peers = [peer for peer in record.peers if any(shown(row.peers.get(peer)) != "-" for row in rows)]
    if rows[0].phase != MEMORY:
        return _times(rows, record, peers)
    heads = [*PLACE, "ours", *(text for peer in peers for text in (peer, "×"))]
    return pipes(heads, ([*_place(row), shown(row.ours), *_beside(row, peers)] for row in rows))


def _times(rows: Sequence[Row], record: Record, peers: Sequence[str]) -> str:
    heads = [*PLACE, "ms", "±", *(text for peer in peers for text in (f"{peer} ms", "×")), "GF/s", "peak"]
    return pipes(heads, ([*_place(row), *_timed(row.ours), *_beside(row, peers), *_rate(row, record)] for row in rows))


def _place(row: Row) -> tuple[str, ...]:
    return row.cell, row.phase, row.size


def _beside(row: Row, peers: Sequence[str]) -> list[str]:
    """Return what each peer took, and its ratio to ours."""
    return [text for peer in peers for text in (shown(row.peers.get(peer)), times(row.ratio(peer), peer))]


def goals(record: Record) -> str:
    """Return a table in Markdown of the ratios that have a goal, and the share of the peak that each asks for; empty if there are none."""
    body = [
        [*_place(row), peer, times(ratio, peer), times(goal, peer), _reached(record, row, ratio, goal), _asked(record, row, goal / ratio)]
        for row in record.rows
        for peer, goal in row.goals.items()
        if (ratio := row.ratio(peer)) is not None
    ]
    body += _means_wanted(record)
    return pipes([*PLACE, "beside", "×", "goal", "reached", "peak at the goal"], body) if body else ""


def _reached(record: Record, row: Row, ratio: float, goal: float) -> str:
    return "yes" if ratio >= goal else "at the peak" if record.at_peak(row) else "no"


def _means_wanted(record: Record) -> list[list[str]]:
    """Return the lines of the goals that are for the mean over the sizes of a cell and phase."""
    lines = []
    for (cell, phase, peer), goal in MEANS.items():
        mean = _mean(row.ratio(peer) for row in record.rows if (row.cell, row.phase) == (cell, phase))
        if mean is not None:
            lines.append([cell, phase, "mean of all", peer, times(mean), times(goal), "yes" if mean >= goal else "no", "-"])
    return lines


def _asked(record: Record, row: Row, faster: float) -> str:
    return f"{record.share(row) * faster:.0%}" if row.operations else "-"


def geometric_means(record: Record) -> dict[tuple[str, str], list[float | None]]:
    """Return, by cell and phase, the mean ratio to each peer over the sizes that it was measured at and that are not at the peak.

    Of phases of first order alone: those of second order are told by their goals.
    """
    rows: dict[tuple[str, str], list[Row]] = {(row.cell, row.phase): [] for row in record.rows if row.phase in PHASES}
    for row in record.rows:
        if row.phase in PHASES and not record.at_peak(row):
            rows[row.cell, row.phase].append(row)
    return {key: [_mean(row.ratio(peer) for row in found) for peer in _others(record)] for key, found in rows.items()}


def _others(record: Record) -> list[str]:
    return [peer for peer in record.peers if peer != FIRST_ORDER]


def _mean(ratios: Iterable[float | None]) -> float | None:
    found = [log(ratio) for ratio in ratios if ratio is not None]
    return exp(sum(found) / len(found)) if found else None


def mean_lines(record: Record) -> list[str]:
    """Return the geometric means for a terminal."""
    found = [(f"{cell} {phase}", zip(_others(record), values, strict=True)) for (cell, phase), values in geometric_means(record).items()]
    texts = [(of, ", ".join(f"{peer} {mean:.2f}" for peer, mean in means if mean is not None)) for of, means in found]
    return [f"mean × of {of}: {text}" for of, text in texts if text]


def listed(lines: Iterable[str]) -> str:
    """Return lines as a list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def pipes(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *body)]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


def _timed(found: Measured) -> tuple[str, str]:
    return shown(found), f"{found.spread:.0%}" if isinstance(found, Timing) else "-"


def shown(found: Measured | str | None) -> str:
    """Return a time in milliseconds, or memory with its unit; for a gap a word, or a dash where there never is anything."""
    if isinstance(found, Timing):
        return f"{found.seconds * 1e3:.{2 if found.seconds >= 0.01 else 3}f}"
    if isinstance(found, Peak):
        return f"{found.bytes / 2**20:.1f} MiB"
    if found in WORDS:
        return WORDS[found]
    return FAILED if (found or "").startswith(FAILED) else "-"


def times(ratio: float | None, peer: str = "") -> str:
    """Return a ratio, or a dash where there is none; beside our own first order, how many times it ours takes."""
    if ratio is None:
        return "-"
    return f"1/{1 / ratio:.2f}" if peer == FIRST_ORDER else f"{ratio:.2f}"


def _rate(row: Row, record: Record) -> tuple[str, str]:
    if not row.operations:
        return "-", "-"
    return f"{row.gigaflops:.1f}", f"{record.share(row):.0%}{'*' if record.at_peak(row) else ''}"


def gaps(record: Record) -> list[str]:
    """Return, line by line, why there are gaps in the table."""
    reasons = {(peer, why) for row in record.rows for peer, why in row.peers.items() if isinstance(why, str)}
    lines = [f"{peer}: {why}" for peer, why in sorted(reasons) if why.startswith(FAILED)]
    if any(why == OVER_LIMIT for _, why in reasons):
        lines.append(f"limit: not measured where an inference call takes more than {LIMIT / 1e9:.0f}·10⁹ operations of products")
    if any(why == TOO_LONG for _, why in reasons):
        lines.append(f"too long: left out where a first call, which compiles, takes more than {SECONDS:.0f} s, and at no fewer steps")
    return lines


def choices(record: Record) -> list[str]:
    """Return, line by line, what contenders that had a choice have taken, and in how many rows."""
    found = Counter(
        (peer, found.how) for row in record.rows for peer, found in row.peers.items() if not isinstance(found, str) and found.how
    )
    taken = {peer: [f"{how} in {count}" for (of, how), count in sorted(found.items()) if of == peer] for peer, _ in sorted(found)}
    return [f"{peer}: {', '.join(texts)} rows" for peer, texts in taken.items()]


def short(record: Record) -> list[str]:
    """Return, line by line, where a peer is faster, or takes less memory, and we are not at the peak."""
    found = [(row, text) for row in record.rows if not record.at_peak(row) and (text := _better(row))]
    return [f"{'larger' if row.phase == MEMORY else 'slower'}: {row.cell}, {row.phase}, {row.size}: {text}" for row, text in found]


def _better(row: Row) -> str:
    found = {peer: row.ratio(peer) for peer in row.peers if peer != FIRST_ORDER}
    return ", ".join(f"{peer} {ratio:.2f}" for peer, ratio in found.items() if ratio is not None and ratio < RATIO)
