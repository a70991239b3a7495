"""Whether a receiver still moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STUCK: Final = 5.0  # seconds without a turn, over at least so many looks: a process that was stopped is not stuck
LOOKS: Final = 3


class Progress:
    """The turns of one receiver's loop, looked at now and then.

    progress: gives the number of turns so far, and whether the loop waits for a queue that is full now.
    """

    def __init__(self, progress: Callable[[], tuple[int, bool]]) -> None:
        self.progress = progress
        self.turns = -1
        self.since = 0.0  # time.monotonic() of the first look at which the turns were these
        self.looks = 0  # since then

    def is_stuck(self) -> bool:
        """Whether the loop has made no turn for a while and does not wait for a queue. From any thread."""
        turns, waiting = self.progress()
        now = time.monotonic()
        if turns != self.turns or waiting:
            self.turns, self.since, self.looks = turns, now, 0
        self.looks += 1
        return self.looks >= LOOKS and now - self.since >= STUCK
