"""What a turn of a cell opens, acts on, and closes: each with its own way to close, retire, fork and be counted."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pykafkaevt import (
    AsyncProducer,
    Closed,
    Connector,
    DeliveryBatch,
    EventError,
    EventInterface,
    EventTemplate,
    Producer,
)
from tests.races.ledger import TOPIC, Account, Writer, value_of
from tests.races.world import World

EVENT = EventTemplate("E", ["n"])
FLUSH_SECONDS = 15  # flush() at the end of a turn, when the broker is there again
CLIENTS = 30  # of an interface at one time, if it can be helped
SIDE_TOPICS = 4
OPENING_SECONDS = 5  # in which a client that could not be opened anew tries again
CHILD_RECORDS = 5
REPORT_SECONDS = 5  # in which the reports of dropped producers come


class Reports:
    """on_delivery that keeps the values; it knows no producer, so it holds none back from being collected."""

    def __init__(self) -> None:
        self.ok: list[str] = []
        self.bad: list[str] = []

    def __call__(self, batch: DeliveryBatch) -> None:
        for report in batch:
            assert report.value is not None
            (self.bad if report.error else self.ok).append(value_of(report.value))


class Subject:
    """The base: what is common to all. world: the cell's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.account = Account()
        self.counts: list[Callable[[], dict[str, int]]] = []

    def publish(self, value: str) -> bool:
        """Queue one record in the simplest way; whether it was queued."""
        raise NotImplementedError

    def flush(self, timeout: float) -> int:
        """Of what is open now."""
        raise NotImplementedError

    def close(self, timeout: float) -> int:
        """Close what is open now."""
        raise NotImplementedError

    def retire(self) -> None:
        """Let go of the last user of the client, without closing, and open another."""
        raise NotImplementedError

    def in_child(self, prefix: str) -> Account:
        """In a forked child: queue records, flush, and count them."""
        writer = Writer(prefix)
        account = Account(accepted=writer.accepted)
        before = self.counted()
        try:
            for value in writer.next(CHILD_RECORDS):
                # as in the parent, an instance may be what cannot be opened
                with suppress(self.world.raises):
                    if self.publish(value):
                        writer.accept([value])
            left = self.flush(FLUSH_SECONDS)
        except Closed:
            # closing had begun when the process forked
            if not self.world.may_be_closed:
                raise
            return account
        after = self.counted()
        if after and before:
            # an interface adds up what its clients of the parent counted; only the child's part is its own
            account.counted = {name: after[name] - before[name] for name in after}
        if left:
            account.unexpected.append(f"flush() in a child left {left}")
        return account

    def counted(self) -> dict[str, int]:
        """The sums of stats()."""
        totals: Counter[str] = Counter()
        for counts in self.counts:
            found = counts()
            totals.update({name: found[name] for name in ("queued", "delivered", "failed", "in_flight")})
        return dict(totals)

    def finish(self, writer: Writer) -> None:
        """The end of a turn: what is open still works, delivers and closes."""
        try:
            self.publish_at_last(writer)
            if left := self.flush(FLUSH_SECONDS):
                self.account.unexpected.append(f"flush({FLUSH_SECONDS}) left {left} records")
        except Closed:
            if not self.world.may_be_closed:
                raise
        self.close(FLUSH_SECONDS)

    def settle(self) -> None:
        """Put what is counted into the account, when nothing is open any more."""
        self.account.counted = self.counted()

    def restore(self) -> None:
        """Make good what a call that raised left undone."""

    def publish_at_last(self, writer: Writer) -> None:
        """One record more: whatever happened, the client is usable."""
        (value,) = writer.next(1)
        deadline = time.monotonic() + OPENING_SECONDS
        while True:
            with suppress(self.world.raises):
                self.restore()
                if self.publish(value):
                    writer.accept([value])
                    return
            if not self.world.raises or time.monotonic() > deadline:
                self.account.unexpected.append("the last record of a turn was not queued")
                return
            time.sleep(0.02)


class OneProducer(Subject):
    """A Producer; closed and dropped ones are followed by new ones."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.reports = Reports()
        self.dropped = False
        self.renew()

    def new(self) -> Producer:
        """A producer that nobody knows yet."""
        return Producer(self.world.socket(TOPIC), on_delivery=self.reports)

    def renew(self) -> None:
        """Open another one beside what was closed."""
        producer = self.new()
        self.counts.append(lambda: producer.stats()._asdict())
        self.producer = producer

    def restore(self) -> None:
        # where the next one could not be opened after a close
        if self.world.raises and self.producer.closed:
            self.renew()

    def publish(self, value: str) -> bool:
        return self.producer.publish(value, report=self.account.reported)

    def flush(self, timeout: float) -> int:
        return self.producer.flush(timeout)

    def close(self, timeout: float) -> int:
        return self.producer.close(timeout)

    def retire(self) -> None:
        self.dropped = True
        self.counts.clear()
        self.producer = self.new()

    def settle(self) -> None:
        self.account.counted = None if self.dropped else self.counted()
        deadline = time.monotonic() + REPORT_SECONDS
        while self.account.reported and time.monotonic() < deadline:
            if len(self.reports.ok) + len(self.reports.bad) >= len(self.account.accepted):
                break
            time.sleep(0.01)
        self.account.ok, self.account.bad = self.reports.ok, self.reports.bad


class ReportingProducer(OneProducer):
    """A Producer of whose every record the report is asked."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.account.reported = True


class DroppedProducers(OneProducer):
    """Producers that come and go: no counters can be read of one that is gone."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.retire()


class OneAsyncProducer(Subject):
    """An AsyncProducer in a loop that runs on a thread of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.producer = AsyncProducer(world.socket(TOPIC))
        self.counts.append(lambda: self.producer.stats()._asdict())

    def wait(self, work: Any) -> Any:
        """The result of a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def publish(self, value: str) -> bool:
        self.wait(self.producer.publish(value))
        return True

    def flush(self, timeout: float) -> int:
        left: int = self.wait(self.producer.flush(timeout))
        return left

    def close(self, timeout: float) -> int:
        left: int = self.wait(self.producer.close(timeout))
        return left

    def in_child(self, prefix: str) -> Account:
        # the loop's thread stayed in the parent
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        return super().in_child(prefix)

    def finish(self, writer: Writer) -> None:
        super().finish(writer)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class OneInterface(Subject):
    """An EventInterface: event E goes to the topic, event S to topics beside it that come and go."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.interface = EventInterface(producer_options={"on_full": "block", "full_timeout": None})
        self.counts.append(lambda: self.interface.stats()._asdict())
        self.interface.publish_event("E", ["n"])
        self.interface.publish_event("S", ["n"])
        self.socket = world.socket(TOPIC)
        self.interface.subscribe_event("E", self.socket)
        self.beside: list[int] = []
        self.leaves = False  # the subscriber of E has left before
        self.side = [world.socket(f"side{number}") for number in range(SIDE_TOPICS)]

    def publish(self, value: str) -> bool:
        return self.interface.raise_event("E", [value]) == 1

    def flush(self, timeout: float) -> int:
        return self.interface.flush(timeout)

    def close(self, timeout: float) -> int:
        return self.interface.close(timeout)

    def retire(self) -> None:
        self.leaves = True
        # a client that goes has its threads until its records are delivered: on a busy machine they would pile up
        until = time.monotonic() + 1
        while len(self.interface._pool.clients()) > CLIENTS and time.monotonic() < until:
            time.sleep(0.01)
            self.interface.stats()
        # another thread may have done it
        with suppress(EventError):
            self.interface.unsubscribe_event("E", self.socket)
        self.restore()

    def restore(self) -> None:
        self.interface.subscribe_event("E", self.socket)

    def settle(self) -> None:
        super().settle()
        self.account.beside = sum(self.beside)
        # a -1 does not say which of several subscribers got the event
        self.account.exact = not (self.world.raises or self.world.may_be_closed)


class OneConnector(Subject):
    """A Connector with one broker ID."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.connector = Connector([f"[k1]{world.socket(TOPIC)}"], producer_options={"on_full": "block"})
        self.counts.append(self.sums)

    def sums(self) -> dict[str, int]:
        """The counters of all sockets."""
        totals: Counter[str] = Counter(dict.fromkeys(("queued", "delivered", "failed", "in_flight"), 0))
        for each in self.connector.stats().values():
            totals.update({name: each[name] for name in totals})
        return dict(totals)

    def publish(self, value: str) -> bool:
        return self.connector.kafka_publish("k1", value) == 1

    def flush(self, timeout: float) -> int:
        return self.connector.flush(timeout)

    def close(self, timeout: float) -> int:
        return self.connector.close(timeout)
