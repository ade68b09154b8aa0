"""Lines on long work: how far, how fast, how long still."""

import logging

import pytest

from fedmeta.pipelines import progress
from fedmeta.pipelines.progress import Clock, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.21, "4.2 s"), (59.9, "59.9 s"), (90, "2 min"), (11_100, "3 h 05 min")],
)
def test_durations_are_told_in_fitting_units(seconds, words):
    assert duration(seconds) == words


def test_a_line_every_twenty_seconds_says_what_is_to_go(monkeypatch, caplog):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    clock = Clock("maml", first=10, rounds=100)  # resumed after round 10
    with caplog.at_level(logging.INFO):
        for number in range(11, 61):
            now += 0.5
            clock.tick(number, loss=1.25)
    assert [record.getMessage() for record in caplog.records] == [
        "maml, round 50 of 100: training loss 1.250, 0.50 s a round, 25.0 s to go"
    ]
