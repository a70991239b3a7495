"""`pykafkaevt demo`: real SIP messages become events in Kafka, and are read back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from importlib.resources import files
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from pykafkaevt.capture import read_capture
from pykafkaevt.cli.arguments import is_embedded, kafka_socket
from pykafkaevt.cli.call_order import CALL_ID, CallOrder, Row, renamed
from pykafkaevt.cli.display import error_words, printable, progress
from pykafkaevt.sip.message import SIP_EVENT, SIP_FIELDS, headers
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt import EventTemplate, Producer, ProducerStats
    from pykafkaevt.cli.cluster import ClusterClient

ANSWER = 10.0  # seconds the brokers have to answer a question, or to send the next record
REFRESH = 0.1  # seconds between two looks at the acknowledgements


def message_rows() -> list[Row]:
    """The SIP messages of the shipped capture as values of SIP_FIELDS, in their order."""
    from pykafkaevt import SKIP  # noqa: PLC0415

    rows = []
    with files("pykafkaevt.cli").joinpath("sipp-calls.pcap").open("rb") as capture:
        for datagram in read_capture(capture):
            sip = headers(datagram.payload)
            if sip is None or sip.call_id is None:
                continue
            values = {
                "method": sip.method,
                "status": sip.status,
                "reason": sip.reason,
                "callid": sip.call_id,
                "cseq": sip.cseq,
                "cseq_method": sip.cseq_method,
                "from_uri": sip.from_uri,
                "to_uri": sip.to_uri,
                "user_agent": sip.user_agent,
                "transport": "udp",
                "src_ip": datagram.source,
                "src_port": datagram.source_port,
                "dst_ip": datagram.destination,
                "dst_port": datagram.destination_port,
                "time": datagram.time,
            }
            values = {name: value for name, value in values.items() if value is not None}
            rows.append(tuple(values.get(name, SKIP) for name in SIP_FIELDS))
    return rows


class Sent(NamedTuple):
    """What the producing half of a run gave; seconds from the first emit to the last acknowledgement."""

    records: int
    seconds: float
    stats: ProducerStats


@click.command(epilog="\b\nExample:\n  pykafkaevt demo --socket kafka:127.0.0.1:9092/sip")
@click.option(
    "--socket",
    metavar="SOCKET",
    type=kafka_socket,
    default="kafka:embedded/sip-events?key=callid",
    show_default=True,
    help="Where the events go.",
)
@click.option(
    "--calls-times",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="How often the 150 calls are replayed, each time under other Call-IDs.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for space in the queue and for acknowledgements.",
)
def demo(socket: KafkaSocket, calls_times: int, timeout: float) -> None:
    """Replay the SIP messages of 150 real calls as events, then read them back and check them.

    Each message becomes an event E_SIP with the Call-ID as its key. Every record of this run that the
    broker still keeps is read back and compared with the capture: each call must lie in one partition, in
    order. The embedded broker keeps the last 5 MB of a partition; the last replay is always checked whole.
    Exits with 1 when a record failed or a call is not as it was sent.
    """
    from pykafkaevt import EventTemplate, Producer  # noqa: PLC0415
    from pykafkaevt.cli.cluster import consumer  # noqa: PLC0415

    console = Console(highlight=False)
    template = EventTemplate(SIP_EVENT, SIP_FIELDS)
    rows = message_rows()
    run = secrets.token_hex(4)
    suffixes = [f"-{run}-{number}" for number in range(calls_times)]
    with Producer(socket, full_timeout=timeout) as producer:
        source = consumer(socket, producer.bootstrap_servers)
        try:
            start = {partition: end for partition, (_, end) in source.offsets(ANSWER).items()}
            passes = ([renamed(row, suffix) for row in rows] for suffix in suffixes)
            sent = send(producer, template, passes, len(rows) * calls_times, timeout=timeout, console=console)
            report(console, socket, sent)
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
    show(console, f"\nOne call as it is in Kafka, of {order.records:,} records read back:")
    for line in sample:
        show(console, line)
    show(console, f"\nCalls read back whole, each in one partition and in order: {whole:,} of {calls:,}.")
    if trimmed:
        keeps = "The embedded broker keeps the last 5 MB of a partition" if is_embedded(socket) else "Its retention"
        show(console, f"{keeps}: the oldest records of this run are gone, the last replay was checked whole.")
    if order.faults:
        name, fault = next(iter(order.faults.items()))
        raise click.ClickException(f"{len(order.faults)} calls are not as sent, the first, {name}: {fault}")
    if sent.stats.delivered != sent.records:
        raise click.ClickException(f"{sent.records - sent.stats.delivered} records were not delivered")


def send(
    producer: Producer,
    template: EventTemplate,
    passes: Iterator[list[Row]],
    total: int,
    *,
    timeout: float,
    console: Console,
) -> Sent:
    """Emit every pass and wait for the acknowledgements, at most timeout seconds after the last emit."""
    with progress(console) as bars:
        emitted = bars.add_task("emitted", total=total)
        acknowledged = bars.add_task("acknowledged", total=total)
        begin = monotonic()
        for rows in passes:
            producer.emit_many(template, rows, key_field="callid")
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
    source.client.assign([TopicPartition(source.topic, partition, bounds[partition][0]) for partition in left])
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
                partition, offset, key = record.partition(), record.offset(), record.key()
                ours = offset < bounds[partition][1] and order.add(partition, key, record.value())
                if ours and key == sample:
                    place = f"partition {partition} offset {offset} key {printable(key)}"
                    shown.append(f"  {place}\n    {printable(record.value())}")
                if offset + 1 >= bounds[partition][1]:
                    left.pop(partition, None)
            bars.advance(task, len(records))
    return shown


def report(console: Console, socket: KafkaSocket, sent: Sent) -> None:
    """Print the figures of the producing half."""
    stats = sent.stats
    latencies = {
        "p50": stats.latency_p50_us,
        "p90": stats.latency_p90_us,
        "p99": stats.latency_p99_us,
        "p99.9": stats.latency_p999_us,
        "max": stats.latency_max_us,
    }
    latency = ", ".join(f"{name} {microseconds / 1000:,.1f} ms" for name, microseconds in latencies.items())
    show(console, f"socket   {socket.to_text()}")
    show(console, f"records  {sent.records:,}")
    show(console, f"acks     {stats.delivered:,}")
    show(console, f"failed   {stats.failed:,}")
    for code, count in sorted(stats.errors.items()):
        show(console, f"         {count:,} of them: {error_words(code)}")
    show(
        console,
        f"rate     {stats.delivered / sent.seconds:,.0f} records/s, first emit to last acknowledgement",
    )
    show(console, f"latency  {latency}, emit to acknowledgement")


def show(console: Console, line: str) -> None:
    """Print the text as it is, however long."""
    console.print(Text(line), soft_wrap=True)
