"""Fatal errors of librdkafka, and the records and calls that meet them."""

import asyncio
import threading
import time
from collections.abc import Callable

from pykafkaevt import (
    AsyncProducer,
    DeliveryBatch,
    DeliveryError,
    EmbeddedBroker,
    Error,
    EventInterface,
    EventTemplate,
    Producer,
    QueueFull,
)
from tests.races.faults import started, wait_until
from tests.races.happenings import CLUSTER_AUTHORIZATION_FAILED, OUT_OF_ORDER_SEQUENCE_NUMBER
from tests.races.ledger import PARTITIONS, TOPIC, read_topic

EVENT = EventTemplate("E", ["n"])
TOO_LARGE = b"x" * 2_000_000
MSG_SIZE_TOO_LARGE = 10


def subscribe_during_reopening() -> None:
    """New topics on a client that opens anew after fatal errors."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        for turn in range(5):
            with EventInterface() as interface:
                socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}"
                interface.publish_event("E")
                interface.publish_event("S")
                broker.push_errors("InitProducerId", [CLUSTER_AUTHORIZATION_FAILED])
                interface.subscribe_event("E", socket)
                stop = threading.Event()

                def publish(stop: threading.Event = stop, interface: EventInterface = interface) -> None:
                    while not stop.is_set():
                        assert interface.raise_event("E", {"n": 1}) == 1
                        time.sleep(0.0002)

                thread = started(publish)
                for number in range(150):
                    interface.subscribe_event("S", f"kafka:{broker.bootstrap_servers}/s{turn}_{number}")
                    if number % 25 == 0:
                        broker.push_errors("Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER])
                    time.sleep(0.002)
                stop.set()
                thread.join(5)
                assert not thread.is_alive()
                broker.push_errors("Produce", [])
                assert interface.flush(10) == 0
                stats = interface.stats()
                assert stats.queued == stats.delivered + stats.failed


def idempotence_that_is_not_granted() -> None:
    """An error at once, that names the property to set; nothing waits for ever."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        broker.push_errors("InitProducerId", [CLUSTER_AUTHORIZATION_FAILED] * 1000)
        said: list[str] = []
        reports: list[DeliveryBatch] = []
        producer = Producer(
            f"kafka:{broker.bootstrap_servers}/{TOPIC}",
            on_error=lambda error: said.append(str(error)),
            on_delivery=reports.append,
        )

        def publish() -> None:
            try:
                producer.publish(b"x", report=True)
            except Error as error:
                said.append(str(error))

        def named() -> bool:
            publish()
            time.sleep(0.05)
            return any("g.enable.idempotence=false" in text for text in said)

        assert wait_until(named, 3), said[:3]
        producer.close(2)
        stats = producer.stats()
        assert stats.queued == stats.failed
        assert stats.in_flight == 0


def fatal_error_is_the_reason() -> None:
    """Records of a dead instance fail with the fatal error, not as purged."""
    with EmbeddedBroker(topics={TOPIC: 1}) as broker:
        reports: list[tuple[str, DeliveryError | None]] = []

        def keep(batch: DeliveryBatch) -> None:
            reports.extend((bytes(report.value or b"").decode(), report.error) for report in batch)

        socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.linger.ms=0&g.batch.num.messages=10"
        producer = Producer(socket, on_delivery=keep)
        producer.publish(b"first", report=True)
        assert producer.flush(5) == 0
        broker.set_rtt_ms(1, 50)
        broker.push_errors("Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER])
        values = [b"%d" % number for number in range(500)]
        queued = sum(producer.publish(value, report=True) for value in values)
        broker.set_rtt_ms(1, 0)
        assert producer.flush(10) == 0
        assert wait_until(lambda: len(reports) == 1 + queued)
        failed = {error.code for _, error in reports if error}
        assert failed == {OUT_OF_ORDER_SEQUENCE_NUMBER}, failed
        assert producer.stats().errors.keys() == {OUT_OF_ORDER_SEQUENCE_NUMBER}, producer.stats().errors
        producer.close(5)
        assert {value for value, error in reports if not error} <= read_topic(broker.bootstrap_servers).keys()


def during_fatal_errors(on_full: str, work: Callable[[Producer, int], int]) -> None:
    """Calls while fatal errors come: each queues all, none raises. `work` gives how many it queued."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        producer = Producer(f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.linger.ms=0", on_full=on_full)
        totals = [0, 0, 0]
        problems: list[object] = []
        stop = threading.Event()

        def call(thread: int) -> None:
            try:
                while not stop.is_set():
                    totals[thread] += work(producer, thread)
                    time.sleep(0.001)
            except Exception as error:
                problems.append(error)

        threads = [started(lambda thread=thread: call(thread)) for thread in range(3)]
        for _ in range(25):
            broker.push_errors("Produce", [OUT_OF_ORDER_SEQUENCE_NUMBER])
            time.sleep(0.08)
        stop.set()
        for one in threads:
            one.join(10)
        broker.push_errors("Produce", [])
        assert not problems, problems
        assert producer.flush(10) == 0
        stats = producer.stats()
        assert (stats.queued, stats.dropped, stats.rejected) == (sum(totals), 0, 0)
        assert stats.queued == stats.delivered + stats.failed
        assert stats.failed, "no fatal error happened"
        producer.close(5)


def emit_many_in_full(producer: Producer, thread: int) -> int:
    """All rows are queued."""
    count = producer.emit_many(EVENT, [(number,) for number in range(20)])
    assert count == 20, f"{20 - count} rows were left out"
    return count


def emit_in_full(producer: Producer, thread: int) -> int:
    """The event is queued."""
    assert producer.emit(EVENT, thread)
    return 1


def emit_many_leaves_nothing_out() -> None:
    """With a queue that blocks."""
    during_fatal_errors("block", emit_many_in_full)


def on_full_block_never_raises() -> None:
    """No QueueFull, no -150, because of a fatal error."""
    during_fatal_errors("block", emit_in_full)


def on_full_raise_does_not_raise_for_it() -> None:
    """QueueFull is for a full queue."""
    during_fatal_errors("raise", emit_in_full)


def on_full_drop_does_not_drop_for_it() -> None:
    """So is dropping."""
    during_fatal_errors("drop", emit_in_full)


def full_queue_says_where_to_go_on() -> None:
    """QueueFull has .queued and .position, which differ by the records that were rejected."""
    with EmbeddedBroker(topics={TOPIC: 1}) as broker:
        socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.queue.buffering.max.messages=10"
        values: list[bytes] = [b"0", TOO_LARGE, *(b"%d" % number for number in range(2, 30))]
        broker.set_rtt_ms(1, 20)
        producer = Producer(socket + "&g.enable.idempotence=false", on_full="raise")
        position = queued = 0
        while True:
            try:
                queued += producer.publish_many(values[position:])
                break
            except QueueFull as full:
                queued += full.queued
                position += full.position
                producer.flush(5)
        assert queued == 29
        assert producer.close(5) == 0
        stored = read_topic(broker.bootstrap_servers)
        assert stored == {value.decode(): 1 for value in values if value is not TOO_LARGE}


def async_many_with_a_rejected_record() -> None:
    """publish_many() of an AsyncProducer, a full queue and a record too large: 29 delivered once, one reported."""
    values = [b"0", TOO_LARGE, *(b"%d" % number for number in range(2, 30))]
    opaques = [f"opaque {number}" for number in range(30)]
    with EmbeddedBroker(topics={TOPIC: 1}) as broker:
        socket = f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.queue.buffering.max.messages=10&g.linger.ms=50"

        async def main() -> None:
            producer = AsyncProducer(socket + "&g.enable.idempotence=false")
            reports = list(await asyncio.wait_for(producer.publish_many(values, opaques=opaques), 8))
            assert [report.value for report in reports] == values
            assert [report.opaque for report in reports] == opaques
            assert [index for index, report in enumerate(reports) if report.error] == [1]
            assert reports[1].error is not None
            assert reports[1].error.code == MSG_SIZE_TOO_LARGE
            stats = producer.stats()
            assert (stats.queued, stats.delivered, stats.rejected) == (29, 29, 1)
            assert (await producer.publish(b"last")).opaque is None
            await producer.close(5)

        asyncio.run(main())
        assert set(read_topic(broker.bootstrap_servers).values()) == {1}
