"""The bridge's life: inputs, targets and control come up, run, are reloaded, and drain."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

import orjson
from sdnotify import SystemdNotifier  # type: ignore[import-untyped]

from pykafkaevt import __version__
from pykafkaevt.bridge.config import BridgeConfig, Input
from pykafkaevt.bridge.control import Control
from pykafkaevt.bridge.datagrams import open_sockets
from pykafkaevt.bridge.ingest import Ingest
from pykafkaevt.bridge.streams import Streams
from pykafkaevt.bridge.targets import Retired, Targets, log_error
from pykafkaevt.clients import ClientPool
from pykafkaevt.errors import Closed, Error, EventError
from pykafkaevt.events import EventInterface
from pykafkaevt.jsonrpc.template import dumps

logger = logging.getLogger("pykafkaevt.bridge")

notify = SystemdNotifier().notify  # systemd's states, sd_notify(3); nothing without systemd
TICK: Final = 0.5  # seconds between two looks at samples, subscribers and retired targets
DROPS_SECONDS: Final = 5.0  # between two lines about the kernel's drops
SETTLING: Final = 0.3  # seconds in which what TCP peers have sent is read
ANSWERING: Final = 1.0  # seconds that the last answers to TCP peers may take
MI: Final = Input("mi:", "mi")  # events raised by hand
COUNTS: Final = ("received", "bytes", "queued", "invalid", "unrouted", "kernel_drops")
SAMPLE: Final = ("reason", "source", "size", "excerpt")


class Bridge:
    """The daemon. config: what to run; reread: gives the configuration anew for a reload, None when there is no file.

    Made, it holds nothing; run() binds the inputs and blocks until SIGTERM, SIGINT or stop(), or until inputs that
    end by themselves have ended.
    """

    def __init__(self, config: BridgeConfig, reread: Callable[[], BridgeConfig] | None = None) -> None:
        self.config = config
        self.reread = reread
        self.started = time.time()
        self.ready = False
        self.draining = False
        self.interface = EventInterface()
        self.pool = ClientPool(None, {"on_error": log_error})
        self.ingests: dict[Input, list[Ingest]] = {}
        self.retired = Retired()  # under `changing`
        self.changing = threading.RLock()  # held while routes change
        self.raising = threading.Lock()  # held while mi is fed
        self.ending = threading.Event()
        self.reloading = threading.Event()
        self.wake = threading.Event()
        self.threads: list[threading.Thread] = []
        self.subscribed: list[tuple[str, Any]] = []
        self.failed: BaseException | None = None
        self.drops = 0  # of the kernel, as logged
        self.drops_due = 0.0

    @property
    def healthy(self) -> bool:
        """Whether no input failed."""
        return self.failed is None and self.streams.failed is None

    # Life

    def run(self) -> int:
        """Run to the end. 0 when every record was delivered, else 1. Raises ConfigError before anything runs."""
        with ExitStack() as stack:
            self.targets = Targets(self.config, self.pool, self.interface)
            self.routes = self.targets.routes()
            self.open_inputs(stack)
            self.mi = self.make_ingest(MI, "json")
            self.streams = Streams(
                self.config.inputs,
                self.make_ingest,
                method=self.config.method,
                speed=self.config.speed,
                max_size=self.config.max_size,
            )
            control = Control(self, self.config.control, self.config.http)
            control.start()
            stack.callback(control.stop)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                stack.callback(signal.signal, number, signal.signal(number, self.on_signal))
            self.streams.start()
            for thread in self.threads:
                thread.start()
            self.ready = True
            notify("READY=1")
            logger.info(
                "ready", extra={"inputs": [one.url for one in self.config.inputs], "to": str(self.config.default)}
            )
            self.loop()
            return self.drain()

    def on_signal(self, number: int, _frame: object) -> None:
        """SIGHUP reloads; SIGTERM and SIGINT drain, the second of them gives up at once."""
        if number == signal.SIGHUP:
            self.reloading.set()
        elif self.ending.is_set():
            self.give_up()
        else:
            self.ending.set()
        self.wake.set()

    def stop(self) -> None:
        """End run(): from any thread."""
        self.ending.set()
        self.wake.set()

    def open_inputs(self, stack: ExitStack) -> None:
        """Bind the datagram inputs, and make their threads."""
        for source in self.config.inputs:
            if source.transport not in ("udp", "unix"):
                continue
            kind = "hep" if source.scheme == "hep" else "json"
            opened = open_sockets(source, self.config.workers, self.config.receive_buffer)
            for number, one in enumerate(opened, 1):
                stack.callback(one.close)
                ingest = self.make_ingest(source, kind)
                self.threads.append(
                    threading.Thread(
                        target=self.receive, args=(ingest, one), name=f"pykafkaevt {source.url} {number}", daemon=True
                    )
                )
            if source.scheme == "unix":
                assert source.path is not None
                stack.callback(source.path.unlink, missing_ok=True)

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
            )
            self.ingests.setdefault(source, []).append(ingest)
        return ingest

    def receive(self, ingest: Ingest, one: socket.socket) -> None:
        """The thread of one datagram socket; an error of the socket ends the daemon, for systemd to start it anew."""
        try:
            ingest.receive(one.fileno())
        except Exception as error:
            logger.critical("%s: receiving failed: %s", ingest.url, error)
            self.failed = error
            self.stop()

    def loop(self) -> None:
        """What is done beside receiving, until the end is asked for."""
        says = time.monotonic() + self.config.stats_interval
        while not self.ending.is_set() and not self.streams.finished.is_set():
            self.wake.wait(TICK)
            self.wake.clear()
            if self.reloading.is_set():
                self.reloading.clear()
                self.try_reload()
            self.tick()
            notify("WATCHDOG=1")
            if self.config.stats_interval and time.monotonic() >= says:
                says += self.config.stats_interval
                logger.info("figures", extra=self.totals())

    def tick(self) -> None:
        """Log drops and samples of invalid messages, let expired subscribers and old targets go."""
        self.log_samples()
        self.log_drops()
        with self.changing:
            if self.interface.subscriptions() != self.subscribed:
                self.renew_routes(None)
            self.retired.sweep(time.monotonic(), self.all_ingests())

    def log_samples(self) -> None:
        """Some of the messages that were invalid since the last call."""
        for ingest in self.all_ingests():
            for sample in ingest.samples():
                logger.warning("%s: invalid message", ingest.url, extra={name: sample[name] for name in SAMPLE})

    def log_drops(self) -> None:
        """What the kernel dropped since the last such line, at most one in DROPS_SECONDS."""
        drops: Counter[str] = Counter()
        for ingest in self.all_ingests():
            drops[ingest.url] += ingest.counts()["kernel_drops"]
        if drops.total() > self.drops and time.monotonic() >= self.drops_due:
            self.drops_due = time.monotonic() + DROPS_SECONDS
            self.drops = drops.total()
            logger.warning("the kernel dropped datagrams: a receive buffer was full", extra={"kernel_drops": +drops})

    def all_ingests(self) -> list[Ingest]:
        """Those of all inputs."""
        with self.changing:
            return [one for group in self.ingests.values() for one in group]

    def totals(self) -> dict[str, int]:
        """The counters of all inputs and targets added up."""
        totals: Counter[str] = Counter()
        for ingest in self.all_ingests():
            counts = ingest.counts()
            totals.update({name: counts[name] for name in COUNTS})
        counts, _ = self.pool.counts()
        totals.update({name: counts.get(name, 0) for name in ("delivered", "failed", "in_flight")})
        return dict(totals)

    def drain(self) -> int:
        """Take what the kernel holds, deliver what is queued, within the time there is; say what was not.

        Half of the time is for taking, so that a sender that never pauses leaves some for the acknowledgements.
        """
        self.draining = True
        self.ready = False
        notify("STOPPING=1")
        taken = time.monotonic() + self.config.drain / 2
        end = taken + self.config.drain / 2
        logger.info("draining", extra={"seconds": self.config.drain})
        self.streams.stop()
        for ingest in self.all_ingests():
            ingest.stop()
        for thread in self.threads:
            thread.join(max(0.0, taken - time.monotonic()))
        if self.streams.listeners:
            time.sleep(SETTLING)
        self.abort()
        for thread in self.threads:
            thread.join()
        left = self.pool.close(max(0.0, end - time.monotonic()))
        left += self.interface.close(max(0.0, end - time.monotonic()))
        self.streams.join(ANSWERING)
        self.log_samples()
        totals = self.totals()
        logger.log(logging.ERROR if left or totals["failed"] else logging.INFO, "ended", extra={**totals, "lost": left})
        return 1 if left or totals["failed"] or not self.healthy else 0

    def abort(self) -> None:
        """Wait for room no longer: what no queue takes is counted as abandoned."""
        for ingest in self.all_ingests():
            ingest.abort()

    def give_up(self) -> None:
        """Fail at once what is not acknowledged: from the signal handler."""
        self.abort()
        for target in self.targets.taken:
            with suppress(Closed):
                target.producer.client.purge()

    # Routes

    def renew_routes(self, targets: Targets | None) -> None:
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

    def try_reload(self) -> None:
        """reload(), its failure in the log."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            self.reload()
        except Error as error:
            logger.error("the configuration stays as it was: %s", error)
        notify("READY=1")

    # OpenSIPS's MI, and ours

    def reload(self) -> str:
        """Read the configuration anew: routes, targets, keys, headers, dead letters; without losing a message.

        Inputs, workers and control stay as they are. Raises ConfigError, SocketError, after which nothing has changed.
        """
        if self.reread is None:
            raise EventError("there is no configuration file to reload", 400)
        config = self.reread()
        with self.changing:
            targets = Targets(config, self.pool, self.interface)
            if set(config.inputs) != set(self.config.inputs):
                logger.warning("inputs are changed by a restart, not by a reload")
            self.config = config
            self.renew_routes(targets)
        logger.info("reloaded", extra={"routes": [f"{one.pattern}={one.socket}" for one in config.routes]})
        return "OK"

    def events_list(self) -> dict[str, Any]:
        """The events seen so far, as OpenSIPS's MI command events_list."""
        for ingest in self.all_ingests():
            for name in ingest.counts()["events"]:
                # names beyond those that are counted each
                if name != "(other)":
                    self.interface.publish_event(name)
        return self.interface.events_list()

    def subscribers_list(self, event: str | None = None, socket: str | None = None) -> dict[str, Any]:
        """As OpenSIPS's MI command. Raises EventError, SocketError, ValueError."""
        return self.interface.subscribers_list(event, socket)

    def event_subscribe(self, event: str, socket: str, expire: float | None = None) -> str:
        """Have an event, seen yet or not, go to a Kafka socket too, for `expire` seconds. Raises as the interface."""
        self.interface.publish_event(event)
        self.interface.subscribe_event(event, socket, expire)
        self.renew_routes(None)
        return "OK"

    def raise_event(self, event: str, params: Mapping[str, object] | Sequence[object] | str | None = None) -> str:
        """Take an event as if it had been received. Raises SerializeError, EventError when it is not taken, Closed."""
        given = orjson.loads(params) if isinstance(params, str) else params
        if given is not None and not isinstance(given, (dict, list, tuple)):
            raise EventError("params must be an object or an array", 400)
        if self.draining:
            raise Closed("the bridge is draining")
        # a lock of its own: feeding waits while a target's queue is full
        with self.raising:
            if not self.mi.feed(dumps(event, given), "mi"):
                raise EventError(f"the event {event!r} was not taken", 400)
        return "OK"

    def kafka_stats(self) -> dict[str, Any]:
        """All that snapshot() says."""
        return self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """Everything there is to see, JSON-able; counters since the start."""
        invalid: Counter[str] = Counter()
        events: Counter[str] = Counter()
        newest: list[dict[str, Any]] = []
        inputs = []
        with self.changing:
            groups = {source: list(group) for source, group in self.ingests.items()}
            targets = self.targets.snapshot()
        for source, group in groups.items():
            totals: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
            for ingest in group:
                counts = ingest.counts()
                totals.update({name: counts[name] for name in COUNTS})
                invalid.update(counts["reasons"])
                events.update(counts["events"])
                newest += ingest.last_events()
            inputs.append({"url": source.url, **totals, "connections": self.streams.connections(source.url)})
        newest.sort(key=lambda one: one["time"], reverse=True)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self.started,
            "uptime_s": time.time() - self.started,
            "ready": self.ready,
            "draining": self.draining,
            "inputs": inputs,
            "targets": targets,
            "invalid": dict(invalid),
            "events": dict(events),
            "subscribers": [
                {"event": name, "socket": str(one.socket), "expires_s": one.ttl}
                for name, one in self.interface.subscriptions()
            ],
            "last_events": newest[:20],
        }
