"""Where the bridge's records go: the producers behind routes, subscribers and dead letters."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import orjson

from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.routes import Routes
from pykafkaevt.clients import ClientPool
from pykafkaevt.errors import ConfigError, DeliveryError
from pykafkaevt.events import EventInterface
from pykafkaevt.kafka.library import error_name
from pykafkaevt.kafka.producer import Producer
from pykafkaevt.sockets import KafkaSocket

logger = logging.getLogger("pykafkaevt.bridge")

# What a target's socket does not say itself. An outage shows within a second; and while a broker is away, or a client
# still connects, 5 s of 200,000 events fit, as far as they do into queue.buffering.max.kbytes (1 GB).
DEFAULTS: Final = {"statistics.interval.ms": "500", "queue.buffering.max.messages": "1000000"}


class Target(NamedTuple):
    """What records go to: the socket as it was given, the one with our defaults, its producer."""

    pattern: str
    given: KafkaSocket
    socket: KafkaSocket
    producer: Producer


def with_defaults(socket: KafkaSocket) -> KafkaSocket:
    """The socket with DEFAULTS for what it does not say itself."""
    missing = {name: value for name, value in DEFAULTS.items() if name not in socket.global_properties}
    return socket.with_properties(global_properties=missing)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts before the property of a ConfigError what the socket is for."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.property}", error.reason) from error


class Targets:
    """The targets of one configuration: producers of a pool, until close()."""

    def __init__(self, config: BridgeConfig, pool: ClientPool, interface: EventInterface) -> None:
        """Raises ConfigError naming the option and the property, after which nothing is open."""
        self.config = config
        self.pool = pool
        self.interface = interface
        self.all: list[Target] = []
        self.dead_letter: Target | None = None
        try:
            for route in config.routes:
                self.open(f"route {route.pattern}", route.pattern, route.socket)
            self.open("to", "*", config.default)
            if config.dead_letter is not None:
                self.dead_letter = self.open("dead_letter", "", config.dead_letter)
        except BaseException:
            self.close()
            raise

    def open(self, name: str, pattern: str, given: KafkaSocket) -> Target:
        """The target for a socket."""
        socket = with_defaults(given)
        with naming(name):
            target = Target(pattern, given, socket, self.pool.borrow(socket))
        self.all.append(target)
        return target

    def routes(self) -> Routes:
        """The routes as they are now, with the subscribers of now."""
        return Routes(
            [(one.pattern, one.producer, one.given.key is not None) for one in self.all if one.pattern],
            key_fields=self.config.key_fields,
            time_field=self.config.time_field,
            headers=self.config.headers,
            dead_letter=None if self.dead_letter is None else self.dead_letter.producer,
            subscribers=[
                (name, one.producer, one.socket.key is not None) for name, one in self.interface.subscriptions()
            ],
        )

    def close(self) -> None:
        """Return the producers to the pool; they deliver what they hold."""
        for one in self.all:
            self.pool.give_back(one.socket, one.producer)
        self.all = []

    def snapshot(self) -> list[dict[str, Any]]:
        """Each target's state and counters; a target of several routes once."""
        return [state(one) for one in {id(one.producer): one for one in self.all}.values()]


def state(target: Target) -> dict[str, Any]:
    """A target's state and counters, JSON-able. While its client is opened, or opened anew, there are no statistics."""
    counts = target.producer._counts()
    text = target.producer.client.statistics_text()
    error = trouble(orjson.loads(text) if text else {}, target.producer.last_error) or target.producer.refusal
    return {
        "socket": str(target.given),
        "topic": target.given.topic,
        "up": error is None,
        "error": error,
        **counts,
        "errors": {error_name(code): count for code, count in counts["errors"].items()},
    }


def trouble(statistics: dict[str, Any], last_error: str | None) -> str | None:
    """Why a client delivers nothing, None when it does. Source: librdkafka STATISTICS.md, brokers and eos."""
    states = {str(broker["state"]) for broker in statistics.get("brokers", {}).values()}
    if not states:
        return f"no connection yet: {last_error}" if last_error else "no connection yet"
    if "UP" not in states:
        return f"no broker is up: {last_error or ', '.join(sorted(states))}"
    idempotence = statistics.get("eos", {}).get("idemp_state", "Assigned")
    return None if idempotence == "Assigned" else f"no producer ID yet: {last_error or idempotence}"


class Retired:
    """Targets and routes of before a reload: closed when no input uses them any more. For one thread at a time."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Routes, Targets | None]] = []

    def add(self, due: float, routes: Routes, targets: Targets | None) -> None:
        """due: time.monotonic() at which messages that wait for the old targets go to the new ones instead."""
        self.waiting.append((due, routes, targets))

    def sweep(self, now: float, ingests: list[Any]) -> None:
        """Close what is not in use."""
        waiting, self.waiting = self.waiting, []
        for due, routes, targets in waiting:
            if now > due:
                routes.abandon()
            # every input is asked, for one that does not use them forgets them at that
            if sum(ingest.uses(routes) for ingest in ingests):
                self.waiting.append((due, routes, targets))
            elif targets is not None:
                targets.close()


def log_error(error: DeliveryError) -> None:
    """on_error of the targets' producers: librdkafka's log has the same lines; kept for those who debug."""
    logger.debug("%s", error)
