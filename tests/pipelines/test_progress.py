"""Lines on long work: how far, how fast, how long still; and what it took."""

import logging

import pytest

from fedmeta.pipelines import progress
from fedmeta.pipelines.progress import UNDER_WAY, Clock, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.21, "4.2 s"), (59.9, "59.9 s"), (90, "2 min"), (11_100, "3 h 05 min")],
)
def test_durations_are_told_in_fitting_units(seconds, words):
    assert duration(seconds) == words


class Watch:
    """A clock that goes on only when it is told to."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def watch(monkeypatch):
    watch = Watch()
    monkeypatch.setattr(progress, "time", watch)
    return watch


def test_a_line_every_twenty_seconds_says_what_is_to_go(watch, caplog):
    clock = Clock("maml", rounds=100)
    with caplog.at_level(logging.INFO):
        for number in clock.timed(range(11, 61), first=10):  # resumed after round 10
            watch.now += 0.5
            clock.tick(number, loss=1.25)
    (line,) = caplog.records
    assert line.getMessage() == (
        "maml, round 50 of 100: training loss 1.250, 0.50 s a round, 25.0 s to go"
    )
    assert line.progress  # where a display shows it, the terminal does without


def test_rounds_and_evaluations_are_timed_apart_and_over_stops(watch):
    """What comes between the rounds, such as saving, is neither."""

    def rounds(numbers):
        for number in numbers:
            watch.now += 2
            yield number

    def train(clock, numbers, first):
        for number in clock.timed(rounds(numbers), first):
            assert list(UNDER_WAY.values()) == [clock]
            with clock.evaluating():
                watch.now += 1
            timing = clock.at(number)
            watch.now += 10  # saved
        return timing

    clock = Clock("maml", rounds=3)
    with clock.evaluating():
        watch.now += 1
    assert clock.at(0) == [{"round": 0, "training": 0, "evaluation": 1}]
    before = train(clock, [1, 2], first=0)
    timing = train(Clock("maml", rounds=3, timing=before), [3], first=2)
    assert [row["training"] for row in timing] == [0, 2, 4, 6]
    assert [row["evaluation"] for row in timing] == [1, 2, 3, 4]
    assert not UNDER_WAY


def test_what_fails_is_no_longer_under_way():
    with pytest.raises(ZeroDivisionError):
        for _ in Clock("maml", rounds=2).timed((1 / 0 for _ in "a"), first=0):
            pass
    assert not UNDER_WAY
