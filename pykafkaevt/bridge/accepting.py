"""Connections within limits: how many, how long, and what their trouble puts into the log."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pykafkaevt.log_rate import LogRate

logger = logging.getLogger("pykafkaevt.bridge")

RESERVED: Final = 384  # descriptors that peers leave: for control, HTTP, Kafka, and those accepted to be closed
TROUBLE: Final = (3, 60.0)  # lines about what peers cause: at once, and seconds until one more


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may allow itself; many systems begin with 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_peers() -> int:
    """The connections that inputs may have altogether: what the descriptors allow, less those that others need."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft // 4, soft - RESERVED)


class RatedLines(logging.Filter):
    """Has trouble that peers cause said in one line each, and not too often. Faults of ours keep their traceback.

    of_peers: the exceptions that a peer can cause.
    """

    def __init__(self, *of_peers: type[BaseException]) -> None:
        super().__init__()
        self.of_peers = of_peers
        self.rate = LogRate(*TROUBLE)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if not self.rate.allows():
            return False
        vars(record).update(self.rate.note())
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, self.of_peers):
            record.msg, record.args = "%s: %s", (record.getMessage(), str(error).partition("\n")[0][:200])
            record.exc_info = None
        return True


def say_trouble_rarely(loop: asyncio.AbstractEventLoop) -> None:
    """Log a loop's errors, as an accept() without a free descriptor, now and then; asyncio itself does 100 a second."""
    rate = LogRate(*TROUBLE)

    def say(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if rate.allows():
            error = context.get("exception")
            shown = error if error is None or isinstance(error, OSError) else None
            reason = f"{context['message']}{'' if shown is None else f': {shown}'}"
            logger.error("%s", reason, exc_info=error if shown is None else None, extra=rate.note())

    loop.set_exception_handler(say)


class Limit:
    """The connections of one or more servers, as many as there may be, each as long as it may last.

    what: they are, in the log; most: at one time; seconds: that each may last, None for no limit.
    """

    def __init__(self, what: str, most: int, seconds: float | None = None) -> None:
        self.what = what
        self.most = most
        self.seconds = seconds
        self.open = 0
        self.rate = LogRate(*TROUBLE)

    def enter(self) -> bool:
        """Count one connection more; False, and a line in the log now and then, when that is one too many."""
        if self.open < self.most:
            self.open += 1
            return True
        if self.rate.allows():
            extra = {"limit": self.most, **self.rate.note()}
            logger.warning("one connection too many was closed: %s", self.what, extra=extra)
        return False

    def leave(self) -> None:
        """Count one less."""
        self.open -= 1

    def around(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """A protocol factory whose connections are those of `make`, within the limit."""
        return lambda: LimitedConnection(self, make)


class LimitedConnection(asyncio.Protocol):
    """A connection that is closed at once when there are too many, and in any case after its time."""

    def __init__(self, limit: Limit, make: Callable[[], asyncio.Protocol]) -> None:
        self.limit = limit
        self.make = make
        self.inner: asyncio.Protocol | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One too many has no protocol behind it."""
        assert isinstance(transport, asyncio.Transport)
        if not self.limit.enter():
            transport.abort()
            return
        if self.limit.seconds is not None:
            self.timer = asyncio.get_running_loop().call_later(self.limit.seconds, transport.abort)
        self.inner = self.make()
        self.inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The next one may come."""
        if self.inner is not None:
            self.limit.leave()
            if self.timer is not None:
                self.timer.cancel()
            self.inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As it comes."""
        if self.inner is not None:
            self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """As it comes."""
        return None if self.inner is None else self.inner.eof_received()

    def pause_writing(self) -> None:
        """As it comes."""
        if self.inner is not None:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        """As it comes."""
        if self.inner is not None:
            self.inner.resume_writing()
