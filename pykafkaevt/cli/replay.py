"""The demo's run: calls are emitted again and again, and read back and checked meanwhile."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.progress import Progress

from pykafkaevt.cli.call_order import CallOrder, Row, renamed
from pykafkaevt.cli.display import printable

if TYPE_CHECKING:
    from pykafkaevt import DeliveryBatch, EventTemplate, Producer, ProducerStats
    from pykafkaevt.cli.cluster import ClusterClient

ANSWER = 10.0  # seconds the brokers have to answer a question, or to send the next record
REFRESH = 0.1  # seconds between two looks at the acknowledgements
UNREAD = 8_000  # records emitted and not read back yet, at most: the embedded broker keeps 5 MB of a partition
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

# of the reading client: the ends of partitions are told, for some records there (of transactions) are never shown;
# the embedded broker answers a fetch that finds nothing only after all of the wait
READING = {"enable.partition.eof": True, "fetch.wait.max.ms": 5}


class Reader:
    """Reads a topic from where it ended when the run began, and gives the records to a CallOrder.

    sample: the key of the call whose records are kept as text in `shown`.
    """

    def __init__(self, source: ClusterClient, order: CallOrder, sample: bytes) -> None:
        """Raises click.ClickException when no broker answers."""
        self.source = source
        self.order = order
        self.sample = sample
        self.shown: list[str] = []
        self.position = {partition: end for partition, (_, end) in source.offsets(ANSWER).items()}

    def start(self) -> None:
        """Begin with the first record of the run; after its topic was made."""
        from confluent_kafka import TopicPartition  # noqa: PLC0415

        self.position = {partition: self.position.get(partition, 0) for partition in self.source.offsets(ANSWER)}
        self.source.client.assign([TopicPartition(self.source.topic, *place) for place in self.position.items()])

    def read(self) -> bool:
        """Take what has come, REFRESH seconds at most; whether there was any record or the end of a partition."""
        from confluent_kafka import KafkaError  # noqa: PLC0415

        # it waits for as many as it may take
        records = self.source.client.consume(1_000, REFRESH)
        for record in records:
            partition, offset, error = record.partition(), record.offset(), record.error()
            if error is None:
                self.position[partition] = offset + 1
                self.take(partition, offset, record.key(), record.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                self.position[partition] = offset
            else:
                raise click.ClickException(f"{self.source.bootstrap_servers}: {error.str()}")
        return bool(records)

    def take(self, partition: int, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Check a record, and keep the sample's."""
        if self.order.add(partition, key, value) and key == self.sample:
            place = f"partition {partition} offset {offset} key {printable(key)}"
            self.shown.append(f"  {place}\n    {printable(value or b'')}")

    def read_while(self, lacking: Callable[[], bool]) -> None:
        """Read as long as something is lacking. Raises click.ClickException when nothing comes for ANSWER seconds."""
        last = monotonic()
        while lacking():
            if self.read():
                last = monotonic()
            elif monotonic() - last > ANSWER:
                raise self.source.failure(f"after {self.order.records:,} records nothing more can be read back")

    def read_to_end(self) -> None:
        """Take all that is in the topic by now."""
        ends = {partition: end for partition, (_, end) in self.source.offsets(ANSWER).items()}
        self.read_while(lambda: any(self.position.get(partition, 0) < end for partition, end in ends.items()))


class Latencies:
    """From emit to acknowledgement, of each record whose report was asked; microseconds."""

    def __init__(self) -> None:
        self.measured = array("q")

    def on_delivery(self, batch: DeliveryBatch) -> None:
        """Take those of a batch."""
        self.measured.extend(batch.latencies_us)

    def quantiles(self) -> dict[str, int]:
        """The QUANTILES; none of nothing."""
        ordered = sorted(self.measured)
        return {name: ordered[int(share * (len(ordered) - 1))] for name, share in QUANTILES.items() if ordered}


class Replayed(NamedTuple):
    """What the run gave. measured: records after the first replay; seconds: from then until all was read back."""

    measured: int
    seconds: float
    stats: ProducerStats


def replay(
    producer: Producer,
    template: EventTemplate,
    rows: list[Row],
    suffixes: list[str],
    reader: Reader,
    *,
    timeout: float,
    bars: Progress,
) -> Replayed:
    """Emit the rows once for each suffix, and read everything back.

    The first replay is the warm-up: a new client waits for its connections and its producer ID. Its
    records are checked as all others, only their latency does not count. timeout: seconds for acknowledgements.
    """
    tasks = [bars.add_task(what, total=len(rows) * len(suffixes)) for what in ("emitted", "acknowledged", "read back")]
    emitted = 0
    begin = monotonic()

    def behind() -> int:
        stats = producer.stats()
        for task, done in zip(tasks, (emitted, stats.delivered, reader.order.records), strict=True):
            bars.update(task, completed=done)
        return stats.queued - stats.failed - reader.order.records

    for number, suffix in enumerate(suffixes):
        replayed = [renamed(row, suffix) for row in rows]
        producer.emit_many(template, replayed, key_field="callid", report=number > 0)
        emitted += len(rows)
        if number == 0:
            wait_for_reports(producer, timeout, behind)
            reader.start()
            begin = monotonic()
        reader.read_while(lambda: behind() > UNREAD)
    wait_for_reports(producer, timeout, behind)
    stats = producer.stats()
    if stats.in_flight:
        producer.purge()
    reader.read_to_end()
    behind()
    return Replayed(emitted - len(rows), monotonic() - begin, stats)


def wait_for_reports(producer: Producer, timeout: float, show: Callable[[], object]) -> None:
    """Flush, for at most timeout seconds."""
    end = monotonic() + timeout
    while producer.flush(REFRESH) and monotonic() < end:
        show()
