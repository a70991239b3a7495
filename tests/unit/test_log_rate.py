"""How often something is logged."""

import pytest

from pykafkaevt import log_rate
from pykafkaevt.log_rate import LogRate


@pytest.mark.parametrize(
    ("burst", "seconds", "times", "allowed"),
    [
        (1, 10, [0, 0, 9.9, 10, 10, 19.9, 20], [0, 10, 20]),
        (2, 1, [0, 0, 0, 0.5, 1, 1, 1.9, 2], [0, 0, 1, 2]),
        (2, 1, [0, 0, 0, 100, 100, 100], [0, 0, 100, 100]),
        (3, 1, [5, 5, 5, 5], [5, 5, 5]),
    ],
)
def test_a_burst_and_then_one_line_each_so_many_seconds(monkeypatch, burst, seconds, times, allowed):
    now = [0.0]
    monkeypatch.setattr(log_rate.time, "monotonic", lambda: now[0])
    rate = LogRate(burst, seconds)
    found = []
    for now[0] in times:
        if rate.allows():
            found.append(now[0])
    assert found == allowed


def test_a_line_knows_how_many_were_held_back_before_it(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log_rate.time, "monotonic", lambda: now[0])
    rate = LogRate(1, 5)
    assert rate.allows()
    assert (rate.held_back, rate.note()) == (0, {})
    assert [rate.allows() for _ in range(3)] == [False] * 3
    assert rate.held_back == 0
    now[0] = 5
    assert rate.allows()
    assert (rate.held_back, rate.note()) == (3, {"held_back": 3})
    now[0] = 10
    assert rate.allows()
    assert rate.held_back == 0
