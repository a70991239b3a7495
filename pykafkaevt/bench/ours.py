"""Our own side: the calls of Producer, EventInterface and Connector."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from operator import add
from typing import Any

from pykafkaevt import Connector, DeliveryBatch, EventInterface, EventTemplate, Producer
from pykafkaevt.bench.schedule import Latencies
from pykafkaevt.bench.side import SAMPLE, Spec, late_us
from pykafkaevt.bench.workload import EVENT, FIELDS, Chunk
from pykafkaevt.sockets import parse_socket

TEMPLATE = EventTemplate(EVENT, FIELDS)
BLOCK: dict[str, Any] = {"on_full": "block", "full_timeout": None}


class Ours:
    """What the Producer, the Connector and the Event Interface have in common."""

    client: Producer | Connector | EventInterface

    def __init__(self, spec: Spec, bootstrap_servers: str, topic: str, latencies: Latencies) -> None:
        """Raises SocketError, ConfigError."""
        self.socket = parse_socket(f"kafka:{bootstrap_servers}/{topic}").with_properties(spec["settings"])
        self.send: Callable[[Chunk, list[float] | None], None] = getattr(self, spec["api"])
        self.latencies = latencies
        self.all_reports = spec["reports"] != "none"
        self.reported = 0
        self.open(spec)

    def open(self, spec: Spec) -> None:
        """Make the client."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """As Side's."""
        time.sleep(seconds)

    def flush(self, timeout: float | None) -> int:
        """As Side's."""
        return self.client.flush(timeout)

    def counts(self) -> tuple[int, int]:
        """As Side's."""
        stats = self.client.stats()
        each = list(stats.values()) if isinstance(stats, dict) else [stats._asdict()]
        delivered = sum(one["delivered"] for one in each)
        return delivered, sum(one["failed"] + one["rejected"] + one["dropped"] for one in each)

    def close(self) -> None:
        """As Side's."""
        self.client.close()

    def sampled(self) -> bool:
        """Whether the next batch is to tell its latencies."""
        return self.all_reports or self.latencies.sampled()

    def on_report(self, report: object) -> None:
        """A report route that counts."""
        self.reported += 1

    def on_timed_report(self, then: float, report: object) -> None:
        """A report route that measures too."""
        self.reported += 1
        self.latencies.since(then)


class ByProducer(Ours):
    """emit, emit_many, publish and publish_many, with reports as batches (or none)."""

    client: Producer

    def open(self, spec: Spec) -> None:
        """As Ours'."""
        held = spec["throughput"] is not None
        self.step = 1 if held or spec["reports"] == "none" else SAMPLE
        self.each = spec["reports"] == "route"
        self.client = Producer(self.socket, on_delivery=self.on_held if held else self.on_delivery, **BLOCK)

    def on_delivery(self, batch: DeliveryBatch) -> None:
        """Latencies from the call that queued the record."""
        self.latencies.update(batch.latencies_us[:: self.step])
        if self.each:
            for report in batch:
                self.on_report(report)

    def on_held(self, batch: DeliveryBatch) -> None:
        """Latencies from the intended time: the opaque is how late the call was, in microseconds."""
        self.latencies.update(map(add, batch.latencies_us, batch.opaques))
        if self.each:
            for report in batch:
                self.on_report(report)

    def emit(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call an event."""
        emit = self.client.emit
        if dues is not None:
            for row, due in zip(chunk.rows, dues, strict=True):
                emit(TEMPLATE, *row, key=row[1], report=True, opaque=late_us(due))
            return
        reported = len(chunk.keys) if self.all_reports else 1
        # the values named, as a program has them: a * or ** makes a tuple and a dict of them for every call
        for method, callid, cseq, from_, to, src_ip, src_port, dst_ip, dst_port, when in chunk.rows[:reported]:
            emit(
                TEMPLATE, method, callid, cseq, from_, to, src_ip, src_port, dst_ip, dst_port, when,
                key=callid, report=True,
            )  # fmt: skip
        for method, callid, cseq, from_, to, src_ip, src_port, dst_ip, dst_port, when in chunk.rows[reported:]:
            emit(TEMPLATE, method, callid, cseq, from_, to, src_ip, src_port, dst_ip, dst_port, when, key=callid)

    def emit_many(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a batch."""
        opaques = None if dues is None else list(map(late_us, dues))
        self.client.emit_many(TEMPLATE, chunk.rows, key_field="callid", report=self.sampled(), opaques=opaques)

    def publish(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a record."""
        publish = self.client.publish
        if dues is not None:
            for value, key, due in zip(chunk.values, chunk.keys, dues, strict=True):
                publish(value, key, report=True, opaque=late_us(due))
            return
        reported = len(chunk.keys) if self.all_reports else 1
        for value, key in zip(chunk.values[:reported], chunk.keys, strict=False):
            publish(value, key, report=True)
        for value, key in zip(chunk.values[reported:], chunk.keys[reported:], strict=True):
            publish(value, key)

    def publish_many(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a batch."""
        opaques = None if dues is None else list(map(late_us, dues))
        self.client.publish_many(chunk.values, chunk.keys, report=self.sampled(), opaques=opaques)


class ByConnector(Ours):
    """publish and publish_many with a report route for every message: the Connector's calls."""

    client: Connector

    def open(self, spec: Spec) -> None:
        """As Ours'."""
        self.client = Connector([f"[k]{self.socket.to_text(secrets=True)}"], producer_options=BLOCK)

    def route(self, due: float | None = None) -> Callable[[object], None]:
        """The route of a message that tells its latency."""
        return partial(self.on_timed_report, time.perf_counter() if due is None else due)

    def publish(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a message."""
        publish = self.client.kafka_publish
        if dues is not None:
            for value, key, due in zip(chunk.values, chunk.keys, dues, strict=True):
                publish("k", value, key, self.route(due))
            return
        publish("k", chunk.values[0], chunk.keys[0], self.route())
        for value, key in zip(chunk.values[1:], chunk.keys[1:], strict=True):
            publish("k", value, key, self.on_report)

    def publish_many(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a batch, which has one route: what it measures is the wait of the first."""
        route: Callable[[object], None] = self.on_report
        if dues is not None or self.latencies.sampled():
            route = self.route(None if dues is None else dues[0])
        self.client.kafka_publish_many("k", chunk.values, chunk.keys, route)


class ByInterface(Ours):
    """raise_event with one subscriber keyed by Call-ID."""

    client: EventInterface

    def open(self, spec: Spec) -> None:
        """As Ours'."""
        self.client = EventInterface(producer_options=BLOCK)
        self.event = self.client.publish_event(EVENT, FIELDS)
        self.client.subscribe_event(EVENT, self.socket.with_properties(key="callid"))

    def raise_event(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call an event."""
        raise_event, event = self.client.raise_event, self.event
        # with a schedule each tells its latency, without the first of the chunk
        thens = [time.perf_counter()] if dues is None else dues
        for row, then in zip(chunk.rows, thens, strict=False):
            raise_event(event, row, call_id=row[1], report=partial(self.on_timed_report, then))
        report = self.on_report if self.all_reports else None
        for row in chunk.rows[len(thens) :]:
            raise_event(event, row, call_id=row[1], report=report)


def ours(spec: Spec, bootstrap_servers: str, topic: str, latencies: Latencies) -> Ours:
    """The side for the run's API and reports."""
    if spec["api"] == "raise_event":
        return ByInterface(spec, bootstrap_servers, topic, latencies)
    if spec["reports"] == "route" and spec["api"].startswith("publish"):
        return ByConnector(spec, bootstrap_servers, topic, latencies)
    return ByProducer(spec, bootstrap_servers, topic, latencies)
