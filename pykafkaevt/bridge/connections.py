"""The TCP peers of the bridge: their messages, and the answers to those that are requests."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from pykafkaevt.bridge.inputs import Input
from pykafkaevt.errors import Closed, DeliveryError
from pykafkaevt.jsonrpc.scan import scan_event
from pykafkaevt.jsonrpc.stream import Splitter
from pykafkaevt.log_rate import LogRate
from pykafkaevt.sip.hep_stream import HepSplitter

if TYPE_CHECKING:
    from pykafkaevt.bridge.ingest import Ingest

logger = logging.getLogger("pykafkaevt.bridge")

CLOSING: Final = 5.0  # seconds that a TLS peer may take to say that it closes too
EXCERPT: Final = 128  # bytes kept of what is no message
UNANSWERED: Final = 1024  # requests of a connection without an answer above which it is not read
UNANSWERED_BYTES: Final = 65536  # of their ids
PIECE: Final = 8192  # bytes that are split at a time, so that the bounds above are kept within a segment
TLS: Final = b"\x16\x03"  # how a handshake begins, RFC 8446 5.1
PLAIN: Final = (1, 10.0)  # lines about TLS that comes to an input without it: at once, and seconds until one more
ANSWER: Final = b'{"jsonrpc":"2.0","result":"OK","id":%b}'
ERROR: Final = b'{"jsonrpc":"2.0","error":{"code":-32000,"message":%b},"id":%b}'
# why Ingest.feed() did not queue an event; any other reason is that of an invalid message
NOT_QUEUED: Final = {
    "unrouted": "there is no route for it",
    "abandoned": "the bridge is ending",
    "no_memory": "no memory is left",
}


class Listener:
    """A TCP input: its socket, its connections and what handles their messages; used by the loop's thread."""

    def __init__(self, source: Input, bound: socket.socket, ingest: Ingest, reports: Reports, max_size: int) -> None:
        self.source = source
        self.url = source.url
        self.socket = bound
        self.ingest = ingest
        self.reports = reports
        self.max_size = max_size
        self.connections: set[Connection] = set()
        self.failed_handshakes = 0
        self.plain_rate = LogRate(*PLAIN)

    def say_tls(self, connection: Connection, data: bytes) -> None:
        """Count a peer that speaks TLS to an input without it, and say so in the log now and then."""
        self.ingest.invalid("tls", data[:EXCERPT], connection.source)
        if self.plain_rate.allows():
            text = "%s: %s speaks TLS, and this input does not: %s+tls:// does"
            scheme = "hep" if self.source.hep else "tcp"
            logger.warning(text, self.url, connection.source, scheme, extra=self.plain_rate.note())


class Connection(asyncio.Protocol):
    """Messages of one peer, and the answers to those that are requests.

    Source: OpenSIPS event_stream, reliable_mode: a JSON-RPC 2.0 request for each event, which failed when the response
    with its id has an `error`. Notifications (no id, or null as the module's document has it) get no answer.
    """

    transport: asyncio.Transport

    def __init__(self, listener: Listener, source: str) -> None:
        """source: the peer's address. Made in the loop's thread."""
        self.listener = listener
        self.ingest = listener.ingest
        self.splitter = HepSplitter(listener.max_size) if listener.source.hep else Splitter(listener.max_size)
        self.source = source
        self.gone = asyncio.get_running_loop().create_future()  # done when the connection is lost
        self.fresh = True  # nothing was received yet
        self.received = b""  # what is not split yet, from `done` on
        self.done = 0
        self.unanswered = 0
        self.unanswered_bytes = 0
        self.writable = True
        self.reading = True
        self.ended = False  # nothing more will be read
        self.lost = False  # nobody is there to be answered
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it among the open ones."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.listener.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Reading is paused until all of it is handled; what TLS has decrypted by then may still come."""
        if self.closing:
            return
        if self.fresh and data.startswith(TLS) and not self.listener.source.tls:
            self.listener.say_tls(self, data)
            self.transport.abort()
            return
        self.fresh = False
        self.received, self.done = self.received[self.done :] + data, 0
        self.work()

    def eof_received(self) -> bool:
        """The peer has sent all; it may still wait for answers, so the connection stays open: of TLS it cannot."""
        self.end()
        return not self.listener.source.tls

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle what was received; reports that are still to come are dropped."""
        self.lost = True
        self.end()
        self.listener.connections.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        """The peer does not read its answers."""
        self.writable = False

    def resume_writing(self) -> None:
        """It does again."""
        self.writable = True
        self.work()

    def end(self) -> None:
        """Read no more, and close when all is handled and answered."""
        self.ended = True
        self.work()

    def is_full(self) -> bool:
        """Whether answers must be sent before more is handled."""
        return not self.lost and (
            self.unanswered >= UNANSWERED or self.unanswered_bytes >= UNANSWERED_BYTES or not self.writable
        )

    def work(self) -> None:
        """Handle what was received, as far as answers may wait; then read on, wait or close."""
        try:
            while self.done < len(self.received) and not self.is_full():
                piece = self.received[self.done : self.done + PIECE]
                self.done += PIECE
                for text, reason in self.splitter.feed(piece):
                    self.handle(text, reason)
        except Closed:
            self.done = len(self.received)
            self.transport.abort()
        if self.done >= len(self.received):
            self.received, self.done = b"", 0
            if self.ended:
                for text, reason in self.splitter.finish():
                    self.handle(text, reason)
                if not self.unanswered and not self.closing:
                    self.close()
        if self.closing:
            return
        wanted = not (self.ended or self.received or self.is_full())
        if wanted != self.reading:
            self.reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def close(self) -> None:
        """Close when all answers are sent; a TLS peer that does not close too is left after a while."""
        self.closing = True
        if self.listener.source.tls and not self.lost:
            # what it says to that must be read
            if not self.reading:
                self.transport.resume_reading()
            timer = asyncio.get_running_loop().call_later(CLOSING, self.transport.abort)
            self.gone.add_done_callback(lambda _: timer.cancel())
        self.transport.close()

    def handle(self, text: bytes, reason: str | None) -> None:
        """One message, or, with a reason, bytes that are none."""
        if reason is not None:
            self.ingest.invalid(reason, text, self.source)
            return
        request = None if self.listener.source.hep else request_id(text)
        if request is None:
            self.ingest.feed(text, self.source)
            return
        self.unanswered += 1
        self.unanswered_bytes += len(request)
        try:
            why = self.ingest.feed(text, self.source, on_report=partial(self.listener.reports.add, self, request))
        except Closed:
            self.answer(request, not_queued("abandoned"))
            raise
        if why is not None:
            self.answer(request, not_queued(why))

    def answer(self, request: bytes, error: str | None) -> None:
        """Answer the request of that id; error: what went wrong, None when Kafka has acknowledged the record."""
        self.unanswered -= 1
        self.unanswered_bytes -= len(request)
        if self.transport.is_closing():
            return
        # each by a send of its own and nothing behind the object: OpenSIPS takes one answer from a read without trouble
        if error is None:
            self.transport.write(ANSWER % request)
        else:
            self.transport.write(ERROR % (orjson.dumps(error), request))


class Reports:
    """Brings delivery reports from the threads that get them to the connections' loop, many at a wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: deque[tuple[Connection, bytes, DeliveryError | None]] = deque()
        self.woken = False

    def add(self, connection: Connection, request: bytes, error: DeliveryError | None) -> None:
        """A report, from any thread."""
        self.waiting.append((connection, request, error))
        if not self.woken:
            self.woken = True
            # the loop is closed when nobody waited for this report
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.answer)

    def answer(self) -> None:
        """Answer the requests; the connections can read on then."""
        self.woken = False
        answered = {}
        while self.waiting:
            connection, request, error = self.waiting.popleft()
            connection.answer(request, None if error is None else str(error))
            answered[connection] = True
        for connection in answered:
            connection.work()


def not_queued(reason: str) -> str:
    """The text of an error for a reason of Ingest.feed()."""
    if reason in NOT_QUEUED:
        return f"the event was not queued: {NOT_QUEUED[reason]}"
    return f"invalid message: {reason}"


def request_id(text: bytes) -> bytes | None:
    """The id of a request as it is written, None when nobody waits for an answer."""
    # a name with an escape may be "id" too
    if b'"id"' not in text and b"\\" not in text:
        return None
    try:
        request: bytes | None = scan_event(text)["id"]
    except ValueError:
        try:
            # of an object without a usable method: the first of two members counts
            request = scan_event(b'{"method":"-",' + text[1:])["id"]
        except ValueError:
            return None
    return None if request == b"null" else request


def address_text(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """`host:port`, `[host]:port` of IPv6."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
