"""The inputs that are not datagrams: TCP connections, standard input, files and captures."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from io import BufferedReader, FileIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import dpkt  # type: ignore[import-untyped]

from pykafkaevt.bridge.config import Input
from pykafkaevt.bridge.connections import Connection, Listener, Reports
from pykafkaevt.capture import Datagram, read_capture
from pykafkaevt.errors import Closed, ConfigError

if TYPE_CHECKING:
    from pykafkaevt.bridge.ingest import Ingest

logger = logging.getLogger("pykafkaevt.bridge")

BACKLOG: Final = 128  # connections that wait to be accepted
BLOCK: Final = 1 << 18  # bytes that are read of a file at a time
EXCERPT: Final = 128  # bytes kept of a line that is too large
TICK: Final = 0.1  # seconds that stop() may take to be seen
LINGER: Final = 0.1  # seconds that connections are still read after stop(): what the kernel holds
GIVING_UP: Final = 1.0  # seconds that join() waits beyond its timeout

HEP_SIZE: Final = 65535  # the greatest a HEPv3 packet can be: its length has 16 bits


class Streams:
    """Runs the inputs that are not datagrams.

    inputs: all of the bridge; the datagram ones among them are only known here to be there. make_ingest(input, kind):
    gives what takes an input's messages; kind is "json", "hep" or "plain". method: stdin: and file: hold plain objects.
    speed: of pcap:, 1 as recorded, 0 without waiting. max_size: bytes of a message.

    finished: set when all inputs have ended by themselves, or one has failed. failed: what it failed with, else None.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        make_ingest: Callable[[Input, str], Ingest],
        *,
        method: str | None = None,
        speed: float = 1.0,
        max_size: int = 65536,
    ) -> None:
        self.inputs = tuple(inputs)
        self.make_ingest = make_ingest
        self.method = method
        self.speed = speed
        self.max_size = max_size
        self.finished = threading.Event()
        self.failed: Exception | None = None
        self.ingests: list[Ingest] = []
        self.listeners: list[Listener] = []
        self.threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.giving_up = threading.Event()
        self.unended = set(self.inputs)  # an input without an end stays in

    def start(self) -> None:
        """Bind and open all, and take messages from then on. Raises ConfigError naming the URL, and nothing is open."""
        loop = asyncio.new_event_loop()
        with ExitStack() as stack:
            stack.callback(loop.close)
            reports = Reports(loop)
            opened: list[tuple[Input, socket.socket | FileIO | Iterator[Datagram]]] = []
            for source in self.inputs:
                if source.transport == "tcp":
                    opened.append((source, stack.enter_context(bound_socket(source))))
                elif not source.transport:
                    file = stack.enter_context(open_file(source))
                    opened.append((source, open_capture(source, file) if source.scheme == "pcap" else file))
            stack.pop_all()
        for source, one in opened:
            if isinstance(one, socket.socket):
                ingest = self.new_ingest(source, "hep" if source.scheme == "hep+tcp" else "json")
                self.listeners.append(Listener(source, one, ingest, reports, self.max_size))
            elif isinstance(one, FileIO):
                ingest = self.new_ingest(source, "json" if self.method is None else "plain")
                self.add_thread(source, partial(self.read_lines, one, ingest, shown(source)))
            else:
                by_kind = {kind: self.new_ingest(source, kind) for kind in ("hep", "json")}
                self.add_thread(source, partial(self.replay, one, by_kind, shown(source)))
        if self.listeners:
            self.threads.append(
                threading.Thread(target=self.run_loop, args=(loop,), name="pykafkaevt connections", daemon=True)
            )
        else:
            loop.close()
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing new from then on; returns at once, from any thread.

        A connection is closed when what it has sent is taken and its requests are answered.
        """
        self.stopping.set()

    def join(self, timeout: float) -> None:
        """stop(), and wait until all requests are answered, `timeout` seconds at most; what is open then is closed.

        To be called when the producers have been flushed: until then there are requests without an answer.
        """
        self.stop()
        end = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.giving_up.set()
        for thread in self.threads:
            thread.join(GIVING_UP)

    def connections(self, url: str) -> int:
        """The connections that are open to an input."""
        return sum(len(one.connections) for one in self.listeners if one.url == url)

    def new_ingest(self, source: Input, kind: str) -> Ingest:
        """What takes messages of that kind."""
        ingest = self.make_ingest(source, kind)
        self.ingests.append(ingest)
        return ingest

    def fail(self, url: str, error: Exception) -> None:
        """An input came to an end that it should not: the bridge is to end, for systemd to start it anew."""
        logger.critical("%s: reading failed: %s", url, error)
        self.failed = error
        self.finished.set()

    # Files

    def add_thread(self, source: Input, work: Callable[[], None]) -> None:
        """A thread for an input that ends by itself."""
        self.threads.append(
            threading.Thread(target=self.run_to_end, args=(source, work), name=f"pykafkaevt {source.url}", daemon=True)
        )

    def run_to_end(self, source: Input, work: Callable[[], None]) -> None:
        """The thread of such an input."""
        try:
            work()
        except Closed:
            logger.warning("%s: ended before its end", source.url)
        except Exception as error:
            self.fail(source.url, error)
        self.unended.discard(source)
        if not self.unended:
            self.finished.set()

    def read_lines(self, file: FileIO, ingest: Ingest, name: str) -> None:
        """Take each line that is not blank, without the white space around it."""
        poll = select.poll()
        poll.register(file, select.POLLIN)
        held = b""  # the start of an unfinished line
        dropping = False  # the rest of a line that was too large
        with file:
            while not self.stopping.is_set():
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
                if len(held) > self.max_size and not dropping:
                    ingest.invalid("too_large", held[:EXCERPT], name)
                    dropping = True
                if dropping:
                    held = b""

    def replay(self, datagrams: Iterable[Datagram], ingests: dict[str, Ingest], name: str) -> None:
        """Take the SIP messages, HEP packets and JSON objects among the datagrams of a capture, at its pace.

        What else a capture has (media, DNS, keep-alives) is passed over. One that is cut short counts as truncated.
        """
        started, first = time.monotonic(), None
        try:
            for datagram in datagrams:
                if first is None:
                    first = datagram.time
                wait = 0.0
                if self.speed:
                    wait = started + (datagram.time - first) / 1e6 / self.speed - time.monotonic()
                if self.stopping.wait(min(wait, threading.TIMEOUT_MAX)) if wait > 0 else self.stopping.is_set():
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

    # Connections

    def run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread of all connections."""
        try:
            loop.run_until_complete(self.serve())
        except Exception as error:
            self.fail(", ".join(one.url for one in self.listeners), error)
        finally:
            loop.close()

    async def serve(self) -> None:
        """Accept connections until stop(), and leave when the last is closed."""
        loop = asyncio.get_running_loop()
        servers = [
            await loop.create_server(partial(Connection, one), sock=one.socket, backlog=BACKLOG)
            for one in self.listeners
        ]
        while not self.stopping.is_set():
            await asyncio.sleep(TICK)
        for server in servers:
            server.close()
        await asyncio.sleep(LINGER)
        for connection in self.open_connections():
            connection.end()
        while self.open_connections():
            if self.giving_up.is_set():
                for connection in self.open_connections():
                    connection.transport.abort()
            await asyncio.sleep(TICK / 10)

    def open_connections(self) -> list[Connection]:
        """Those of all inputs."""
        return [connection for one in self.listeners for connection in one.connections]


def shown(source: Input) -> str:
    """What messages of an input that ends by itself have as their source."""
    return "stdin" if source.path is None else str(source.path)


def bound_socket(source: Input) -> socket.socket:
    """The bound socket of a TCP input. Raises ConfigError naming the URL."""
    one = None
    try:
        family, _, _, _, address = socket.getaddrinfo(
            source.host, source.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # connections inherit it: a peer that vanished does not stay for ever
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        one.setblocking(False)
        one.bind(address)
        # here, for two sockets with SO_REUSEADDR may be bound alike until one listens
        one.listen(BACKLOG)
    except OSError as error:
        if one is not None:
            one.close()
        raise ConfigError(source.url, error.strerror or str(error)) from error
    return one


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
