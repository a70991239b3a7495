"""`pykafkaevt demo`: real SIP messages become events in Kafka, and are read back."""

from __future__ import annotations

import secrets
from importlib.resources import files

import click
from rich.console import Console
from rich.text import Text

from pykafkaevt.capture import read_capture
from pykafkaevt.cli.arguments import is_embedded, kafka_socket
from pykafkaevt.cli.call_order import CALL_ID, CallOrder, Row, Verdict
from pykafkaevt.cli.display import error_words, progress
from pykafkaevt.cli.replay import READING, Latencies, Reader, Replayed, replay
from pykafkaevt.sip.message import SIP_EVENT, SIP_FIELDS, headers
from pykafkaevt.sockets import KafkaSocket

COMPARED = 2.0  # seconds beside confluent-kafka, of both together


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
    default=300,
    show_default=True,
    help="How often the 150 calls are replayed, each time under other Call-IDs.",
)
@click.option(
    "--compare-for",
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="How long to send as fast as it goes, beside confluent-kafka.  "
    f"[default: {COMPARED:g} with the embedded broker, 0 with another: it would get some million records]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for space in the queue and for acknowledgements.",
)
def demo(socket: KafkaSocket, calls_times: int, compare_for: float | None, timeout: float) -> None:
    """Replay the SIP messages of 150 real calls as events, and check that each arrives, once and in order.

    Each message becomes an event E_SIP with the Call-ID as its key. Meanwhile every record is read back and
    compared with the capture: each call must lie in one partition, in order. The first replay is the warm-up:
    its records are checked, their latency is not counted. Then the same synthetic events go through this
    package and confluent-kafka in turns. The last line is the verdict.
    Exits with 1 when a record failed or a call is not as it was sent.
    """
    from pykafkaevt import EventTemplate, Producer  # noqa: PLC0415
    from pykafkaevt.cli.cluster import consumer  # noqa: PLC0415

    console = Console(highlight=False)
    template = EventTemplate(SIP_EVENT, SIP_FIELDS)
    rows = message_rows()
    run = secrets.token_hex(4)
    suffixes = [f"-{run}-{number}" for number in range(calls_times)]
    order = CallOrder(rows, suffixes, template.dumps)
    latencies = Latencies()
    with Producer(socket, full_timeout=timeout, on_delivery=latencies.on_delivery) as producer:
        source = consumer(socket, producer.bootstrap_servers, **READING)
        try:
            # the last replay of the first call stands for all
            reader = Reader(source, order, (rows[0][CALL_ID] + suffixes[-1]).encode())
            with progress(console) as bars:
                replayed = replay(producer, template, rows, suffixes, reader, timeout=timeout, bars=bars)
        finally:
            source.client.close()
        verdict = order.finish()
        report(console, socket, replayed, latencies, verdict)
        show(console, "\nOne call as it is in Kafka:")
        for line in reader.shown:
            show(console, line)
        if compare_for is None:
            compare_for = COMPARED if is_embedded(socket) else 0
        ratio = compared(console, socket, producer.bootstrap_servers, compare_for) if compare_for else ""
    stats = replayed.stats
    show(
        console,
        f"\n{stats.delivered:,} delivered, lost {verdict.lost:,}, out of order {verdict.misplaced:,}: "
        f"{verdict.whole:,} of {verdict.calls:,} calls whole and in order{ratio}",
    )
    if order.faults:
        name, fault = next(iter(order.faults.items()))
        raise click.ClickException(f"{len(order.faults)} calls are not as sent, the first, {name}: {fault}")
    if stats.delivered != order.sent:
        raise click.ClickException(f"{order.sent - stats.delivered} records were not delivered")


def compared(console: Console, socket: KafkaSocket, bootstrap_servers: str, seconds: float) -> str:
    """What the comparison with confluent-kafka gave, for the verdict; prints its rates."""
    from pykafkaevt.cli.comparison import rates  # noqa: PLC0415

    found = rates(socket, bootstrap_servers, seconds)
    ours, peer = found.values()
    show(console, f"\nAs fast as it goes for {seconds:g} s, in turns, events of 277 bytes, records/s:")
    for name, rate in found.items():
        show(console, f"  {name:<15} {rate:>11,.0f}")
    return f"; {ours / peer:.1f} x confluent-kafka"


def report(console: Console, socket: KafkaSocket, replayed: Replayed, latencies: Latencies, verdict: Verdict) -> None:
    """Print the figures of the replays."""
    stats = replayed.stats
    show(console, f"socket   {socket.to_text()}")
    show(console, f"records  {stats.queued + stats.rejected:,}, of {verdict.calls:,} calls")
    show(console, f"acks     {stats.delivered:,}")
    show(console, f"failed   {stats.failed + stats.rejected:,}")
    for code, count in sorted(stats.errors.items()):
        show(console, f"         {count:,} of them: {error_words(code)}")
    if not replayed.measured:
        show(console, "rate and latency are not measured: the first replay is the warm-up")
        return
    rate = replayed.measured / replayed.seconds
    show(console, f"rate     {rate:,.0f} records/s, each emitted, acknowledged, read back and compared")
    latency = ", ".join(f"{name} {us / 1000:,.1f} ms" for name, us in latencies.quantiles().items())
    show(console, f"latency  {latency}, emit to acknowledgement")


def show(console: Console, line: str) -> None:
    """Print the text as it is, however long."""
    console.print(Text(line), soft_wrap=True)
