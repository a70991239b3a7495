"""Standard input, files and captures: their messages, one after the other, to their end."""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from io import BufferedReader, FileIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import dpkt  # type: ignore[import-untyped]

from pykafkaevt.bridge.inputs import Input
from pykafkaevt.capture import Datagram, read_capture
from pykafkaevt.errors import ConfigError

if TYPE_CHECKING:
    from pykafkaevt.bridge.ingest import Ingest

BLOCK: Final = 1 << 18  # bytes that are read of a file at a time
EXCERPT: Final = 128  # bytes kept of a message that is too large
TICK: Final = 0.1  # seconds in which a reader sees that it is to stop

HEP_SIZE: Final = 65535  # the greatest a HEPv3 packet can be: its length has 16 bits


def source_name(source: Input) -> str:
    """What messages of an input that ends by itself have as their source."""
    return "stdin" if source.path is None else str(source.path)


def open_file(source: Input) -> FileIO:
    """The file of stdin:, file: or pcap:. Raises ConfigError naming the URL."""
    try:
        if source.path is not None:
            return FileIO(str(source.path), "rb", opener=open_at_once)
        if sys.stdin is not None:
            return FileIO(os.dup(sys.stdin.fileno()), "rb")
    except OSError as error:
        raise ConfigError(source.url, error.strerror or str(error)) from error
    raise ConfigError(source.url, "there is no standard input")


def open_at_once(path: str, flags: int) -> int:
    """Opens a FIFO without waiting for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def open_capture(source: Input, file: FileIO) -> Iterator[Datagram]:
    """The datagrams of a capture; the file is closed behind the last. Raises ConfigError naming the URL."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ConfigError(source.url, "is no regular file")
    datagrams = read_capture(BufferedReader(file))
    try:
        first = list(islice(datagrams, 1))
    except (ValueError, struct.error, dpkt.Error) as error:
        raise ConfigError(source.url, f"is no capture: {error}") from error
    return closing_behind(file, chain(first, datagrams))


def closing_behind(file: FileIO, datagrams: Iterable[Datagram]) -> Iterator[Datagram]:
    """The datagrams, and the file is closed."""
    with file:
        yield from datagrams


def read_lines(file: FileIO, ingest: Ingest, name: str, max_size: int, stopping: threading.Event) -> None:
    """Feed each line that is not blank, without the white space around it, and close the file."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    held = b""  # the start of an unfinished line
    dropping = False  # the rest of a line that was too large
    with file:
        while not stopping.is_set():
            block = file.read(BLOCK) if poll.poll(TICK * 1000) else None
            if block is None:
                continue
            *lines, held = (held + block).split(b"\n")
            if not block:
                lines, held = [held], b""
            if dropping and lines:
                del lines[0]
                dropping = False
            for line in map(bytes.strip, lines):
                if line:
                    ingest.feed(line, name)
            if not block:
                break
            if len(held) > max_size and not dropping:
                ingest.invalid("too_large", held[:EXCERPT], name)
                dropping = True
            if dropping:
                held = b""


def replay(
    datagrams: Iterable[Datagram], ingests: dict[str, Ingest], name: str, speed: float, stopping: threading.Event
) -> None:
    """Feed the SIP messages, HEP packets and JSON objects among the datagrams of a capture, at its pace.

    ingests: by kind, "hep" and "json". What else a capture has (media, DNS, keep-alives) is passed over. One that is
    cut short counts as truncated.
    """
    started, first = time.monotonic(), None
    try:
        for datagram in datagrams:
            if first is None:
                first = datagram.time
            wait = 0.0
            if speed:
                wait = started + (datagram.time - first) / 1e6 / speed - time.monotonic()
            if stopping.wait(min(wait, threading.TIMEOUT_MAX)) if wait > 0 else stopping.is_set():
                break
            payload = datagram.payload
            if payload.startswith(b"HEP3"):
                ingests["hep"].feed(payload, name)
            elif payload.lstrip(b" \t\r\n").startswith(b"{"):
                ingests["json"].feed(payload, name)
            elif is_sip(payload):
                packet = hep_packet(datagram)
                if len(packet) > HEP_SIZE:
                    ingests["hep"].invalid("too_large", payload[:EXCERPT], name)
                else:
                    ingests["hep"].feed(packet, name)
    except dpkt.Error:
        ingests["hep"].invalid("truncated", b"", name)


def is_sip(payload: bytes) -> bool:
    """Whether it begins with the start line of a SIP message, RFC 3261 7.1 and 7.2."""
    line = payload[: payload.find(b"\n") + 1].rstrip(b"\r\n")
    return line.startswith(b"SIP/2.0 ") or line.endswith(b" SIP/2.0")


def hep_packet(datagram: Datagram) -> bytes:
    """The HEPv3 packet of a SIP datagram, as a capture agent makes it; its length is right up to HEP_SIZE bytes.

    Source: HEP3 protocol specification, generic chunk types: IP family and protocol, addresses, ports, time, SIP.
    """
    version6 = ":" in datagram.source
    family = socket.AF_INET6 if version6 else socket.AF_INET
    seconds, microseconds = divmod(datagram.time, 1_000_000)
    chunks = b"".join(
        struct.pack("!HHH", 0, kind, 6 + len(value)) + value
        for kind, value in (
            (0x0001, bytes([10 if version6 else 2])),
            (0x0002, bytes([socket.IPPROTO_UDP])),
            (0x0005 if version6 else 0x0003, socket.inet_pton(family, datagram.source)),
            (0x0006 if version6 else 0x0004, socket.inet_pton(family, datagram.destination)),
            (0x0007, datagram.source_port.to_bytes(2, "big")),
            (0x0008, datagram.destination_port.to_bytes(2, "big")),
            (0x0009, (seconds & 0xFFFFFFFF).to_bytes(4, "big")),
            (0x000A, microseconds.to_bytes(4, "big")),
            (0x000B, b"\x01"),
        )
    )
    payload = struct.pack("!HHH", 0, 0x000F, 6 + len(datagram.payload) & 0xFFFF) + datagram.payload
    return b"HEP3" + (6 + len(chunks) + len(payload) & 0xFFFF).to_bytes(2, "big") + chunks + payload
