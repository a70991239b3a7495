"""The options of a producer and the checks of times: what is wrong is said before anything is made."""

import dataclasses
import math
from threading import TIMEOUT_MAX

import pytest

from pykafkaevt.options import ProducerOptions, checked_expire, checked_timeout


def test_the_defaults_are_those_of_a_producer():
    options = ProducerOptions()
    assert dataclasses.asdict(options) == {
        "on_delivery": None,
        "on_error": None,
        "on_full": "block",
        "full_timeout": None,
        "invalid": "replace",
        "pace": "auto",
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.pace = 1


@pytest.mark.parametrize(
    "given",
    [
        *({"on_full": word} for word in ("block", "raise", "drop", "block_once")),
        *({"invalid": word} for word in ("replace", "strict", "latin-1")),
        *({"full_timeout": seconds} for seconds in (None, 0, 0.0, 0.5, 30, 1e300)),
        *({"pace": count} for count in (None, "auto", 1, 10**12)),
        {"on_delivery": print, "on_error": print},
    ],
)
def test_what_can_be_used_is_kept(given):
    options = ProducerOptions(**given)
    assert {name: getattr(options, name) for name in given} == given


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"on_full": "wait"}, ValueError, "on_full must be one of block, raise, drop, block_once, not 'wait'"),
        ({"on_full": None}, ValueError, "not None"),
        ({"on_delivery": 1}, TypeError, "on_delivery must be callable or None, not int"),
        ({"on_error": "log"}, TypeError, "on_error must be callable or None, not str"),
        ({"full_timeout": -1}, ValueError, "full_timeout must not be negative: -1"),
        ({"full_timeout": -math.inf}, ValueError, "full_timeout must not be negative: -inf"),
        ({"full_timeout": math.inf}, ValueError, "full_timeout must be finite, not inf"),
        ({"full_timeout": math.nan}, ValueError, "full_timeout must be finite, not nan"),
        ({"full_timeout": "1"}, TypeError, "full_timeout must be a number of seconds or None, not str"),
        ({"full_timeout": True}, TypeError, "not bool"),
        ({"invalid": "ignore"}, ValueError, "invalid must be one of replace, strict, latin-1, not 'ignore'"),
        ({"pace": 0}, ValueError, "pace must be at least 1, not 0"),
        ({"pace": "fast"}, TypeError, "pace must be an int, 'auto' or None, not 'fast'"),
        ({"pace": -5}, ValueError, "pace must be at least 1, not -5"),
        ({"pace": True}, TypeError, "pace must be an int, 'auto' or None, not True"),
        ({"pace": 1.5}, TypeError, "pace must be an int, 'auto' or None, not 1.5"),
    ],
)
def test_what_cannot_be_used_is_named(given, kind, message):
    with pytest.raises(kind) as raised:
        ProducerOptions(**given)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("value", "checked"), [(None, None), (0, 0), (2, 2), (0.25, 0.25), (1e300, TIMEOUT_MAX), (10**400, TIMEOUT_MAX)]
)
def test_a_timeout_is_seconds_or_none(value, checked):
    assert checked_timeout(value, "timeout") == checked


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (-0.1, ValueError, "timeout must not be negative: -0.1"),
        (-(10**400), ValueError, "timeout must not be negative"),
        (math.nan, ValueError, "timeout must be finite"),
        (math.inf, ValueError, "timeout must be finite"),
        ("5", TypeError, "timeout must be a number of seconds"),
        (False, TypeError, "timeout must be a number of seconds"),
    ],
)
def test_a_bad_timeout_is_named(value, kind, message):
    with pytest.raises(kind, match=message):
        checked_timeout(value, "timeout")


@pytest.mark.parametrize("value", [None, 0, 60, 0.5, TIMEOUT_MAX])
def test_an_expire_is_seconds_or_none(value):
    assert checked_expire(value) is value


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (-1, ValueError, "^Negative expire value$"),
        (-math.inf, ValueError, "^Negative expire value$"),
        (math.inf, ValueError, "expire must be finite"),
        (math.nan, ValueError, "expire must be finite"),
        (1e12, ValueError, "expire must be at most"),
        (10**400, ValueError, "expire must be at most"),
        ("60", TypeError, "expire must be a number of seconds or None, not str"),
    ],
)
def test_a_bad_expire_is_named(value, kind, message):
    with pytest.raises(kind, match=message):
        checked_expire(value)
