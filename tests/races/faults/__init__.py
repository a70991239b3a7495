"""Single faults that were found, each a function that a process of its own runs: `python -m tests.races.faults NAME`.

They end with an exception, a crash or faulthandler's lines when the fault is there.
"""

import threading
import time
from collections.abc import Callable

AWAY = "kafka:127.0.0.1:1/t?g.message.timeout.ms=60000"  # nobody listens there


def wait_until(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def started(target: Callable[[], object]) -> threading.Thread:
    """A running daemon thread."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes."""
    before = time.monotonic()
    call()
    return time.monotonic() - before
