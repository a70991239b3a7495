"""The Kafka clients behind producers: one per cluster and global properties, shared by the topics on it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from pykafkaevt import embedded
from pykafkaevt.errors import Error
from pykafkaevt.kafka.client import Client, close_all
from pykafkaevt.kafka.process import renewed_after_fork
from pykafkaevt.kafka.producer import Producer
from pykafkaevt.options import ProducerOptions
from pykafkaevt.properties import check_properties, exposed_credentials, properties_of
from pykafkaevt.sockets import Cluster, KafkaSocket

logger = logging.getLogger("pykafkaevt")


def open_client(socket: KafkaSocket, name: str) -> Client:
    """A client of its own for a socket; that others can read its credentials is said in the log. Raises ConfigError."""
    check_properties(socket)
    if (reason := exposed_credentials(socket)) is not None:
        logger.warning("%s", reason)
    return Client(embedded.bootstrap_servers(socket), properties_of(socket), name)


class Shared:
    """A client and the producers on it, one per topic."""

    def __init__(self, socket: KafkaSocket) -> None:
        """Raises ConfigError."""
        self.properties = properties_of(socket)
        self.client = open_client(socket, ",".join(socket.brokers))
        self.producers: dict[str, tuple[frozenset[tuple[str, str]], Producer]] = {}
        self.uses = 0

    def fits(self, socket: KafkaSocket) -> bool:
        """Whether the socket's topic may go here: librdkafka has one set of properties per topic and client."""
        if dict(properties_of(socket)) != dict(self.properties):
            return False
        there = self.producers.get(socket.topic)
        return there is None or there[0] == frozenset(socket.topic_properties.items())


class ClientPool:
    """Producers for sockets, over as few clients as librdkafka allows. Safe from many threads.

    options: those of all producers. max_clients: at one time, with those that have not ended yet; None for no
    limit.
    """

    def __init__(self, options: ProducerOptions, max_clients: int | None = None) -> None:
        """Connects nowhere yet."""
        self._options = options
        self._max_clients = max_clients
        self._shared: dict[Cluster, list[Shared]] = {}
        self._retired: list[Shared] = []
        self._totals: dict[str, Any] = {}
        self._after_fork()
        renewed_after_fork(self)

    def _after_fork(self) -> None:
        # a signal handler may come in while this thread holds it
        self._lock = threading.RLock()

    def __del__(self) -> None:
        # of what is dropped without close() the records are still delivered, and the threads end
        if "_shared" in vars(self):
            for shared in self._all():
                shared.client.adopt()

    def borrow(self, socket: KafkaSocket) -> Producer:
        """The producer of a socket, made when it is the first of its kind. Raises ConfigError, Error."""
        with self._lock:
            candidates = self._shared.get(socket.cluster, [])
            shared = next((one for one in candidates if one.fits(socket)), None)
            if shared is None:
                self._check_limit()
                shared = Shared(socket)
                self._shared.setdefault(socket.cluster, []).append(shared)
            try:
                producer = self._make(shared, socket)
            except BaseException:
                self._retire_unused(socket.cluster, shared)
                raise
            shared.uses += 1
            return producer

    def _check_limit(self) -> None:
        self._fold()
        if self._max_clients is not None and len(self._all()) >= self._max_clients:
            raise Error(f"there are {self._max_clients} Kafka clients, and there may be no more")

    def _make(self, shared: Shared, socket: KafkaSocket) -> Producer:
        if socket.topic in shared.producers:
            return shared.producers[socket.topic][1]
        properties = tuple(socket.topic_properties.items())
        producer = Producer()
        producer._open(shared.client, socket.topic, properties, self._options, str(socket), owns_client=False)
        shared.producers[socket.topic] = (frozenset(properties), producer)
        return producer

    def give_back(self, socket: KafkaSocket, producer: Producer) -> None:
        """Take back what borrow() gave; a client that nobody uses any more delivers what it has, and ends."""
        with self._lock:
            shared = next(one for one in self._shared[socket.cluster] if one.client is producer.client)
            shared.uses -= 1
            self._retire_unused(socket.cluster, shared)

    def _retire_unused(self, cluster: Cluster, shared: Shared) -> None:
        if shared.uses == 0:
            self._shared[cluster].remove(shared)
            if not self._shared[cluster]:
                del self._shared[cluster]
            shared.client.adopt()
            self._retired.append(shared)
            self._fold()

    def _fold(self) -> None:
        """Keep only the counts of clients that have ended."""
        for shared in [one for one in self._retired if one.client.ended]:
            self._retired.remove(shared)
            for _, producer in shared.producers.values():
                add(self._totals, producer._counts())

    def _all(self) -> list[Shared]:
        return [*(shared for group in self._shared.values() for shared in group), *self._retired]

    def counts(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The counters of all producers added up, and those of each that is in use by its socket's text."""
        with self._lock:
            self._fold()
            totals: dict[str, Any] = {}
            add(totals, self._totals)
            each: dict[str, dict[str, Any]] = {}
            for shared in self._all():
                for _, producer in shared.producers.values():
                    counts = producer._counts()
                    add(totals, counts)
                    if shared not in self._retired:
                        add(each.setdefault(producer.name, {}), counts)
            return totals, each

    def clients(self) -> list[Client]:
        """All of them, those that end by themselves too."""
        with self._lock:
            return [shared.client for shared in self._all()]

    def flush(self, timeout: float | None) -> int:
        """Wait until every record has its report, `timeout` seconds at most; the records still without."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return sum(
            client.flush(None if deadline is None else max(0.0, deadline - time.monotonic()))
            for client in self.clients()
        )

    def close(self, timeout: float | None) -> int:
        """Close every client within `timeout` seconds, and one more; the records that were not delivered.

        Raises Error in a callback of one of them, after which all are as they were.
        """
        return close_all(self.clients(), timeout)

    def not_in_callback(self, what: str) -> None:
        """Raise Error where close() would."""
        for client in self.clients():
            client.not_in_callback(what)


def add(totals: dict[str, Any], counts: dict[str, Any]) -> None:
    """Add counters up, by name; of latencies the largest is kept."""
    for name, value in counts.items():
        if name == "errors":
            errors = totals.setdefault("errors", {})
            for code, count in value.items():
                errors[code] = errors.get(code, 0) + count
        elif name.startswith("latency_"):
            totals[name] = max(totals.get(name, 0), value)
        else:
            totals[name] = totals.get(name, 0) + value
