"""The Kafka clients behind producers: one per cluster and global properties, shared by the topics on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from pykafkaevt import embedded
from pykafkaevt.kafka import producer as _producer
from pykafkaevt.kafka.client import Client
from pykafkaevt.sockets import Cluster, KafkaSocket

PACE = 20_000  # records in flight: at 300 bytes each about what the caches hold

# Properties that idempotence excludes or limits (librdkafka's INTRODUCTION.md, "Idempotent Producer").
DECIDED_BY_USER = {
    "enable.idempotence",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "queuing.strategy",
    "retries",
}


def properties_of(socket: KafkaSocket) -> tuple[tuple[str, str], ...]:
    """The client's properties: the socket's, with idempotence unless they speak against it.

    Without it a request that is retried may overtake the one before it: events of one call would change their order,
    or stand twice.
    """
    properties = {**socket.global_properties}
    acks = {
        value
        for given in (socket.global_properties, socket.topic_properties)
        for name, value in given.items()
        if name in ("acks", "request.required.acks")
    }
    if acks <= {"all", "-1"} and not DECIDED_BY_USER & properties.keys():
        properties["enable.idempotence"] = "true"
    return tuple(properties.items())


def open_client(socket: KafkaSocket, name: str) -> Client:
    """A client of its own for a socket. Raises ConfigError."""
    return Client(embedded.bootstrap_servers(socket), properties_of(socket), name)


class Shared:
    """A client and the producers on it, one per topic."""

    def __init__(self, socket: KafkaSocket) -> None:
        """Raises ConfigError."""
        self.properties = properties_of(socket)
        self.client = open_client(socket, ",".join(socket.brokers))
        self.producers: dict[str, tuple[frozenset[tuple[str, str]], _producer.Producer]] = {}
        self.uses = 0

    def takes(self, socket: KafkaSocket) -> bool:
        """Whether the socket's topic may go here: librdkafka has one set of properties per topic and client."""
        if dict(properties_of(socket)) != dict(self.properties):
            return False
        there = self.producers.get(socket.topic)
        return there is None or there[0] == frozenset(socket.topic_properties.items())


class ClientPool:
    """Producers for sockets, over as few clients as librdkafka allows. Safe from many threads.

    on_delivery gets the DeliveryBatches of all of them; options: those of Producer (on_full, full_timeout, on_error,
    invalid, pace).
    """

    def __init__(self, on_delivery: Callable[..., object] | None, options: dict[str, Any]) -> None:
        """Connects nowhere yet."""
        self._on_delivery = on_delivery
        defaults = {"on_error": None, "on_full": "block", "full_timeout": None, "invalid": "replace", "pace": PACE}
        self._options = {**defaults, **options}
        self._shared: dict[Cluster, list[Shared]] = {}
        self._retired: list[Shared] = []
        self._totals: dict[str, Any] = {}
        self._lock = threading.Lock()

    def take(self, socket: KafkaSocket) -> _producer.Producer:
        """The producer of a socket, made when it is the first of its kind. Raises ConfigError."""
        with self._lock:
            candidates = self._shared.setdefault(socket.cluster, [])
            shared = next((one for one in candidates if one.takes(socket)), None)
            if shared is None:
                shared = Shared(socket)
                candidates.append(shared)
            try:
                producer = self._make(shared, socket)
            except BaseException:
                self._retire_unused(socket.cluster, shared)
                raise
            shared.uses += 1
            return producer

    def _make(self, shared: Shared, socket: KafkaSocket) -> _producer.Producer:
        if socket.topic in shared.producers:
            return shared.producers[socket.topic][1]
        properties = tuple(socket.topic_properties.items())
        producer = _producer.Producer()
        producer._open(
            shared.client,
            socket.topic,
            properties,
            self._on_delivery,
            self._options["on_error"],
            self._options["on_full"],
            self._options["full_timeout"],
            self._options["invalid"],
            str(socket),
            self._options["pace"],
        )
        shared.producers[socket.topic] = (frozenset(properties), producer)
        return producer

    def give(self, socket: KafkaSocket, producer: _producer.Producer) -> None:
        """Take back what take() gave; a client that nobody uses any more delivers what it has, and ends."""
        with self._lock:
            shared = next(one for one in self._shared[socket.cluster] if one.client is producer.client)
            shared.uses -= 1
            self._retire_unused(socket.cluster, shared)

    def _retire_unused(self, cluster: Cluster, shared: Shared) -> None:
        if shared.uses == 0:
            self._shared[cluster].remove(shared)
            if not self._shared[cluster]:
                del self._shared[cluster]
            shared.client.abandon()
            self._retired.append(shared)
            self._fold()

    def _fold(self) -> None:
        """Keep only the counts of clients that have ended."""
        for shared in [one for one in self._retired if one.client.closed]:
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

    def _each(self, timeout: float | None, do: Callable[[Client, float | None], int]) -> int:
        """Do something to every client within one time limit; the sum of what it returns."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            clients = [shared.client for shared in self._all()]
        return sum(
            do(client, None if deadline is None else max(0.0, deadline - time.monotonic())) for client in clients
        )

    def flush(self, timeout: float | None) -> int:
        """Wait until every record has its report, `timeout` seconds at most; the records still without."""
        return self._each(timeout, lambda client, left: 0 if client.closed else client.flush(left))

    def close(self, timeout: float | None) -> int:
        """Close every client within `timeout` seconds; the records that were not delivered in time."""
        return self._each(timeout, lambda client, left: client.close(left))


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
