"""The connector: brokers named by an ID, and messages published to them from a script."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from pykafkaevt import connector
from pykafkaevt.clients import ClientPool
from pykafkaevt.connector import Broker, KafkaReport
from pykafkaevt.errors import Closed, ConfigError
from pykafkaevt.options import ProducerOptions, checked_timeout
from pykafkaevt.producer import CLOSE_TIMEOUT, leave
from pykafkaevt.sockets import parse_broker_id

_Route = TypeVar("_Route", bound=Callable[[KafkaReport], object])
logger = logging.getLogger("pykafkaevt")


class Connector(connector.Connector):
    """Brokers by ID and kafka_publish(), as OpenSIPS's event_kafka offers them to its script; a context manager.

    broker_ids: texts of the form "[ID]socket"; more by broker_id(). producer_options: those of ProducerOptions, for
    every broker; without on_full a full queue makes kafka_publish() return
    -1 at once. Safe from many threads; after fork() as Producer.
    """

    def __init__(self, broker_ids: Iterable[str] = (), *, producer_options: Mapping[str, Any] | None = None) -> None:
        """Raises SocketError and ConfigError, as broker_id()."""
        if isinstance(broker_ids, str):
            raise TypeError("broker_ids must be several texts, not one str")
        self._pool = ClientPool(ProducerOptions(**{"on_full": "raise", **(producer_options or {})}))
        self._callid_warned = False
        for text in broker_ids:
            self.broker_id(text)

    def broker_id(self, text: str) -> None:
        """Define a broker: "[k1]127.0.0.1:9092/topic?g.linger.ms=5"; as often as wanted.

        Raises SocketError, ConfigError for an ID given twice or a property librdkafka refuses, Closed.
        Source: the module's document, parameter broker_id.
        """
        if self.closed:
            raise Closed("the connector is closed")
        name, socket = parse_broker_id(text)
        if name in self.brokers:
            raise ConfigError(f"broker_id [{name}]", "the ID is given twice")
        if socket.key is not None and not self._callid_warned:
            self._callid_warned = True
            logger.warning("broker_id [%s]: key=callid has no effect here; kafka_publish() is given the key", name)
        self.brokers[name] = Broker(name, self._pool.borrow(socket))

    def route(self, name: str) -> Callable[[_Route], _Route]:
        """Register a report route under a name: `@connector.route("kafka_report")`."""

        def register(function: _Route) -> _Route:
            self.routes[name] = function
            return function

        return register

    def flush(self, timeout: float | None = None) -> int:
        """Wait until every message has its report, `timeout` seconds at most; the messages still without."""
        if self.closed:
            raise Closed("the connector is closed")
        return self._pool.flush(checked_timeout(timeout, "timeout"))

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> int:
        """Flush for at most `timeout` seconds, then give up what is left; the messages not delivered in time.

        Each of those gets its report. Closing again does nothing and returns 0. Raises Error inside a report route.
        """
        if self.closed:
            return 0
        timeout = checked_timeout(timeout, "timeout")
        self._pool.not_in_callback("close()")
        self._close()
        return self._pool.close(timeout)

    def stats(self) -> dict[str, dict[str, Any]]:
        """The counters of each socket in use (those of ProducerStats), by its text."""
        return self._pool.counts()[1]

    def __enter__(self) -> Connector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        leave(self.close, kind, "Connector")
