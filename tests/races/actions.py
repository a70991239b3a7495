"""What one thread does, again and again, while something happens to the client."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pykafkaevt import Closed, Error, QueueFull
from tests.races.bridge import OneBridge
from tests.races.ledger import Writer
from tests.races.process import fork
from tests.races.subjects import (
    EVENT,
    DroppedProducers,
    OneAsyncProducer,
    OneConnector,
    OneInterface,
    OneProducer,
    ReportingProducer,
    Subject,
)

BATCH = 20
CLOSE_SECONDS = (0.0, 0.05, 0.5)
HANDLER_SECONDS = 0.2  # close() in a signal handler
BEYOND = 1.0  # what close(t) may take beside t

Step = Callable[[Any, Writer, random.Random], None]


@dataclass(frozen=True)
class Action:
    """subject: what is opened for a turn. step: one call of the main thread. beside: one call of the other thread.

    closes: whether the action itself closes what the other thread uses.
    """

    subject: type[Subject]
    step: Step
    beside: Step
    closes: bool = False


def emit(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    (value,) = writer.next(1)
    if not subject.producer.emit(EVENT, value, key=random.choice((None, value))):
        raise AssertionError("emit() with on_full='block' gave False")
    writer.accept([value])


def emit_many(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    values = writer.next(random.randint(1, BATCH))
    queue_many(values, writer, lambda: subject.producer.emit_many(EVENT, [(value,) for value in values]))


def publish(subject: Subject, writer: Writer, random: random.Random) -> None:
    (value,) = writer.next(1)
    if not subject.publish(value):
        raise AssertionError("a record was not queued")
    writer.accept([value])


def publish_many(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    values = writer.next(random.randint(1, BATCH))
    queue_many(values, writer, lambda: subject.producer.publish_many(values, values, report=subject.account.reported))


def queue_many(values: list[str], writer: Writer, call: Callable[[], int]) -> None:
    """A batch call: all is queued, or an exception says how many."""
    try:
        count = call()
    except (Error, QueueFull) as error:
        writer.accept(values[: error.queued])
        raise
    writer.accept(values[:count])
    if count != len(values):
        raise AssertionError(f"a batch call left out {len(values) - count} of {len(values)} records")


def await_many(subject: OneAsyncProducer, writer: Writer, random: random.Random) -> None:
    values = writer.next(random.randint(1, BATCH))
    try:
        reports = list(subject.wait(subject.producer.publish_many(values)))
    except Error as error:
        writer.accept(values[: error.queued])
        raise
    writer.accept(values)
    if [report.value for report in reports] != [value.encode() for value in values]:
        raise AssertionError("publish_many() gave reports of other records than it was given")


def kafka_publish(subject: OneConnector, writer: Writer, random: random.Random) -> None:
    (value,) = writer.next(1)
    if subject.publish(value):
        writer.accept([value])
    elif not subject.world.may_be_closed and not subject.world.raises:
        raise AssertionError("kafka_publish() gave -1")


def raise_event(subject: OneInterface, writer: Writer, random: random.Random) -> None:
    (value,) = writer.next(1)
    raised(subject.interface.raise_event("E", [value]), [value], subject, writer)
    subject.beside.append(max(0, subject.interface.raise_event("S", [value])))


def raise_many(subject: OneInterface, writer: Writer, random: random.Random) -> None:
    values = writer.next(random.randint(1, BATCH))
    raised(subject.interface.raise_many("E", [[value] for value in values]), values, subject, writer)


def raised(count: int, values: list[str], subject: OneInterface, writer: Writer) -> None:
    """There is one subscriber, or one that leaves; -1 when the client cannot be opened or is closed."""
    writer.accept(values[: max(0, count)])
    fewer = (subject.leaves and count >= 0) or subject.world.raises or subject.world.may_be_closed
    if count != len(values) and not fewer:
        raise AssertionError(f"raising {len(values)} events gave {count}")


def subscribe(subject: OneInterface, writer: Writer, random: random.Random) -> None:
    """More topics on the client that the other thread uses."""
    socket = random.choice(subject.side)
    subject.interface.subscribe_event("S", socket, random.choice((None, 0.05, 0)))


def unsubscribe(subject: OneInterface, writer: Writer, random: random.Random) -> None:
    """The client's last user goes, and comes back."""
    subject.retire()


def flush(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    seconds = random.choice((0.0, 0.02, 0.3))
    started = time.monotonic()
    subject.flush(seconds)
    check_time(started, seconds, "flush")


def close(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    time.sleep(random.random() * 0.05)
    seconds = random.choice(CLOSE_SECONDS)
    started = time.monotonic()
    try:
        subject.close(seconds)
    finally:
        check_time(started, seconds, "close")
    subject.renew()


def check_time(started: float, seconds: float, name: str) -> None:
    took = time.monotonic() - started
    if took > seconds + BEYOND:
        raise AssertionError(f"{name}({seconds}) took {took:.1f} s")


def drop(subject: DroppedProducers, writer: Writer, random: random.Random) -> None:
    """A producer of the thread's own is dropped with records under way."""
    producer = subject.new()
    values = writer.next(random.randint(1, BATCH))
    queue_many(values, writer, lambda: producer.publish_many(values, report=random.random() < 0.5))
    time.sleep(0.01 + random.random() * 0.03)  # it has threads and a connection of its own, for up to 0.5 s


def fork_and_use(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    time.sleep(random.random() * 0.05)
    fork(subject, writer.next(1)[0])


def handle_signal(subject: OneProducer, writer: Writer, random: random.Random) -> None:
    """A handler closes the producer wherever the main thread stands in a call of it."""

    def handler(*_: object) -> None:
        close_inside(subject)

    before = signal.signal(signal.SIGALRM, handler)
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.0005 + random.random() * 0.03)
    try:
        random.choice((interrupted_flush, interrupted_publishing, interrupted_close, interrupted_rows, closing_rows))(
            subject, writer
        )
    except Closed:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        check_time(started, 1.0 + HANDLER_SECONDS, "a call with a signal handler that closes")
    subject.close(0.5)
    subject.renew()


def close_inside(subject: OneProducer) -> None:
    """close() inside a call of the same producer: it closes, or says at once why it cannot."""
    started = time.monotonic()
    try:
        subject.close(HANDLER_SECONDS)
    except Error as error:
        if not str(error):
            raise AssertionError("close() inside a call raised an exception without a reason") from error
    check_time(started, HANDLER_SECONDS, "close inside a call")


def interrupted_flush(subject: OneProducer, writer: Writer) -> None:
    subject.flush(1.0)


def interrupted_publishing(subject: OneProducer, writer: Writer) -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        (value,) = writer.next(1)
        subject.publish(value)
        writer.accept([value])
        time.sleep(0.0001)


def interrupted_close(subject: OneProducer, writer: Writer) -> None:
    subject.close(1.0)


def interrupted_rows(subject: OneProducer, writer: Writer) -> None:
    """The signal comes while a generator that emit_many() reads runs."""
    values = writer.next(BATCH)

    def rows() -> Iterator[tuple[str]]:
        for value in values:
            time.sleep(0.002)
            yield (value,)

    queue_many(values, writer, lambda: subject.producer.emit_many(EVENT, rows()))


def closing_rows(subject: OneProducer, writer: Writer) -> None:
    """The generator itself closes."""
    values = writer.next(BATCH)

    def rows() -> Iterator[tuple[str]]:
        for value in values:
            yield (value,)
            if value == values[BATCH // 2]:
                close_inside(subject)

    queue_many(values, writer, lambda: subject.producer.emit_many(EVENT, rows()))


def udp(subject: OneBridge, writer: Writer, random: random.Random) -> None:
    subject.events_by_udp(writer)


def tcp(subject: OneBridge, writer: Writer, random: random.Random) -> None:
    subject.events_by_tcp(writer)


def reload(subject: OneBridge, writer: Writer, random: random.Random) -> None:
    subject.retire()
    time.sleep(0.05 + random.random() * 0.1)


ACTIONS = {
    "emit": Action(OneProducer, emit, emit),
    "emit_many": Action(OneProducer, emit_many, emit_many),
    "publish_report": Action(ReportingProducer, publish, publish),
    "publish_many": Action(ReportingProducer, publish_many, publish_many),
    "await_many": Action(OneAsyncProducer, await_many, await_many),
    "kafka_publish": Action(OneConnector, kafka_publish, kafka_publish),
    "raise_event": Action(OneInterface, raise_event, raise_many),
    "subscribe": Action(OneInterface, subscribe, raise_event),
    "unsubscribe": Action(OneInterface, unsubscribe, raise_event),
    "udp": Action(OneBridge, udp, udp),
    "tcp": Action(OneBridge, tcp, tcp),
    "reload": Action(OneBridge, reload, udp),
    "flush": Action(OneProducer, flush, publish),
    "close": Action(OneProducer, close, publish_many, closes=True),
    "drop": Action(DroppedProducers, drop, publish),
    "fork": Action(OneProducer, fork_and_use, emit_many),
    "signal": Action(OneProducer, handle_signal, publish, closes=True),
}
