"""The embedded broker: librdkafka's mock cluster, inside this process, with no server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final

from pykafkaevt.kafka.mock import MockCluster
from pykafkaevt.sockets import KafkaSocket

EMBEDDED: Final = "embedded"  # the broker name that means "in this process"

API_KEYS: Final = {"Produce": 0, "Fetch": 1, "ListOffsets": 2, "Metadata": 3, "ApiVersion": 18, "InitProducerId": 22}


class EmbeddedBroker(MockCluster):
    """A cluster of `brokers` mock brokers on loopback ports of their own; a context manager.

    topics: names, or a mapping of name to number of partitions (4 otherwise); a topic that is not named is made
    when it is first used, with 4 partitions. A partition keeps its newest 5 MB or so. The brokers run in this
    process and end with it. bootstrap_servers: their addresses, host:port joined by commas, for any Kafka client.
    """

    def __init__(self, brokers: int = 1, topics: Iterable[str] | Mapping[str, int] | None = None) -> None:
        """Raises ValueError for fewer than 1 broker, DeliveryError for a topic given twice."""
        super().__init__(brokers)
        partitions = topics if isinstance(topics, Mapping) else dict.fromkeys(topics or (), 4)
        for topic, count in partitions.items():
            self.create_topic(topic, count, min(3, brokers))

    def push_errors(self, api: int | str, codes: Iterable[int]) -> None:
        """Answer the next requests of one kind with these error codes, in order; no codes clears them.

        api: "Produce", "Metadata" … or a Kafka API key. Raises KeyError for another name.
        """
        super().push_errors(API_KEYS[api] if isinstance(api, str) else api, codes)

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EmbeddedBroker({self.bootstrap_servers})"


_lock = threading.Lock()
_shared: EmbeddedBroker | None = None


def _forget() -> None:
    """The threads of the shared broker stayed in the parent: a forked child starts one of its own."""
    global _shared, _lock  # noqa: PLW0603
    _shared = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def bootstrap_servers(socket: KafkaSocket) -> str:
    """The socket's bootstrap servers; for `kafka:embedded/…` those of this process's embedded broker."""
    global _shared  # noqa: PLW0603
    if socket.brokers != (EMBEDDED,):
        return socket.bootstrap_servers
    with _lock:
        if _shared is None:
            _shared = EmbeddedBroker()
        return _shared.bootstrap_servers
