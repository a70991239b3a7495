"""`pykafkaevt publish`: lines become records."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click

from pykafkaevt.cli.arguments import kafka_socket
from pykafkaevt.cli.display import error_words, printable
from pykafkaevt.sockets import KafkaSocket

if TYPE_CHECKING:
    from pykafkaevt import Producer, ProducerStats

CHUNK = 1 << 18  # bytes read at once: some thousand lines, handed to the producer together
SILENCE = 1.0  # seconds without an acknowledgement after which nothing more is waited for, once Ctrl-C was pressed


class Batch(NamedTuple):
    """Records ready for Producer.publish_many; keys is None when no record has one."""

    values: list[bytes]
    keys: list[bytes] | None


class BadLine(click.ClickException):
    """A line that cannot become a record; number counts from 1. Those before it are published."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")


def read_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of the stream without their line ends (LF or CRLF), as many at once as can be read."""
    pieces: list[bytes] = []
    read = getattr(stream, "read1", stream.read)
    while chunk := read(CHUNK):
        pieces.append(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(pieces).split(b"\n")
            pieces = [rest] if rest else []
            yield [line.removesuffix(b"\r") for line in lines]
    if pieces:
        yield [b"".join(pieces)]


class RecordForm:
    """How a line becomes a record: its key, its event.

    key: of every record. separator: parts a line into its key and the rest. event: the method of a JSON-RPC
    notification that has the line, a JSON object or array, as its params.
    """

    def __init__(
        self,
        key: bytes | None = None,
        separator: bytes | None = None,
        event: str | None = None,
        keep_empty: bool = False,
    ) -> None:
        self.key = key
        self.separator = separator
        self.keep_empty = keep_empty
        self.start = b""
        if event is not None:
            from pykafkaevt import dumps  # noqa: PLC0415

            self.start = dumps(event)[:-1] + b',"params":'

    def batch(self, lines: list[bytes], before: int) -> tuple[Batch, BadLine | None]:
        """The records of the lines up to the first bad one; before: the number of lines ahead of them."""
        if self.separator is None and not self.start:
            values = lines if self.keep_empty else [line for line in lines if line]
            return Batch(values, None if self.key is None else [self.key] * len(values)), None
        values, keys = [], []
        bad = None
        for number, line in enumerate(lines, before + 1):
            if not line and not self.keep_empty:
                continue
            key, value = self.key, line
            if self.separator is not None:
                key, found, value = line.partition(self.separator)
                if not found:
                    bad = BadLine(number, f"has no {printable(self.separator)!r} after its key")
                    break
            if self.start:
                reason = why_no_params(value)
                if reason:
                    bad = BadLine(number, reason)
                    break
                # the text itself, for a number of any size and precision stays as it was written
                value = self.start + value.strip() + b"}"
            values.append(value)
            if key is not None:
                keys.append(key)
        return Batch(values, keys if keys else None), bad


def why_no_params(text: bytes) -> str | None:
    """Why the text is no params of a JSON-RPC notification, None when it is."""
    import orjson  # noqa: PLC0415

    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"column {error.colno} of its JSON: {error.msg}"
    return None if isinstance(value, dict | list) else "params are a JSON object or array"


def parse_header(context: click.Context, param: click.Parameter, texts: Iterable[str]) -> list[tuple[str, bytes]]:
    """The (name, value) of each NAME=VALUE."""
    headers = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is no NAME=VALUE", context, param)
        headers.append((name, os.fsencode(value)))
    return headers


@click.command(epilog="\b\nExample:\n  tail -F calls | pykafkaevt publish kafka:127.0.0.1:9092/calls --event E_CALL")
@click.argument("socket", metavar="SOCKET", type=kafka_socket)
@click.argument("values", metavar="[VALUE]...", nargs=-1)
@click.option("--file", type=click.Path(exists=True, dir_okay=False, allow_dash=True), help="Read its lines.")
@click.option("--key", help="The key of every record.")
@click.option("--key-separator", help="What parts a line into key and value; a line without it is an error.")
@click.option(
    "--header",
    "headers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=parse_header,
    help="A record header; repeatable.",
)
@click.option("--event", metavar="NAME", help="Each line is the JSON params of this event (JSON-RPC notification).")
@click.option("--keep-empty", is_flag=True, help="Publish empty lines too.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds to wait at the end for acknowledgements.",
)
def publish(
    socket: KafkaSocket,
    values: tuple[str, ...],
    *,
    file: str | None,
    key: str | None,
    key_separator: str | None,
    headers: list[tuple[str, bytes]],
    event: str | None,
    keep_empty: bool,
    timeout: float,
) -> None:
    """Publish each VALUE, or each line of a file or of standard input, as a record.

    The bytes of a line are the record's value, without the line end. With --event a line that is no JSON
    object or array ends the publishing. Ctrl-C stops reading; what was accepted is still delivered, as long
    as acknowledgements come.
    Exits with 1 unless everything given was delivered.
    """
    if values and file is not None:
        raise click.UsageError("give values or --file, not both")
    if key is not None and key_separator is not None:
        raise click.UsageError("give --key or --key-separator, not both")
    if key_separator == "":
        raise click.UsageError("--key-separator is empty")
    # an empty VALUE was asked for by name
    form = RecordForm(
        None if key is None else os.fsencode(key),
        None if key_separator is None else os.fsencode(key_separator),
        event,
        keep_empty or bool(values),
    )
    if values:
        publish_lines(socket, [[os.fsencode(value) for value in values]], form, headers, timeout)
    elif file is None or file == "-":
        publish_lines(socket, read_lines(sys.stdin.buffer), form, headers, timeout)
    else:
        with open(file, "rb") as stream:
            publish_lines(socket, read_lines(stream), form, headers, timeout)


def publish_lines(
    socket: KafkaSocket,
    source: Iterable[list[bytes]],
    form: RecordForm,
    headers: list[tuple[str, bytes]],
    timeout: float,
) -> None:
    """Publish lists of lines, wait, print the counts; click.ClickException unless all was delivered."""
    from pykafkaevt import Producer  # noqa: PLC0415
    from pykafkaevt.errors import Error  # noqa: PLC0415

    failure: click.ClickException | None = None
    given = lines_before = 0
    interrupted = False
    with Producer(socket) as producer:
        try:
            for lines in source:
                batch, failure = form.batch(lines, lines_before)
                lines_before += len(lines)
                given += len(batch.values)
                if batch.values:
                    producer.publish_many(batch.values, batch.keys, headers=headers or None)
                if failure is not None:
                    break
        except KeyboardInterrupt:
            interrupted = True
            failure = click.ClickException("interrupted: nothing more was read")
        except Error as error:
            failure = click.ClickException(str(error))
        try:
            if interrupted:
                flush_while_acknowledged(producer, timeout)
            else:
                producer.flush(timeout)
        except KeyboardInterrupt:
            interrupted = True
            failure = click.ClickException("interrupted before all acknowledgements came")
        stats, why = producer.stats(), producer.last_error
        # what did not get through in time must not hold up the end
        producer.purge()
    show(stats, "" if interrupted else f" after {timeout:g} s")
    if failure is not None:
        raise failure
    if stats.delivered != given:
        lost = f"{given - stats.delivered} of {given} records were not delivered"
        raise click.ClickException(f"{lost}: {printable(why)}" if why else lost)


def show(stats: ProducerStats, waited: str) -> None:
    """Print the counts; waited: for how long the acknowledgements were waited for."""
    click.echo(f"queued {stats.queued}, delivered {stats.delivered}, failed {stats.failed + stats.rejected}")
    for code, count in sorted(stats.errors.items()):
        click.echo(f"  {count} of them: {error_words(code)}")
    if stats.in_flight:
        click.echo(f"  {stats.in_flight} without an acknowledgement{waited}")


def flush_while_acknowledged(producer: Producer, timeout: float) -> None:
    """Wait for acknowledgements, `timeout` seconds at most, and no longer than they come."""
    end = monotonic() + timeout
    left = len(producer)
    while left:
        before, left = left, producer.flush(min(SILENCE, max(0.0, end - monotonic())))
        if left == before or monotonic() >= end:
            return
