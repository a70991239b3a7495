"""close() and flush() beside other threads, in signal handlers, callbacks and generators, and at exit."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from pykafkaevt import Closed, DeliveryBatch, EmbeddedBroker, Error, EventInterface, EventTemplate, Producer
from tests.races.faults import AWAY, seconds_of, started, wait_until
from tests.races.ledger import PARTITIONS, TOPIC, read_topic

EVENT = EventTemplate("E", ["n"])
HANDLER_SECONDS = 0.2


def close_beside_flush() -> None:
    """flush() without a limit ends when closing begins, and close(0.5) in 1.5 s; one record was not delivered."""
    producer = Producer(AWAY)
    producer.publish(b"x")
    ended: list[object] = []

    def flush() -> None:
        try:
            ended.append(producer.flush())
        except Closed as error:
            ended.append(error)

    flushing = started(flush)
    time.sleep(0.2)
    before = time.monotonic()
    left = producer.close(0.5)
    assert time.monotonic() - before <= 1.5, f"close(0.5) took {time.monotonic() - before:.1f} s"
    assert left == 1
    flushing.join(1)
    assert ended


def exit_beside_flush() -> None:
    """The interpreter ends within exit_timeout and a second, whatever other threads flush."""
    program = f"""
import threading, time
from pykafkaevt import Producer
producer = Producer({AWAY!r})
producer.exit_timeout = 0.5
producer.publish(b"x")
threading.Thread(target=producer.flush, daemon=True).start()
time.sleep(0.2)
"""
    seconds = seconds_of(lambda: subprocess.run([sys.executable, "-c", program], check=True, timeout=20))
    assert seconds <= 0.2 + 0.5 + 1 + 1.5, f"the end took {seconds:.1f} s, its start included"


def close_with_a_slow_callback() -> None:
    """close(3) ends in 4 s though on_delivery takes longer; its number is what the topic lacks."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:

        def slow(batch: DeliveryBatch) -> None:
            time.sleep(1)

        producer = Producer(f"kafka:{broker.bootstrap_servers}/{TOPIC}?g.linger.ms=0", on_delivery=slow)
        queued = 0
        for number in range(30):
            queued += producer.publish_many([b"%d.%d" % (number, n) for n in range(600)], report=True)
            time.sleep(0.01)
        before = time.monotonic()
        left = producer.close(3)
        assert time.monotonic() - before <= 4, f"close(3) took {time.monotonic() - before:.1f} s"
        stored = read_topic(broker.bootstrap_servers)
        assert left + len(stored) == queued, f"{left} not delivered, {len(stored)} of {queued} are in the topic"
        stats = producer.stats()
        assert stats.queued == stats.delivered + stats.failed == queued
        assert stats.delivered == len(stored)


def close_beside_publishers() -> None:
    """close(5) stops accepting, then flushes: what was accepted is delivered."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        producer = Producer(f"kafka:{broker.bootstrap_servers}/{TOPIC}")
        accepted = [0] * 4

        def publish(number: int) -> None:
            try:
                while True:
                    accepted[number] += producer.publish(b"%d.%d" % (number, accepted[number]))
            except Closed:
                pass

        threads = [started(lambda number=number: publish(number)) for number in range(4)]
        time.sleep(0.15)
        before = time.monotonic()
        assert producer.close(5) == 0
        assert time.monotonic() - before <= 6
        for thread in threads:
            thread.join(5)
        stats = producer.stats()
        assert (stats.queued, stats.failed, stats.in_flight) == (sum(accepted), 0, 0)
        assert stats.delivered == sum(accepted)


def close_in_handler(during: Callable[[Producer], object], properties: str = "") -> None:
    """What `during` calls is interrupted by a handler that closes: it ends, and the producer is closed or says why."""
    producer = Producer(AWAY + properties)
    producer.publish(b"x")
    outcome: list[object] = []

    def handler(*_: object) -> None:
        before = time.monotonic()
        try:
            outcome.append(producer.close(HANDLER_SECONDS))
        except Error as error:
            outcome.append(str(error))
        assert time.monotonic() - before <= HANDLER_SECONDS + 1

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    before = time.monotonic()
    with contextlib.suppress(Closed):
        during(producer)
    assert time.monotonic() - before <= 4
    assert len(outcome) == 1, outcome
    assert outcome[0] != "", outcome
    producer.close(0.1)
    assert wait_until(lambda: producer.closed, 2)


def close_in_handler_during_flush() -> None:
    """Ends."""
    close_in_handler(lambda producer: producer.flush(3))


def close_in_handler_during_blocked_publish() -> None:
    """Ends: the publish that waits raises Closed."""

    def publish(producer: Producer) -> None:
        while True:
            producer.publish(b"x")

    close_in_handler(publish, "&g.queue.buffering.max.messages=10")


def close_in_handler_during_close() -> None:
    """Ends: close() inside close()."""
    close_in_handler(lambda producer: producer.close(3))


def close_in_handler_during_generator() -> None:
    """Ends, while emit_many() reads its rows."""

    def rows() -> Iterator[tuple[int]]:
        for number in range(100):
            time.sleep(0.01)
            yield (number,)

    close_in_handler(lambda producer: producer.emit_many(EVENT, rows()))


def close_in_a_generator() -> None:
    """A generator given to emit_many() closes the producer: it ends, and what was queued is counted."""
    with EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker:
        producer = Producer(f"kafka:{broker.bootstrap_servers}/{TOPIC}")
        refused: list[str] = []

        def rows() -> Iterator[tuple[str]]:
            for number in range(2000):
                yield (str(number),)
                if number == 1000:
                    try:
                        producer.close(10)
                    except Error as error:
                        refused.append(str(error))

        try:
            queued = producer.emit_many(EVENT, rows())
        except Closed as error:
            queued = error.queued
        assert refused != [""]
        producer.close(5)
        stats = producer.stats()
        assert (stats.queued, stats.delivered, stats.failed) == (queued, queued, 0)


def close_twice_at_once() -> None:
    """Both end in time; the second does not wait for ever, nor return before the client is closed."""
    producer = Producer(AWAY)
    producer.publish(b"x")
    first = started(lambda: producer.close(1))
    time.sleep(0.1)
    assert seconds_of(lambda: producer.close(0.2)) <= 2.2
    first.join(2)
    assert not first.is_alive()
    assert producer.closed


def flush_after_unsubscribe() -> None:
    """EventInterface.flush() never raises Closed while the interface is open."""
    for turn in range(20):
        with EventInterface() as interface:
            interface.publish_event("E")
            socket = f"kafka:embedded/a{turn}?g.enable.idempotence=false"  # connects at once
            interface.subscribe_event("E", socket)
            interface.raise_event("E", {"n": 1})
            interface.flush(5)
            interface.unsubscribe_event("E", socket)
            for _ in range(500):
                interface.flush(1)


def close_in_a_callback() -> None:
    """close() in on_delivery closes, or says why it cannot; it does not wait for itself."""
    outcome: list[object] = []
    called = threading.Event()

    def close(_: DeliveryBatch) -> None:
        try:
            outcome.append(producer.close(1))
        except Error as error:
            outcome.append(str(error))
        called.set()

    producer = Producer("kafka:embedded/t", on_delivery=close)
    producer.publish(b"x", report=True)
    assert called.wait(5)
    assert outcome != [""]
    assert seconds_of(lambda: producer.close(1)) <= 2
