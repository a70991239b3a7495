"""How often something is logged: a burst at once, then a line now and then."""

from __future__ import annotations

import time


class LogRate:
    """Allows `burst` lines at once and one more every `seconds`.

    Many threads may ask; it has no lock, for a signal handler or a fork may come in anywhere, and a line more or less
    does no harm.

    held_back: the lines that were not allowed between the newest one that was and the one before it.
    """

    def __init__(self, burst: int, seconds: float) -> None:
        self.burst = burst
        self.seconds = seconds
        self.held_back = 0
        self._left = burst
        self._refilled = time.monotonic()
        self._denied = 0

    def allows(self) -> bool:
        """Whether a line may be logged now; when not, it is counted."""
        now = time.monotonic()
        refills = int((now - self._refilled) / self.seconds)
        if refills:
            self._left = min(self.burst, self._left + refills)
            self._refilled = now
        if not self._left:
            self._denied += 1
            return False
        self._left -= 1
        self.held_back, self._denied = self._denied, 0
        return True

    def note(self) -> dict[str, int]:
        """The `extra` of the line that was allowed: held_back, when there were some."""
        return {"held_back": self.held_back} if self.held_back else {}
