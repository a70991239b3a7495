"""Other Python clients on the same work, as their users write it: build the dict, orjson, produce, a callback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

import orjson

from pykafkaevt.bench.schedule import Latencies
from pykafkaevt.bench.side import Side, Spec
from pykafkaevt.bench.workload import Chunk, as_dict

IN_FLIGHT = 50_000  # futures that a client without a bound of its own may have


def records_of(chunk: Chunk) -> Iterable[tuple[bytes, Any]]:
    """Value and key of each record; the JSON is made here, as a record is read."""
    if chunk.rows:
        return zip(map(orjson.dumps, map(as_dict, chunk.rows)), chunk.keys, strict=True)
    return zip(chunk.values, chunk.keys, strict=True)


def thens(chunk: Chunk, dues: list[float] | None) -> Iterable[float | None]:
    """From when each record's latency counts, None for those whose latency is not measured.

    With a schedule the intended times; without one the first of the chunk, from now.
    """
    return [time.perf_counter(), *[None] * (len(chunk.keys) - 1)] if dues is None else dues


class Confluent:
    """confluent-kafka: produce() with on_delivery."""

    def __init__(self, spec: Spec, bootstrap_servers: str, topic: str, latencies: Latencies) -> None:
        """Raises confluent_kafka.KafkaException."""
        from confluent_kafka import Producer  # noqa: PLC0415

        self.producer = Producer({**spec["settings"], "bootstrap.servers": bootstrap_servers})
        self.topic = topic
        self.latencies = latencies
        self.delivered = self.failed = self.turn = 0

    def on_delivery(self, error: object, message: object) -> None:
        """Count."""
        if error is None:
            self.delivered += 1
        else:
            self.failed += 1

    def on_timed(self, then: float, error: object, message: object) -> None:
        """Count and measure."""
        self.on_delivery(error, message)
        self.latencies.since(then)

    def send(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a record; the latency of the first of a chunk is measured, with a schedule that of all."""
        produce, topic, count = self.producer.produce, self.topic, self.on_delivery
        for then, (value, key) in zip(thens(chunk, dues), records_of(chunk), strict=True):
            on_delivery: Any = count if then is None else partial(self.on_timed, then)
            while True:
                try:
                    produce(topic, value, key, on_delivery=on_delivery)
                    break
                except BufferError:
                    self.producer.poll(0.01)
        # with a schedule whenever something was due, otherwise every 512 records
        self.turn += 1
        if dues is not None or self.turn % 8 == 0:
            self.producer.poll(0)

    def wait(self, seconds: float) -> None:
        """Serve the callbacks meanwhile."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            # poll() knows whole milliseconds only
            if left < 0.001:
                time.sleep(left)
            else:
                self.producer.poll(left)

    def flush(self, timeout: float | None) -> int:
        """As Side's."""
        return self.producer.flush(-1 if timeout is None else timeout)

    def counts(self) -> tuple[int, int]:
        """As Side's."""
        return self.delivered, self.failed

    def close(self) -> None:
        """As Side's."""
        self.producer.flush(0)


class ConfluentBatch(Confluent):
    """confluent-kafka: produce_batch() with on_delivery."""

    def send(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a batch, and one more for what the full queue did not accept."""
        on_delivery: Any = self.on_delivery
        if dues is None and self.latencies.sampled():
            on_delivery = partial(self.on_timed, time.perf_counter())
        messages: list[dict[str, Any]] = [{"value": value, "key": key} for value, key in records_of(chunk)]
        for message, due in zip(messages, dues or (), strict=False):
            message["callback"] = partial(self.on_timed, due)
        while messages:
            self.producer.produce_batch(self.topic, messages, on_delivery=on_delivery)
            messages = [message for message in messages if message.pop("_error", None) is not None]
            self.producer.poll(0.01 if messages else 0)


class ByFutures:
    """What clients of an event loop have in common."""

    def __init__(self, spec: Spec, bootstrap_servers: str, topic: str, latencies: Latencies) -> None:
        """Connects, where the client wants that first."""
        self.loop = asyncio.new_event_loop()
        self.topic = topic
        self.latencies = latencies
        self.sent = self.delivered = self.failed = 0
        self.producer = self.loop.run_until_complete(self.open(spec, bootstrap_servers))

    async def open(self, spec: Spec, bootstrap_servers: str) -> Any:
        """Make the client."""
        raise NotImplementedError

    async def produce(self, value: bytes, key: Any) -> asyncio.Future[Any]:
        """Hand a record to the client; the future is its acknowledgement."""
        raise NotImplementedError

    async def breathe(self) -> None:
        """Let acknowledgements come."""
        await asyncio.sleep(0)

    def on_done(self, then: float | None, future: asyncio.Future[Any]) -> None:
        """Count and, with a time, measure."""
        if future.exception() is None:
            self.delivered += 1
        else:
            self.failed += 1
        if then is not None:
            self.latencies.since(then)

    def send(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One awaited call a record."""
        self.loop.run_until_complete(self.send_all(chunk, dues))

    async def send_all(self, chunk: Chunk, dues: list[float] | None) -> None:
        """As send."""
        for then, (value, key) in zip(thens(chunk, dues), records_of(chunk), strict=True):
            (await self.produce(value, key)).add_done_callback(partial(self.on_done, then))
        self.sent += len(chunk.keys)
        while self.sent - self.delivered - self.failed > IN_FLIGHT:
            await self.breathe()

    def wait(self, seconds: float) -> None:
        """As Side's."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def flush(self, timeout: float | None) -> int:
        """As Side's."""

        async def flush() -> None:
            await self.producer.flush()
            while self.sent > self.delivered + self.failed:
                await self.breathe()

        with suppress(asyncio.TimeoutError):
            self.loop.run_until_complete(asyncio.wait_for(flush(), timeout))
        return self.sent - self.delivered - self.failed

    def counts(self) -> tuple[int, int]:
        """As Side's."""
        return self.delivered, self.failed

    def close(self) -> None:
        """As Side's."""
        self.loop.run_until_complete(self.end())

    async def end(self) -> None:
        """Close the client."""
        await self.producer.close()


class ConfluentAio(ByFutures):
    """confluent-kafka's AIOProducer; it gathers records by itself."""

    async def open(self, spec: Spec, bootstrap_servers: str) -> Any:
        """Its own buffer waits no longer than linger, that of librdkafka behind it comes on top."""
        from confluent_kafka.aio import AIOProducer  # noqa: PLC0415

        linger = max(float(spec["settings"]["linger.ms"]) / 1000, 0.001)
        properties = {**spec["settings"], "bootstrap.servers": bootstrap_servers}
        return AIOProducer(properties, batch_size=spec["batch"], buffer_timeout=linger)

    async def produce(self, value: bytes, key: Any) -> asyncio.Future[Any]:
        """As ByFutures'."""
        future: asyncio.Future[Any] = await self.producer.produce(self.topic, value, key)
        return future

    async def breathe(self) -> None:
        """Its callbacks need a poll."""
        await self.producer.poll(0)


class AioKafka(ByFutures):
    """aiokafka; its memory is bounded by one batch a partition, not by a queue of records."""

    async def open(self, spec: Spec, bootstrap_servers: str) -> Any:
        """As ByFutures'."""
        settings = python_settings(spec["settings"])
        producer = import_module("aiokafka").AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **settings)
        await producer.start()
        return producer

    async def produce(self, value: bytes, key: Any) -> asyncio.Future[Any]:
        """As ByFutures'."""
        key = key.encode() if isinstance(key, str) else key
        future: asyncio.Future[Any] = await self.producer.send(self.topic, value, key)
        return future

    async def end(self) -> None:
        """As ByFutures'."""
        await self.producer.stop()


class KafkaPython:
    """kafka-python: send() with callbacks."""

    def __init__(self, spec: Spec, bootstrap_servers: str, topic: str, latencies: Latencies) -> None:
        """Raises kafka.errors.KafkaError."""
        settings = python_settings(spec["settings"])
        self.producer = import_module("kafka").KafkaProducer(bootstrap_servers=bootstrap_servers, **settings)
        self.topic = topic
        self.latencies = latencies
        self.sent = self.delivered = self.failed = 0

    def on_done(self, then: float | None, result: object) -> None:
        """Count and, with a time, measure."""
        self.delivered += 1
        if then is not None:
            self.latencies.since(then)

    def on_error(self, error: object) -> None:
        """Count."""
        self.failed += 1

    def send(self, chunk: Chunk, dues: list[float] | None) -> None:
        """One call a record."""
        for then, (value, key) in zip(thens(chunk, dues), records_of(chunk), strict=True):
            on_done = partial(self.on_done, then)
            key_bytes = key.encode() if isinstance(key, str) else key
            self.producer.send(self.topic, value, key_bytes).add_callback(on_done).add_errback(self.on_error)
        self.sent += len(chunk.keys)

    def wait(self, seconds: float) -> None:
        """As Side's."""
        time.sleep(seconds)

    def flush(self, timeout: float | None) -> int:
        """As Side's."""
        self.producer.flush(timeout)
        return self.sent - self.delivered - self.failed

    def counts(self) -> tuple[int, int]:
        """As Side's."""
        return self.delivered, self.failed

    def close(self) -> None:
        """As Side's."""
        self.producer.close()


def python_settings(settings: dict[str, str]) -> dict[str, Any]:
    """librdkafka's settings as the pure Python clients call them."""
    compression = settings["compression.type"]
    return {
        "linger_ms": int(float(settings["linger.ms"])),
        "acks": settings["acks"] if settings["acks"] == "all" else int(settings["acks"]),
        "enable_idempotence": settings["enable.idempotence"] == "true",
        "compression_type": None if compression == "none" else compression,
    }


class Peer(NamedTuple):
    """A Python peer: how it is made, what has to be installed, whether the embedded broker serves it."""

    make: Callable[[Spec, str, str, Latencies], Side]
    module: str
    package: str
    embedded: bool


PEERS = {
    "confluent": Peer(Confluent, "confluent_kafka", "confluent-kafka", True),
    "confluent-batch": Peer(ConfluentBatch, "confluent_kafka", "confluent-kafka", True),
    "confluent-aio": Peer(ConfluentAio, "confluent_kafka.aio", "confluent-kafka>=2.13", True),
    "aiokafka": Peer(AioKafka, "aiokafka", "aiokafka", False),
    "kafka-python": Peer(KafkaPython, "kafka", "kafka-python", False),
}


def version_of(name: str) -> str | None:
    """The version of a peer's package; None when it is not installed, or ours needs it anyway."""
    package = PEERS[name].package.partition(">")[0]
    with suppress(PackageNotFoundError):
        return None if package == "confluent-kafka" else version(package)
    return None


def why_absent(name: str, embedded: bool) -> str | None:
    """Why a Python peer cannot run here, None when it can."""
    peer = PEERS[name]
    if not find_spec(peer.module.partition(".")[0]) or not find_spec(peer.module):
        return f"not installed: pip install '{peer.package}'"
    if name == "confluent-batch":
        from confluent_kafka import Producer  # noqa: PLC0415

        if not hasattr(Producer, "produce_batch"):
            return f"confluent-kafka {version('confluent-kafka')} has no produce_batch"
    if embedded and not peer.embedded:
        return "needs a real broker: the embedded one is librdkafka's mock"
    return None
