"""`pykafkaevt demo`: real SIP messages become events in Kafka, and are read back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from importlib.resources import files
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pykafkaevt._sip import headers
from pykafkaevt.cli.arguments import SOCKET, is_embedded
from pykafkaevt.cli.capture import read_capture
from pykafkaevt.cli.display import printable
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt import Producer, ProducerStats
    from pykafkaevt.cli.cluster import ClusterClient

EVENT = "E_SIP_MESSAGE"
FIELDS = (
    "method",  # of a request
    "status",  # of a response
    "callid",
    "cseq",
    "from_uri",
    "to_uri",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "time",  # microseconds since 1970
    "size",  # bytes of the message
)
CALL_ID = FIELDS.index("callid")
ANSWER = 10.0  # seconds the brokers have to answer a question, or to send the next record
REFRESH = 0.1  # seconds between two looks at the acknowledgements

Row = tuple[Any, ...]


def message_rows() -> list[Row]:
    """The SIP messages of the shipped capture as values of FIELDS, in their order."""
    from pykafkaevt import SKIP  # noqa: PLC0415

    rows = []
    with files("pykafkaevt.cli").joinpath("sipp-calls.pcap").open("rb") as capture:
        for datagram in read_capture(capture):
            sip = headers(datagram.payload)
            if sip is None or sip.call_id is None:
                continue
            values = (
                sip.method,
                sip.status,
                sip.call_id,
                None if sip.cseq is None else f"{sip.cseq} {sip.cseq_method}",
                sip.from_uri,
                sip.to_uri,
                datagram.source,
                datagram.source_port,
                datagram.destination,
                datagram.destination_port,
                datagram.time,
                len(datagram.payload),
            )
            rows.append(tuple(SKIP if value is None else value for value in values))
    return rows


def renamed(row: Row, suffix: str) -> Row:
    """The row as of another call, its Call-ID ending in the suffix."""
    return (*row[:CALL_ID], row[CALL_ID] + suffix, *row[CALL_ID + 1 :])


class CallOrder:
    """Follows the records of one run, and tells whether each call lies whole and in order in one partition.

    rows: the messages of one pass. suffixes: what each pass appends to a Call-ID. dumps: row to record value.
    trimmed: partitions whose first records of this run the broker has dropped already.
    """

    def __init__(
        self, rows: Iterable[Row], suffixes: list[str], dumps: Callable[..., bytes], trimmed: set[int]
    ) -> None:
        self.calls: dict[str, list[Row]] = {}
        for row in rows:
            self.calls.setdefault(row[CALL_ID], []).append(row)
        self.suffixes = suffixes
        self.dumps = dumps
        self.trimmed = trimmed
        self.records = 0
        self.faults: list[str] = []
        # key -> partition, the records still to come
        self._open: dict[str, tuple[int, list[bytes]]] = {}
        # keys of calls that were read whole, and of those whose beginning the broker dropped
        self._whole: set[str] = set()
        self._ends: set[str] = set()
        self._keys = {call + suffix: (call, suffix) for suffix in suffixes for call in self.calls}

    def add(self, partition: int, key: bytes | None, value: bytes | None) -> bool:
        """Take the next record of a partition; False when it is not of this run."""
        name = (key or b"").decode("utf-8", "replace")
        if name not in self._keys:
            return False
        self.records += 1
        if name not in self._open:
            call, suffix = self._keys[name]
            expected = [self.dumps(*renamed(row, suffix)) for row in self.calls[call]]
            if partition in self.trimmed and value in expected[1:]:
                expected = expected[expected.index(value) :]
                self._ends.add(name)
            self._open[name] = (partition, expected)
        home, expected = self._open[name]
        if partition != home:
            self.faults.append(f"call {name} is in partitions {home} and {partition}")
        elif not expected or value != expected[0]:
            self.faults.append(f"call {name}: a record of partition {partition} is out of order or changed")
        else:
            del expected[0]
            if not expected and name not in self._ends:
                self._whole.add(name)
        return True

    def finish(self) -> tuple[int, int]:
        """The number of whole calls and of all calls; `faults` then holds what is missing too.

        A call may only lack its beginning or be absent where a partition was trimmed, and not in the last pass.
        """
        for name, (call, suffix) in self._keys.items():
            if name in self._whole:
                continue
            partition, missing = self._open.get(name, (None, self.calls[call]))
            dropped = self.trimmed if partition is None else name in self._ends and not missing
            if not dropped or suffix == self.suffixes[-1]:
                self.faults.append(f"call {name} has not come back whole")
        return len(self._whole), len(self._keys)


class Sent(NamedTuple):
    """What the producing half of a run gave; seconds from the first emit to the last acknowledgement."""

    records: int
    seconds: float
    stats: ProducerStats


@click.command(epilog="Example: pykafkaevt demo --socket 'kafka:127.0.0.1:9092/sip-events?key=callid'")
@click.option(
    "--socket",
    type=SOCKET,
    default="kafka:embedded/sip-events?key=callid",
    show_default=True,
    help="Where the events go.",
)
@click.option(
    "--calls-times",
    type=click.IntRange(1),
    default=120,
    show_default=True,
    help="How often the 150 calls are replayed, each time under other Call-IDs.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for room and for acknowledgements.",
)
def demo(socket: KafkaSocket, calls_times: int, timeout: float) -> None:
    """Replay the SIP messages of 150 real calls as events, then read them back and check them.

    Each message becomes an event E_SIP_MESSAGE with the Call-ID as its key. Every record of this run that the
    broker still keeps is read back and compared with the capture: each call must lie in one partition, in
    order. The embedded broker keeps the last 5 MB of a partition; the last replay is always checked whole.
    Exits with 1 when a record failed or a call is not as it was sent.
    """
    from pykafkaevt import EventTemplate, Producer  # noqa: PLC0415
    from pykafkaevt.cli.cluster import consumer  # noqa: PLC0415

    console = Console(highlight=False)
    template = EventTemplate(EVENT, FIELDS)
    rows = message_rows()
    run = secrets.token_hex(4)
    suffixes = [f"-{run}-{number}" for number in range(calls_times)]
    with Producer(socket, full_timeout=timeout) as producer:
        source = consumer(socket, producer.bootstrap_servers)
        try:
            start = {partition: end for partition, (_, end) in source.offsets(ANSWER).items()}
            sent = send(console, producer, template, rows, suffixes, timeout)
            if sent.stats.in_flight:
                producer.purge()
            offsets = source.offsets(ANSWER)
            trimmed = {p for p, (first, _) in offsets.items() if first > start.get(p, 0)}
            order = CallOrder(rows, suffixes, template.dumps, trimmed)
            bounds = {p: (max(first, start.get(p, 0)), end) for p, (first, end) in offsets.items()}
            # the last replay of the first call stands for all
            sample = read_back(console, source, bounds, order, (rows[0][CALL_ID] + suffixes[-1]).encode())
        finally:
            source.client.close()
    whole, calls = order.finish()
    report(console, socket, sent)
    console.print(f"\nOne call as it is in Kafka, of {order.records:,} records read back:")
    for line in sample:
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(
        f"\nOrder: {whole:,} of {calls:,} calls read back whole, each in one partition and in order."
    )
    if trimmed:
        kept = (
            "the embedded broker keeps the last 5 MB of a partition"
            if is_embedded(socket)
            else "its retention"
        )
        console.print(f"       The broker has dropped the oldest records of this run ({kept}).")
    if order.faults:
        raise click.ClickException(f"{len(order.faults)} faults, the first: {printable(order.faults[0])}")
    if sent.stats.delivered != sent.records:
        raise click.ClickException(f"{sent.records - sent.stats.delivered} records were not delivered")


def send(
    console: Console, producer: Producer, template: Any, rows: list[Row], suffixes: list[str], timeout: float
) -> Sent:
    """Emit every pass and wait for the acknowledgements, at most timeout seconds after the last emit."""
    total = len(rows) * len(suffixes)
    with progress(console) as bars:
        emitted = bars.add_task("emitted", total=total)
        acknowledged = bars.add_task("acknowledged", total=total)
        begin = monotonic()
        for suffix in suffixes:
            producer.emit_many(template, [renamed(row, suffix) for row in rows], key_field="callid")
            bars.advance(emitted, len(rows))
            bars.update(acknowledged, completed=producer.stats().delivered)
        end = monotonic() + timeout
        while producer.flush(REFRESH) and monotonic() < end:
            bars.update(acknowledged, completed=producer.stats().delivered)
        seconds = monotonic() - begin
        stats = producer.stats()
        bars.update(acknowledged, completed=stats.delivered)
    return Sent(total, seconds, stats)


def read_back(
    console: Console,
    source: ClusterClient,
    bounds: dict[int, tuple[int, int]],
    order: CallOrder,
    sample: bytes,
) -> list[str]:
    """Give order the records between the bounds (first and end offset by partition), the sample's as text."""
    from confluent_kafka import TopicPartition  # noqa: PLC0415

    shown = []
    left = {partition: end for partition, (first, end) in bounds.items() if first < end}
    source.client.assign(
        [TopicPartition(source.topic, partition, bounds[partition][0]) for partition in left]
    )
    total = sum(end - bounds[partition][0] for partition, end in left.items())
    last = monotonic()
    with progress(console) as bars:
        task = bars.add_task("read back", total=total)
        while left:
            records = source.client.consume(10_000, REFRESH)
            if not records and monotonic() - last > ANSWER:
                raise source.failure(f"{total - order.records} of {total} records cannot be read back")
            for record in records:
                last = monotonic()
                if record.error() is not None:
                    raise click.ClickException(f"{source.bootstrap_servers}: {record.error().str()}")
                partition, offset, key, value = (
                    record.partition(),
                    record.offset(),
                    record.key(),
                    record.value(),
                )
                if offset < bounds[partition][1] and order.add(partition, key, value) and key == sample:
                    shown.append(
                        f"partition {partition} offset {offset} key {printable(key)}\n    {printable(value)}"
                    )
                if offset + 1 >= bounds[partition][1]:
                    left.pop(partition, None)
            bars.advance(task, len(records))
    return shown


def progress(console: Console) -> Progress:
    """Bars that vanish when they are done; nothing of them when the output is no terminal."""
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def report(console: Console, socket: KafkaSocket, sent: Sent) -> None:
    """Print the figures of the producing half."""
    stats = sent.stats
    table = Table.grid(padding=(0, 2))
    for name, text in (
        ("socket", socket.to_text()),
        ("records", f"{sent.records:,}"),
        ("acks", f"{stats.delivered:,}"),
        (
            "failed",
            f"{stats.failed:,}" + "".join(f", code {c}: {n:,}" for c, n in sorted(stats.errors.items())),
        ),
        (
            "rate",
            f"{stats.delivered / sent.seconds:,.0f} records/s, from the first emit to the last acknowledgement",
        ),
        (
            "latency",
            ", ".join(
                f"{name} {microseconds / 1000:,.1f} ms"
                for name, microseconds in (
                    ("p50", stats.latency_p50_us),
                    ("p90", stats.latency_p90_us),
                    ("p99", stats.latency_p99_us),
                    ("p99.9", stats.latency_p999_us),
                    ("max", stats.latency_max_us),
                )
            )
            + " from emit to acknowledgement",
        ),
    ):
        table.add_row(name, Text(printable(text)))
    console.print(table)
