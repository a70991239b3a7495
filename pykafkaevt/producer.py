"""The producer: records and events into one topic of a Kafka cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, NamedTuple

import orjson

from pykafkaevt.clients import open_client
from pykafkaevt.errors import Closed, DeliveryError
from pykafkaevt.kafka import producer as compiled
from pykafkaevt.kafka.delivery import DeliveryBatch
from pykafkaevt.options import ProducerOptions, checked_timeout
from pykafkaevt.sockets import KafkaSocket, parse_socket

CLOSE_TIMEOUT = 30.0  # seconds
EXIT_TIMEOUT = 5.0  # seconds, as Producer.exit_timeout unless set
logger = logging.getLogger("pykafkaevt")


def leave(
    close: Callable[[float], int],
    kind: type[BaseException] | None,
    name: str,
    exit_timeout: float = EXIT_TIMEOUT,
) -> None:
    """The end of a `with`, whose close() says how many records it left: those are logged.

    After Ctrl-C or sys.exit it flushes no longer than the interpreter's end does.
    """
    timeout = CLOSE_TIMEOUT if kind is None or issubclass(kind, Exception) else exit_timeout
    if left := close(timeout):
        logger.warning("%s: %d records were not delivered within %g s", name, left, timeout)


class ProducerStats(NamedTuple):
    """What a producer has done so far; every record accepted is in exactly one of delivered, failed, in_flight.

    queued: records accepted; delivered, failed: records with their report; dropped: not accepted, the queue was
    full (on_full="drop"); rejected: not accepted by librdkafka (too large); in_flight: records without a
    report yet; bytes_delivered: their keys and values; batches: delivery report events of librdkafka;
    latency_…_us: from the call that queued a record to its report, microseconds, within 3 % (the maximum exact);
    errors: how many records failed or were rejected, by librdkafka error code.
    """

    queued: int
    delivered: int
    failed: int
    dropped: int
    rejected: int
    in_flight: int
    bytes_delivered: int
    batches: int
    latency_p50_us: int
    latency_p90_us: int
    latency_p99_us: int
    latency_p999_us: int
    latency_max_us: int
    errors: dict[int, int]


class Producer(compiled.Producer):
    """Records and events into the topic of a Kafka socket, over one connection pool; a context manager.

    socket: `kafka:brokers/topic?g.prop=v&t.prop=v` or a KafkaSocket; connecting is lazy, so no broker need be there
    yet. on_delivery, on_error, on_full, full_timeout (s), invalid, pace: see ProducerOptions, where each is described.
    name: what logs call the producer, by default its topic. Inside on_delivery and on_error no call waits ("block" acts
    as "raise"), for that thread is what makes room.

    Raises SocketError, ConfigError when a property cannot be used, ValueError and TypeError for the options. Safe from
    many threads. After a fatal error of librdkafka the client connects anew by itself: what it held fails with that
    error, calls wait until it goes on. After fork() the child's first use opens a connection of its own; records the
    parent queued stay the parent's. A producer dropped without close() still delivers what it accepted.
    """

    def __init__(
        self,
        socket: str | KafkaSocket,
        *,
        on_delivery: Callable[[DeliveryBatch], object] | None = None,
        on_error: Callable[[DeliveryError], object] | None = None,
        on_full: str = "block",
        full_timeout: float | None = None,
        invalid: str = "replace",
        name: str | None = None,
        pace: int | Literal["auto"] | None = "auto",
    ) -> None:
        """See the class."""
        options = ProducerOptions(
            on_delivery=on_delivery,
            on_error=on_error,
            on_full=on_full,
            full_timeout=full_timeout,
            invalid=invalid,
            pace=pace,
        )
        self.socket = parse_socket(socket) if isinstance(socket, str) else socket
        name = name or self.socket.topic
        client = open_client(self.socket, name)
        try:
            self._open(
                client, self.socket.topic, tuple(self.socket.topic_properties.items()), options, name, owns_client=True
            )
        except BaseException:
            client.close(0)
            raise

    @property
    def bootstrap_servers(self) -> str:
        """The brokers it connects to, host:port joined by commas; for `kafka:embedded/…` the embedded broker's."""
        return self.client.bootstrap_servers

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self.client.closed

    @property
    def exit_timeout(self) -> float:
        """Seconds the producer is flushed for when the interpreter ends without close(); 5 unless set."""
        return self.client.exit_timeout

    @exit_timeout.setter
    def exit_timeout(self, seconds: float) -> None:
        self.client.exit_timeout = seconds

    def flush(self, timeout: float | None = None) -> int:
        """Wait until every queued record is acknowledged or failed.

        timeout: seconds, None for no limit. Returns the records still without a report (0 when all are done); it ends
        as soon as another thread closes the producer. Raises Closed after close(). Source: librdkafka rd_kafka_flush().
        """
        if self.closed:
            raise Closed(f"{self.name} is closed")
        self.client.flush(checked_timeout(timeout, "timeout"))
        return len(self)

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> int:
        """Accept nothing more, flush for at most `timeout` seconds (None: no limit), give up what is left, disconnect.

        Returns within a second beyond the timeout, whatever other threads and callbacks do: the records that were not
        delivered. Each gets its report as failed. Closing again does nothing; from a signal handler it shortens the
        close() it interrupts. Raises Error inside on_delivery and on_error.
        """
        return self.client.close(checked_timeout(timeout, "timeout"))

    def purge(self) -> None:
        """Give up every record that has no report yet: each gets one that says so (_PURGE_QUEUE, _PURGE_INFLIGHT)."""
        self.client.purge()

    def stats(self) -> ProducerStats:
        """The counters and latencies since the producer was made."""
        return ProducerStats(**self._counts())

    def rdkafka_stats(self) -> dict[str, Any]:
        """librdkafka's own newest statistics, {} before the first; every g.statistics.interval.ms (default 5000).

        Source: librdkafka STATISTICS.md.
        """
        text = self.client.statistics_text()
        return {} if text is None else orjson.loads(text)

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        leave(self.close, kind, self.name, self.exit_timeout)

    def __bool__(self) -> bool:
        # len() counts records in flight: a producer is true all the same
        return True

    def __repr__(self) -> str:
        return f"<Producer {self.name} to {self.socket}>"
