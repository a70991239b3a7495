"""What OpenSIPS's MI commands, and ours, do with a running bridge."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import orjson

from pykafkaevt import __version__
from pykafkaevt.bridge.config import EVENT_NAME, BridgeConfig
from pykafkaevt.bridge.connections import not_queued
from pykafkaevt.bridge.inputs import Input
from pykafkaevt.bridge.receivers import Receivers
from pykafkaevt.bridge.remote_sockets import SOCKET_TEXT, SUBSCRIPTIONS, check_remote
from pykafkaevt.bridge.routing import COUNTS, Routing
from pykafkaevt.bridge.streams import Streams
from pykafkaevt.errors import Closed, DeliveryError, Error, EventError
from pykafkaevt.event import Subscription
from pykafkaevt.jsonrpc.template import dumps
from pykafkaevt.sockets import parse_socket

logger = logging.getLogger("pykafkaevt.bridge")

MI: Final = Input("mi:", "mi")  # the input of events raised by hand
NEWEST: Final = 20  # events that a snapshot shows
SUBSCRIBER_COUNTS: Final = ("queued", "delivered", "failed", "dropped", "rejected", "in_flight")
KNOWN: Final = 1000  # events that are listed, unless more are counted by name or have subscribers


class Commands:
    """The methods that the control socket and HTTP call, from threads of theirs.

    reread: reads the configuration again for a reload, None when there is no file. phase: set by the bridge's life.
    """

    def __init__(
        self,
        routing: Routing,
        receivers: Receivers,
        streams: Streams,
        reread: Callable[[], BridgeConfig] | None,
    ) -> None:
        self.routing = routing
        self.receivers = receivers
        self.streams = streams
        self.reread = reread
        self.phase: Literal["starting", "receiving", "draining"] = "starting"
        self.started = time.time()
        self.mi = routing.make_ingest(MI, "json")
        self.subscribing = threading.Lock()  # held while subscriptions are counted and one more is made
        self.raising = threading.Lock()  # held while mi is fed, which waits while a target's queue is full

    def faults(self) -> list[str]:
        """The inputs that no longer work, and why."""
        return [*self.receivers.faults(), *self.streams.faults()]

    def reload(self) -> str:
        """Read the configuration anew: routes, targets, keys, headers, dead letters, and who may send to the inputs.

        No message is lost. Inputs, workers and control stay as they are. Raises ConfigError, SocketError, after which
        nothing has changed.
        """
        if self.reread is None:
            raise EventError("there is no configuration file to reload", 400)
        config = self.reread()
        if set(config.inputs) != set(self.routing.config.inputs):
            logger.warning("inputs are changed by a restart, not by a reload")
        self.routing.reconfigure(config)
        logger.info("reloaded", extra={"routes": [f"{one.pattern}={one.socket}" for one in config.routes]})
        return "OK"

    def events_list(self) -> dict[str, Any]:
        """The events seen so far, as OpenSIPS's MI command events_list; of more than KNOWN those seen last."""
        # (other): names beyond those that are counted each
        seen = {name for ingest in self.routing.all_ingests() for name in ingest.counts()["events"]} - {"(other)"}
        for name in seen:
            self.routing.interface.publish_event(name)
        self.routing.interface.forget_events(KNOWN, seen)
        return self.routing.interface.events_list()

    def subscribers_list(self, event: str | None = None, socket: str | None = None) -> dict[str, Any]:
        """As OpenSIPS's MI command. Raises EventError, SocketError, ValueError."""
        return self.routing.interface.subscribers_list(event, socket)

    def event_subscribe(self, event: str, socket: str, expire: float | None = None) -> str:
        """Have an event, seen yet or not, go to a Kafka socket too, for `expire` seconds.

        Raises as the interface; ConfigError for a property that such a socket may not have, ValueError for a text that
        is too long, Error when there are too many subscriptions or clients.
        """
        if len(socket) > SOCKET_TEXT:
            raise ValueError(f"socket has more than {SOCKET_TEXT} characters")
        if len(event.encode(errors="replace")) > EVENT_NAME:
            raise ValueError(f"event has more than {EVENT_NAME} bytes")
        parsed = parse_socket(socket)
        check_remote(parsed)
        interface = self.routing.interface
        with self.subscribing:
            there = interface.subscriptions()
            is_new = expire != 0 and all((name, one.socket) != (event, parsed) for name, one in there)
            if is_new and len(there) >= SUBSCRIPTIONS:
                raise Error(f"there are {SUBSCRIPTIONS} subscriptions, and there may be no more")
            # subscribing makes events known too, and those of subscriptions that ended are still listed
            interface.forget_events(KNOWN - 1)
            interface.publish_event(event)
            interface.subscribe_event(event, parsed, expire)
            self.routing.renew()
        return "OK"

    def raise_event(self, event: str, params: Mapping[str, object] | Sequence[object] | str | None = None) -> str:
        """Handle an event as if it had been received. Raises SerializeError, EventError with the reason, Closed."""
        given = orjson.loads(params) if isinstance(params, str) else params
        if given is not None and not isinstance(given, (dict, list, tuple)):
            raise EventError("params must be an object or an array", 400)
        if self.phase == "draining":
            raise Closed("the bridge is draining")
        reports: list[DeliveryError | None] = []
        with self.raising:
            reason = self.mi.feed(dumps(event, given), "mi", on_report=reports.append)
        if reason is not None:
            raise EventError(not_queued(reason), 500 if reason in ("abandoned", "no_memory") else 400)
        # the report of a rejected record comes at once, others later
        if reports and reports[0] is not None:
            raise EventError(str(reports[0]), 400)
        return "OK"

    def kafka_stats(self) -> dict[str, Any]:
        """All that snapshot() says."""
        return self.snapshot()

    def snapshot(self) -> dict[str, Any]:
        """Everything there is to see, JSON-able; counters since the start. It waits for no change of routes."""
        invalid: Counter[str] = Counter()
        events: Counter[str] = Counter()
        newest: list[dict[str, Any]] = []
        inputs = []
        for source, group in self.routing.by_input():
            totals: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
            for ingest in group:
                counts = ingest.counts()
                totals.update({name: counts[name] for name in COUNTS})
                invalid.update(counts["reasons"])
                events.update(counts["events"])
                newest += ingest.last_events()
            inputs.append(
                {
                    "url": source.url,
                    **totals,
                    "connections": self.streams.connections(source.url),
                    "failed_handshakes": self.streams.failed_handshakes(source.url),
                }
            )
        newest.sort(key=lambda one: one["time"], reverse=True)
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": self.started,
            "uptime_s": time.time() - self.started,
            "ready": self.phase == "receiving",
            "draining": self.phase == "draining",
            "inputs": inputs,
            "targets": self.routing.targets.snapshot(),
            "invalid": dict(invalid),
            "events": dict(events),
            "subscribers": [subscriber(name, one) for name, one in self.routing.interface.subscriptions()],
            "last_events": newest[:NEWEST],
        }


def subscriber(event: str, subscription: Subscription) -> dict[str, Any]:
    """A subscriber's state and counters, JSON-able; several of one socket have the same counters."""
    counts = subscription.producer._counts()
    return {
        "event": event,
        "socket": str(subscription.socket),
        "expires_s": subscription.ttl,
        **{name: counts[name] for name in SUBSCRIBER_COUNTS},
    }
