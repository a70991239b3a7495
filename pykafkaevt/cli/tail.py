"""`pykafkaevt tail`: the records of a topic as they come."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from time import monotonic
from typing import Any, cast

import click
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from pykafkaevt.cli.arguments import is_embedded, kafka_socket
from pykafkaevt.cli.cluster import ClusterClient, consumer, reason_of
from pykafkaevt.cli.display import printable
from pykafkaevt.sockets import KafkaSocket

ANSWER = 10.0  # seconds a broker has to answer at the start
PATIENCE = 0.2  # seconds records are gathered, and Ctrl-C may take
GATHERED = 1000  # records at most


def text_line(record: Message[Any, Any]) -> str:
    """Partition, offset, time, key and value; an absent time or key is -, an absent value empty."""
    kind, milliseconds = record.timestamp()
    time = "-"
    if kind:
        time = datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")
    key, value = record.key(), record.value()
    shown = "-" if key is None else printable(key)
    return f"{record.partition()} {record.offset()} {time} {shown} {printable(value or b'')}"


def json_line(record: Message[Any, Any]) -> str:
    """One JSON object: timestamp in ms since 1970, bytes as text or, when not UTF-8, {"base64": …}."""
    kind, milliseconds = record.timestamp()
    headers = cast("list[tuple[str, bytes | str | None]]", record.headers() or [])
    text = json.dumps(
        {
            "partition": record.partition(),
            "offset": record.offset(),
            "timestamp": milliseconds if kind else None,
            "key": json_bytes(record.key()),
            "value": json_bytes(record.value()),
            "headers": [[name, json_bytes(value)] for name, value in headers],
        },
        ensure_ascii=False,
    )
    return text if text.isprintable() else "".join(c if c.isprintable() else json_escape(c) for c in text)


def json_bytes(data: bytes | str | None) -> Any:
    """The bytes as a value for json.dumps."""
    if data is None or isinstance(data, str):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def json_escape(character: str) -> str:
    """The \\u escape, as a surrogate pair beyond the BMP."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def raw_value(record: Message[Any, Any]) -> bytes:
    """The value as it is."""
    return record.value() or b""


def value_line(record: Message[Any, Any]) -> str:
    """The value, made safe for a terminal."""
    return printable(raw_value(record))


FORMATS: dict[str, Callable[[Message[Any, Any]], str | bytes]] = {
    "text": text_line,
    "json": json_line,
    "value": value_line,
}


@click.command(epilog="\b\nExample:\n  pykafkaevt tail kafka:127.0.0.1:9092/sip-events --from beginning --count 10")
@click.argument("socket", metavar="SOCKET", type=kafka_socket)
@click.option(
    "--from",
    "start",
    type=click.Choice(["beginning", "end"]),
    default="end",
    show_default=True,
    help="Where to start in each partition.",
)
@click.option("--count", type=click.IntRange(1), help="Stop after this many records.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    help="Stop when no record came for this many seconds.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="How to print a record.",
)
def tail(socket: KafkaSocket, start: str, count: int | None, timeout: float | None, form: str) -> None:
    """Print the records of the topic of SOCKET as they come.

    text: partition, offset, time, key, value, with escapes for what does not print. json: an object a line.
    value: the value alone, as it is when the output is no terminal. Nothing is committed. Ctrl-C ends it.
    Exits with 1 when --timeout ends it before --count records, or with the brokers away.
    """
    if is_embedded(socket):
        raise click.UsageError("kafka:embedded/… has nothing to read: an embedded broker lives inside one process")
    show = FORMATS[form]
    if form == "value" and not sys.stdout.isatty():
        show = raw_value
    source = consumer(socket)
    try:
        assign(source, start)
        # this is how it ends where nothing else ends it
        with suppress(KeyboardInterrupt):
            for records in follow(source, count, timeout):
                write_lines([show(record) for record in records])
    except KafkaException as error:
        raise click.ClickException(
            f"{socket.bootstrap_servers}: {printable(source.diagnosis.masked(reason_of(error)))}"
        ) from error
    finally:
        source.client.close()


def assign(source: ClusterClient, start: str) -> None:
    """Find the partitions of the topic and read them from the start given. Raises click.ClickException."""
    offsets = source.offsets(ANSWER)
    if not offsets:
        raise click.ClickException(f"{source.bootstrap_servers}: no topic {source.topic}")
    source.client.assign(
        [
            TopicPartition(source.topic, partition, low if start == "beginning" else high)
            for partition, (low, high) in offsets.items()
        ]
    )
    click.echo(f"partitions of {source.topic}: {len(offsets)}, reading from the {start}", err=True)


def follow(source: ClusterClient, count: int | None, timeout: float | None) -> Iterator[list[Message[Any, Any]]]:
    """The records as they come, in lists; arguments as tail's. Raises click.ClickException."""
    seen = 0
    last = monotonic()
    while count is None or seen < count:
        records = source.client.consume(GATHERED if count is None else min(GATHERED, count - seen), PATIENCE)
        for record in records:
            if record.error() is not None:
                raise click.ClickException(f"{source.bootstrap_servers}: {printable(record.error().str())}")
        if records:
            last = monotonic()
            seen += len(records)
            source.errors.clear()
            yield records
        elif timeout is not None and monotonic() - last >= timeout:
            if any(error.code() == KafkaError._ALL_BROKERS_DOWN for error in source.errors):
                raise source.failure("the brokers are away")
            if count is not None:
                raise click.ClickException(f"{seen} of {count} records came, then none for {timeout:g} s")
            return


def write_lines(lines: list[str | bytes]) -> None:
    """The lines to standard output, at once."""
    click.echo(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines), nl=False)
