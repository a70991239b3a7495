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


class EmbeddedBroker:
    """A cluster of `brokers` mock brokers on loopback ports of their own; a context manager.

    topics: names, or a mapping of name to number of partitions (4 otherwise); a topic that is not named is made
    when it is first used, with 4 partitions. A partition keeps its newest 5 MB or so. The brokers run in this
    process and end with it.
    """

    def __init__(self, brokers: int = 1, topics: Iterable[str] | Mapping[str, int] | None = None) -> None:
        """Raises ValueError for fewer than 1 broker, DeliveryError for a topic given twice."""
        self._cluster = MockCluster(brokers)
        partitions = topics if isinstance(topics, Mapping) else dict.fromkeys(topics or (), 4)
        for topic, count in partitions.items():
            self._cluster.create_topic(topic, count, min(3, brokers))

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses, host:port joined by commas: for any Kafka client."""
        return self._cluster.bootstrap_servers

    def create_topic(self, topic: str, partitions: int = 4, replication: int = 1) -> None:
        """Make a topic. Raises DeliveryError when librdkafka refuses it."""
        self._cluster.create_topic(topic, partitions, replication)

    def set_down(self, broker_id: int) -> None:
        """Close the broker's connections and refuse new ones; broker IDs start at 1."""
        self._cluster.set_down(broker_id)

    def set_up(self, broker_id: int) -> None:
        """Let the broker take connections again."""
        self._cluster.set_up(broker_id)

    def set_rtt_ms(self, broker_id: int, ms: int) -> None:
        """Delay the broker's answers by `ms` milliseconds."""
        self._cluster.set_rtt_ms(broker_id, ms)

    def push_errors(self, api: int | str, codes: Iterable[int]) -> None:
        """Answer the next requests of one kind with these error codes, in order; no codes clears them.

        api: "Produce", "Metadata" … or a Kafka API key. Raises KeyError for another name.
        """
        self._cluster.push_errors(API_KEYS[api] if isinstance(api, str) else api, codes)

    def close(self) -> None:
        """End the brokers; records that are only here are gone."""
        self._cluster.close()

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
