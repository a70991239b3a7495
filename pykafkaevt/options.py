"""The options of a producer, and the checks of the times in calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Literal

from pykafkaevt.errors import DeliveryError

if TYPE_CHECKING:
    from pykafkaevt.kafka.delivery import DeliveryBatch

ON_FULL = ("block", "raise", "drop", "block_once")
INVALID = ("replace", "strict", "latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerOptions:
    """What a producer does about reports, a full queue and text that is not UTF-8.

    Raises ValueError and TypeError for a value that cannot be used, before anything else is made.
    """

    on_delivery: Callable[[DeliveryBatch], object] | None = None
    """Called from the report thread once per batch, for the records whose `report` was asked."""

    on_error: Callable[[DeliveryError], object] | None = None
    """Called for errors of the client (brokers away, fatal ones) and records that a batch call could not queue."""

    on_full: str = "block"
    """What a call does when the queue is full.

    "block": it waits for at most full_timeout seconds, then raises QueueFull. "raise": it raises QueueFull at once.
    "drop": it drops the record and counts it. "block_once": as "block", but drops where that raises, and then drops
    at once until records have left the queue.
    """

    full_timeout: float | None = None
    """Seconds that a call waits at most while the queue is full; None: no limit."""

    invalid: str = "replace"
    """What becomes of text that is not valid UTF-8: "replace", "strict" (SerializeError) or "latin-1"."""

    pace: int | Literal["auto"] | None = "auto"
    """Records in flight from which on a call that may block lets the reports catch up, 10 ms at a time.

    That keeps the queue in the processor's caches and the latency short. "auto": as many as keep the brokers
    busy, by the rate and the time at which records are delivered. None: no such number.
    """

    def __post_init__(self) -> None:
        """Raises ValueError and TypeError, see the class."""
        for name in ("on_delivery", "on_error"):
            callback = getattr(self, name)
            if callback is not None and not callable(callback):
                raise TypeError(f"{name} must be callable or None, not {type(callback).__name__}")
        if self.on_full not in ON_FULL:
            raise ValueError(f"on_full must be one of {', '.join(ON_FULL)}, not {self.on_full!r}")
        checked_timeout(self.full_timeout, "full_timeout")
        if self.invalid not in INVALID:
            raise ValueError(f"invalid must be one of {', '.join(INVALID)}, not {self.invalid!r}")
        if self.pace not in (None, "auto"):
            if not isinstance(self.pace, int) or isinstance(self.pace, bool):
                raise TypeError(f"pace must be an int, 'auto' or None, not {self.pace!r}")
            if self.pace < 1:
                raise ValueError(f"pace must be at least 1, not {self.pace}")


def checked_timeout(value: float | None, what: str) -> float | None:
    """A number of seconds to wait at most, or None for no limit; `what` names it in errors.

    More than a thread can wait at once (292 years) counts as that. Raises ValueError for a negative number, nan and
    inf, TypeError for another type.
    """
    if value is None:
        return None
    _check_seconds(value, what)
    if value < 0:
        raise ValueError(f"{what} must not be negative: {value!r}")
    return min(value, TIMEOUT_MAX)


def checked_expire(value: float | None) -> float | None:
    """The seconds until a subscription expires, or None for never.

    Raises ValueError for a negative number, nan, inf and more than 292 years, TypeError for another type.
    """
    if value is None:
        return None
    _check_seconds(value, "expire")
    if value < 0:
        # the text of OpenSIPS's MI command
        raise ValueError("Negative expire value")
    if value > TIMEOUT_MAX:
        raise ValueError(f"expire must be at most {TIMEOUT_MAX:.0f} seconds")
    return value


def _check_seconds(value: float, what: str) -> None:
    """Raises TypeError for what is no int or float, ValueError for nan and inf (-inf is negative)."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{what} must be a number of seconds or None, not {type(value).__name__}")
    if isinstance(value, float) and not isfinite(value) and value != float("-inf"):
        raise ValueError(f"{what} must be finite, not {value!r}")
