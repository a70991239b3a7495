"""What handles each input's messages, and where they go, while that changes: reload, subscribe, expiry."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

from pykafkaevt.bridge.admission import ANYONE, Admission, admissions_of
from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.inputs import Input
from pykafkaevt.bridge.remote_sockets import CLIENTS
from pykafkaevt.bridge.targets import Retired, Targets, log_error
from pykafkaevt.clients import ClientPool
from pykafkaevt.events import EventInterface
from pykafkaevt.kafka.client import Client, close_all
from pykafkaevt.options import ProducerOptions

COUNTS: Final = ("received", "bytes", "queued", "invalid", "unrouted", "kernel_drops", "refused")


class Routing:
    """The ingests of all inputs, the targets and the subscribers, over the clients of one pool."""

    def __init__(self, config: BridgeConfig) -> None:
        """Opens the clients, connected in the background. Raises ConfigError, and nothing is open."""
        self.config = config
        self.admissions = dict(admissions_of(config))
        self.interface = EventInterface(max_clients=CLIENTS)
        self.pool = ClientPool(ProducerOptions(on_error=log_error))
        self.ingests: dict[Input, list[Ingest]] = {}
        self.retired = Retired()
        self.changing = threading.RLock()  # held while routes change; readers go without
        self.targets = Targets(config, self.pool, self.interface)
        self.subscribed = self.interface.subscriptions()
        self.routes = self.targets.routes()

    def make_ingest(self, source: Input, kind: str) -> Ingest:
        """What handles one stream of an input's messages."""
        config = self.config
        with self.changing:
            ingest = Ingest(
                kind,
                source.url,
                self.routes,
                raw=config.raw,
                method=config.method if kind == "plain" else None,
                max_size=config.max_size,
                access=self.admission(source).access,
            )
            self.ingests.setdefault(source, []).append(ingest)
        return ingest

    def admission(self, source: Input) -> Admission:
        """Who may send to an input."""
        return self.admissions.get(source, ANYONE)

    def by_input(self) -> list[tuple[Input, list[Ingest]]]:
        """The inputs and their ingests."""
        return [(source, list(group)) for source, group in list(self.ingests.items())]

    def all_ingests(self) -> list[Ingest]:
        """Those of all inputs."""
        return [one for _, group in self.by_input() for one in group]

    def reconfigure(self, config: BridgeConfig) -> None:
        """Use the targets, routes and keys of another configuration, and its inputs' rules of who may send.

        Raises ConfigError, and nothing has changed.
        """
        with self.changing:
            admissions = admissions_of(config)
            targets = Targets(config, self.pool, self.interface)
            self.config = config
            self.renew(targets)
            self.admissions.update(admissions)
            for source, group in self.by_input():
                for ingest in group:
                    ingest.set_access(self.admission(source).access)

    def renew(self, targets: Targets | None = None) -> None:
        """Have all inputs use routes made now: of other targets, or with other subscribers."""
        with self.changing:
            old_routes, old_targets = self.routes, self.targets
            if targets is not None:
                self.targets = targets
            self.subscribed = self.interface.subscriptions()
            self.routes = self.targets.routes()
            for ingest in self.all_ingests():
                ingest.set_routes(self.routes)
            self.retired.add(time.monotonic() + self.config.drain, old_routes, None if targets is None else old_targets)

    def sweep(self) -> None:
        """Drop subscribers that have expired, and close targets that no input uses any more."""
        with self.changing:
            if self.interface.subscriptions() != self.subscribed:
                self.renew()
            self.retired.sweep(time.monotonic(), self.all_ingests())

    def abort(self) -> None:
        """Wait for full queues no longer: what no queue accepts is counted as abandoned."""
        for ingest in self.all_ingests():
            ingest.abort()

    def give_up(self) -> None:
        """Close all clients, those of retired targets too, without waiting: what is not acknowledged fails."""
        close_all(self.clients(), 0)

    def close(self, timeout: float) -> int:
        """Deliver what is queued and close all clients, within `timeout` seconds; the records not delivered."""
        left = close_all(self.clients(), timeout)
        self.interface.close(0)
        return left

    def clients(self) -> list[Client]:
        """Those of all targets and subscribers."""
        return [*self.pool.clients(), *self.interface._pool.clients()]

    def totals(self) -> dict[str, int]:
        """The counters of all inputs and targets added up."""
        totals: Counter[str] = Counter()
        for ingest in self.all_ingests():
            counts = ingest.counts()
            totals.update({name: counts[name] for name in COUNTS})
        counts, _ = self.pool.counts()
        totals.update({name: counts.get(name, 0) for name in ("delivered", "failed", "in_flight")})
        return dict(totals)
