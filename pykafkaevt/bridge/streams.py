"""The inputs that are no datagram sockets: TCP streams of JSON and of HEP, standard input, files, captures."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import IO, Any, Final

from pykafkaevt._hep import HepSplitter
from pykafkaevt._ingest import Ingest
from pykafkaevt._json_scan import Splitter, scan_event
from pykafkaevt.bridge.config import Input
from pykafkaevt.errors import Closed, ConfigError, DeliveryError

logger = logging.getLogger("pykafkaevt.bridge")

BLOCK: Final = 1 << 16  # bytes read at once
CONNECTIONS: Final = 1024  # of one input at a time
UNANSWERED: Final = 1000  # requests of one connection that wait for Kafka; no more is read then
GRACE: Final = 0.1  # seconds that a stream is still read after the end was asked for
HEP_SIZE: Final = 65535  # bytes of a packet, by its length field
# The HEP3 chunks of a captured datagram: HEP/EEP network protocol, revision 12, section 3.
HEP_CHUNKS: Final = {
    "family": 1, "protocol": 2, "ipv4_from": 3, "ipv4_to": 4, "ipv6_from": 5, "ipv6_to": 6, "port_from": 7,
    "port_to": 8, "seconds": 9, "microseconds": 10, "type": 11, "payload": 15,
}  # fmt: skip

MakeIngest = Callable[[Input, str], Ingest]


class Connection:
    """One peer of a TCP input; all of it on the loop's thread."""

    def __init__(self, streams: Streams, source: Input, ingest: Ingest, writer: asyncio.StreamWriter) -> None:
        self.streams = streams
        self.ingest = ingest
        self.writer = writer
        self.is_hep = source.scheme == "hep+tcp"
        self.splitter: Any = HepSplitter(HEP_SIZE) if self.is_hep else Splitter(streams.max_size)
        peer = writer.get_extra_info("peername")
        self.source = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
        self.unanswered = 0
        self.room = asyncio.Event()
        self.room.set()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Take messages until the peer, or the bridge, ends; then wait until every request has its answer."""
        while block := await reader.read(BLOCK):
            self.take(self.splitter.feed(block))
            # a peer that does not read its answers, or asks faster than Kafka takes, is not read either
            await self.writer.drain()
            await self.room.wait()
        self.take(self.splitter.finish())
        while self.unanswered:
            self.room.clear()
            await self.room.wait()
        await self.writer.drain()

    def take(self, found: list[tuple[bytes, str | None]]) -> None:
        """Feed messages, and what is none."""
        for data, reason in found:
            if reason is not None:
                self.ingest.invalid(reason, data, self.source)
            elif not self.is_hep and b'"id"' in data and (request := id_of(data)) is not None:
                self.ask(data, request)
            else:
                self.ingest.feed(data, self.source)

    def ask(self, data: bytes, request: bytes) -> None:
        """A request is answered when Kafka has the record, or it is certain that it never will."""
        self.unanswered += 1
        if self.unanswered >= UNANSWERED:
            self.room.clear()
        on_report = partial(self.streams.call, self.answer, request)
        if not self.ingest.feed(data, self.source, on_report=on_report):
            self.answer(request, "the message was not taken: invalid, or no route fits")

    def answer(self, request: bytes, error: DeliveryError | str | None) -> None:
        """Answer one request; its id as it came."""
        result = b'"result":"OK"'
        if error is not None:
            text = str(error).replace("\\", "\\\\").replace('"', '\\"').encode()
            result = b'"error":{"code":-32000,"message":"%s"}' % text
        self.unanswered -= 1
        if not self.writer.is_closing():
            self.writer.write(b'{"jsonrpc":"2.0",%s,"id":%s}' % (result, request))
        if self.unanswered < UNANSWERED:
            self.room.set()


def id_of(data: bytes) -> bytes | None:
    """The text of a request's id; None for a notification, and for what is no event at all."""
    try:
        found: bytes | None = scan_event(data)["id"]
    except ValueError:
        return None
    return found


class Streams:
    """All inputs of one bridge that are no datagram sockets.

    make_ingest(input, kind): what handles a stream of messages; method: the event of plain JSON objects in stdin: and
    file:; speed: of pcap:, times the capture's own, 0 as fast as it goes; max_size: bytes of a JSON message.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        make_ingest: MakeIngest,
        *,
        method: str | None,
        speed: float,
        max_size: int,
    ) -> None:
        self.inputs = inputs
        self.make_ingest = make_ingest
        self.method = method
        self.speed = speed
        self.max_size = max_size
        self.finished = threading.Event()  # every input was one that ends by itself, and has ended
        self.failed: BaseException | None = None
        self.stopping = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.readers: dict[asyncio.StreamReader, asyncio.Task[Any]] = {}
        self.servers: list[asyncio.Server] = []
        self.counts: Counter[str] = Counter()
        self.running = 0
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind, open, and begin. Raises ConfigError naming the URL; then nothing was begun."""
        sources = [(source, self.open(source)) for source in self.inputs]
        listening = [(source, one) for source, one in sources if isinstance(one, socket.socket)]
        reading = [(source, one) for source, one in sources if not isinstance(one, socket.socket)]
        self.running = len(reading)
        if listening:
            self.thread = threading.Thread(target=self.run, args=(listening,), name="pykafkaevt streams", daemon=True)
            self.thread.start()
        for source, file in reading:
            threading.Thread(
                target=self.read, args=(source, file, not listening), name=f"pykafkaevt {source.url}", daemon=True
            ).start()

    def open(self, source: Input) -> socket.socket | IO[bytes]:
        """The listening socket of an input, or its file."""
        try:
            if source.transport == "tcp":
                family = socket.getaddrinfo(source.host, source.port, type=socket.SOCK_STREAM)[0][0]
                return socket.create_server((source.host, source.port), family=family, backlog=128)
            if source.scheme == "stdin":
                return sys.stdin.buffer
            assert source.path is not None
            return source.path.open("rb")
        except OSError as error:
            raise ConfigError(source.url, error.strerror or str(error)) from error

    def stop(self) -> None:
        """Take no more connections, read what is there; requests still get their answers. Returns at once."""
        self.stopping.set()
        if self.thread is not None:
            self.call_soon(lambda: self.loop.create_task(self.end()))

    def join(self, timeout: float) -> None:
        """Wait for the connections to end, `timeout` seconds at most."""
        if self.thread is not None:
            self.thread.join(timeout)

    def connections(self, url: str) -> int:
        """How many peers a TCP input has."""
        return self.counts[url]

    # TCP

    def run(self, listening: list[tuple[Input, socket.socket]]) -> None:
        """The thread of the loop."""
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.listen(listening))
        self.loop.close()

    async def listen(self, listening: list[tuple[Input, socket.socket]]) -> None:
        """Serve until end() has closed the servers and every connection is over."""
        for source, one in listening:
            ingest = self.make_ingest(source, "hep" if source.scheme == "hep+tcp" else "json")
            server = await asyncio.start_server(partial(self.connected, source, ingest), sock=one, limit=BLOCK)
            self.servers.append(server)
        await asyncio.gather(*(server.wait_closed() for server in self.servers))
        while self.readers:
            await asyncio.wait(list(self.readers.values()))

    async def connected(
        self, source: Input, ingest: Ingest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection to its end."""
        if self.counts[source.url] >= CONNECTIONS:
            logger.warning("%s: more than %d connections, one was refused", source.url, CONNECTIONS)
            writer.close()
            return
        self.counts[source.url] += 1
        task = asyncio.current_task()
        assert task is not None
        self.readers[reader] = task
        try:
            await Connection(self, source, ingest, writer).serve(reader)
        except (OSError, Closed) as error:
            logger.info("%s: a connection ended: %s", source.url, error)
        finally:
            del self.readers[reader]
            self.counts[source.url] -= 1
            writer.close()

    async def end(self) -> None:
        """Close the servers; what peers have sent until now is still read."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(GRACE)
        for reader in self.readers:
            reader.feed_eof()

    def call(self, do: Callable[..., object], *arguments: object) -> None:
        """Do something on the loop's thread: from the report thread."""
        self.call_soon(partial(do, *arguments))

    def call_soon(self, do: Callable[[], object]) -> None:
        """As the loop's own; a loop that has ended has nobody to answer."""
        try:
            self.loop.call_soon_threadsafe(do)
        except RuntimeError:
            logger.debug("the loop of the streams has ended")

    # Inputs that end by themselves

    def read(self, source: Input, file: IO[bytes], alone: bool) -> None:
        """The thread of one of them; alone: no TCP input keeps the bridge up."""
        try:
            with file:
                if source.scheme == "pcap":
                    self.replay(source, file)
                else:
                    self.read_lines(source, file)
        except Closed:
            pass
        except Exception as error:
            logger.exception("%s: reading failed", source.url)
            self.failed = error
        with self.lock:
            self.running -= 1
            if self.running == 0 and alone:
                self.finished.set()

    def read_lines(self, source: Input, file: IO[bytes]) -> None:
        """JSON, newline-delimited; what stands between objects is invalid."""
        ingest = self.make_ingest(source, "json" if self.method is None else "plain")
        splitter = Splitter(self.max_size)
        name = str(source.path or "stdin")
        read = getattr(file, "read1", file.read)
        while not self.stopping.is_set():
            block = read(BLOCK)
            for data, reason in splitter.feed(block) if block else splitter.finish():
                if reason is None:
                    ingest.feed(data, name)
                else:
                    ingest.invalid(reason, data, name)
            if not block:
                return

    def replay(self, source: Input, file: IO[bytes]) -> None:
        """The datagrams of a capture: HEP packets and JSON as they are, anything else as SIP."""
        from pykafkaevt.capture import read_capture  # noqa: PLC0415

        hep, json = self.make_ingest(source, "hep"), self.make_ingest(source, "json")
        started, first = time.monotonic(), 0
        for datagram in read_capture(file):
            first = first or datagram.time
            if self.speed:
                due = started + (datagram.time - first) / 1e6 / self.speed
                if self.stopping.wait(max(0.0, due - time.monotonic())):
                    return
            elif self.stopping.is_set():
                return
            payload = datagram.payload
            if payload.startswith(b"HEP3"):
                hep.feed(payload, datagram.source)
            elif payload.lstrip().startswith(b"{"):
                json.feed(payload, datagram.source)
            else:
                hep.feed(hep_packet(datagram), datagram.source)


def hep_packet(datagram: Any) -> bytes:
    """The HEPv3 packet of a captured SIP datagram."""
    source, destination = ip_address(datagram.source), ip_address(datagram.destination)
    version = "ipv4" if source.version == 4 else "ipv6"
    chunks: dict[str, bytes] = {
        "family": b"\x02" if source.version == 4 else b"\x0a",
        "protocol": b"\x11",
        f"{version}_from": source.packed,
        f"{version}_to": destination.packed,
        "port_from": struct.pack(">H", datagram.source_port),
        "port_to": struct.pack(">H", datagram.destination_port),
        "seconds": struct.pack(">I", datagram.time // 1_000_000),
        "microseconds": struct.pack(">I", datagram.time % 1_000_000),
        "type": b"\x01",
        "payload": datagram.payload,
    }
    body = b"".join(struct.pack(">HHH", 0, HEP_CHUNKS[name], 6 + len(data)) + data for name, data in chunks.items())
    return b"HEP3" + struct.pack(">H", min(6 + len(body), HEP_SIZE)) + body
