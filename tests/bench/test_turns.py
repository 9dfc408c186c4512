"""How calls take turns, and what is made of their times; no test depends on how long anything takes."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from derive.bench.deadline import Patience, TooLong, deadline
from derive.bench.measure import AWAKE, TRIES, Clock, Limits, fastest, interleaved, timing, turns
from derive.bench.record import Timing


class Fake:
    """A clock that only the calls move on."""

    def __init__(self) -> None:
        self.time, self.calls = 0.0, list[str]()

    def now(self) -> float:
        return self.time

    def quiet(self) -> None:
        self.calls.append("quiet")

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def made() -> None:
            self.time += seconds
            self.calls.append(name)

        return made


@pytest.mark.parametrize("count", range(1, 9))
def test_in_every_round_everybody_has_a_turn(count: int) -> None:
    assert all(sorted(turns(number, count)) == [*range(count)] for number in range(3 * count))


@pytest.mark.parametrize("count", range(2, 9))
def test_everybody_follows_everybody_else_equally_often(count: int) -> None:
    rounds = [turns(number, count) for number in range(count * (1 + count % 2))]
    found = Counter(pair for order in rounds for pair in pairwise(order))
    pairs = {(a, b) for a in range(count) for b in range(count) if a != b}
    if count == 2:  # two alternate: across rounds the second follows the first
        pairs = {(0, 1)}
    assert found.keys() == pairs and len({*found.values()}) == 1


@pytest.mark.parametrize("count", range(2, 9))
def test_nobody_follows_itself(count: int) -> None:
    sequence = [k for number in range(4 * count) for k in turns(number, count)]
    assert all(a != b for a, b in pairwise(sequence))


def test_turns_are_back_to_back_after_a_round_that_is_not_counted() -> None:
    fake = Fake()
    times = interleaved([fake.call("a", 2.0), fake.call("b", 0.5), fake.call("c", 1.0)], Limits(3), Clock(fake.now))
    assert times == [[2.0] * 3, [0.5] * 3, [1.0] * 3]
    assert "".join(fake.calls) == "acb" + "acbcabcba"


def test_with_pauses_turns_begin_with_calls_that_are_not_counted() -> None:
    fake = Fake()
    times = interleaved([fake.call("a", 2 * AWAKE), fake.call("b", 0.75 * AWAKE)], Limits(3), Clock(fake.now, fake.quiet))
    assert [len(found) for found in times] == [3, 3]
    assert times[0] == pytest.approx([2 * AWAKE] * 3) and times[1] == pytest.approx([0.75 * AWAKE] * 3)
    assert fake.calls == ["quiet", "a", "a", "quiet", "b", "b", "b"] * 3


def test_long_calls_make_fewer_rounds_and_are_not_woken() -> None:
    for quiet in (True, False):
        fake = Fake()
        clock = Clock(fake.now, fake.quiet if quiet else None)
        times = interleaved([fake.call("long", 1.0), fake.call("short", AWAKE)], Limits(runs=8, least=3, seconds=3.0), clock)
        assert [len(found) for found in times] == [3, 3]  # everybody is counted equally often
        assert fake.calls.count("long") == 3 + 1  # the first, with its own turn or in a round of all


def test_limits() -> None:
    limits = Limits(runs=21, least=5, seconds=4.0)
    assert [limits.reached(*x, 0.0) for x in [(21, 0.1), (5, 4.0), (4, 9.0), (20, 3.9)]] == [True, True, False, False]
    limits = Limits(runs=21, least=5, seconds=4.0, brief=0.1)
    assert [limits.reached(n, spent, spent / n) for n, spent in [(21, 0.11), (21, 0.09), (900, 0.09), (5, 4.0)]] == [
        True,
        False,
        False,
        True,
    ]
    assert not limits.reached(21, 1.0, 0.004) and limits.reached(25, 1.0, 0.004)  # one of them took long


def test_short_calls_are_counted_more_often() -> None:
    fake = Fake()
    times = interleaved([fake.call("long", 0.25), fake.call("short", 0.125)], Limits(3, brief=2.0), Clock(fake.now))
    assert [len(found) for found in times] == [8, 8]


def test_a_call_that_compiles_does_not_end_a_row() -> None:
    fake, waits = Fake(), [0.25, 0.25, 1.5, *[0.25] * 20]
    times = interleaved([lambda: fake.call("long", waits.pop(0))(), fake.call("short", 0.125)], Limits(3, brief=2.0), Clock(fake.now))
    assert [len(found) for found in times] == [8, 8]


def test_median_and_spread() -> None:
    assert timing([4.0, 1.0, 2.0, 3.0, 10.0]) == Timing(3.0, (7.0 - 1.5) / 3.0, 5)
    assert timing([2.0], "unroll 4") == Timing(2.0, 0.0, 1, "unroll 4")


def test_the_fastest_is_chosen_by_calls_after_the_first() -> None:
    fake, first = Fake(), {"a", "b"}

    def compiled_at_first(name: str, seconds: float) -> Callable[[], None]:
        def made() -> None:
            fake.call(name, 100.0 if name == "b" and name in first else seconds)()
            first.discard(name)

        return made

    assert fastest({1: compiled_at_first("a", 2.0), 4: compiled_at_first("b", 1.0)}, fake.now) == 4
    assert fake.calls == ["a", "b"] * (1 + TRIES)


# Deadlines


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms")
def test_a_deadline_ends_what_catches_every_exception() -> None:
    before = signal.getsignal(signal.SIGALRM)

    def compiles() -> None:
        for _ in range(3):
            try:
                signal.raise_signal(signal.SIGALRM)
            except Exception:
                continue

    with pytest.raises(TooLong), deadline(1e6):
        compiles()
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_there_is_no_deadline_in_other_threads() -> None:
    done = list[bool]()

    def work() -> None:
        with deadline(1e6):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_who_took_too_long_is_not_tried_with_as_many_steps() -> None:
    patience = Patience()
    patience.lose("a", "gru", "training", 100)
    tried = [patience.left(*key) for key in [("a", "gru", "training", 100), ("a", "gru", "training", 1000), ("a", "gru", "training", 50)]]
    assert tried == [False, False, True]
    assert patience.left("a", "gru", "inference", 100) and patience.left("a", "rnn", "training", 100)
