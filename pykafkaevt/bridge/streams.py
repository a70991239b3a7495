"""The inputs that are not datagrams: their threads, from the binding of sockets to the last answer."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, Final

from pykafkaevt.bridge.accepting import Limit, most_peers, say_trouble_rarely
from pykafkaevt.bridge.acceptor import Acceptor
from pykafkaevt.bridge.admission import ANYONE, Admission
from pykafkaevt.bridge.connections import Connection, Listener, Reports
from pykafkaevt.bridge.files import open_capture, open_file, read_lines, replay, source_name
from pykafkaevt.bridge.inputs import Input
from pykafkaevt.bridge.progress import Progress
from pykafkaevt.capture import Datagram
from pykafkaevt.errors import Closed, ConfigError

if TYPE_CHECKING:
    from pykafkaevt.bridge.ingest import Ingest

logger = logging.getLogger("pykafkaevt.bridge")

BACKLOG: Final = 128  # connections that wait to be accepted
TICK: Final = 0.1  # seconds in which the connections' thread sees that it is to stop
LINGER: Final = 0.1  # seconds that connections are still read after stop(): what the kernel holds


class Streams:
    """Runs the inputs that are not datagrams.

    inputs: all of the bridge; the datagram ones among them are only known here to be there. make_ingest(input, kind):
    makes what handles an input's messages; kind is "json", "hep" or "plain". admission(input): who may connect, asked
    for each connection. method: stdin: and file: hold plain
    objects. speed: of pcap:, 1 as recorded, 0 without waiting. max_size: bytes of a message.

    readers: the threads of inputs that end by themselves; threads: all. finished: set when all inputs have ended by
    themselves, or one has failed. failed: that one's URL and why, else None.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        make_ingest: Callable[[Input, str], Ingest],
        *,
        method: str | None,
        speed: float,
        max_size: int,
        admission: Callable[[Input], Admission] = lambda _: ANYONE,
    ) -> None:
        self.inputs = tuple(inputs)
        self.make_ingest = make_ingest
        self.admission = admission
        self.method = method
        self.speed = speed
        self.max_size = max_size
        self.finished = threading.Event()
        self.failed: str | None = None
        self.ingests: list[Ingest] = []
        self.listeners: list[Listener] = []
        self.readers: list[threading.Thread] = []
        self.threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.giving_up = threading.Event()
        self.unended = set(self.inputs)  # an input without an end stays in
        self.turns = 0  # of the connections' thread
        self.moves = Progress(self.progress)

    def start(self) -> None:
        """Bind and open all, and feed messages from then on. Raises ConfigError naming the URL, and nothing is open."""
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
                ingest = self.new_ingest(source, "hep" if source.hep else "json")
                self.listeners.append(Listener(source, one, ingest, reports, self.max_size))
            else:
                self.add_reader(source, one)
        self.threads += self.readers
        if self.listeners:
            self.threads.append(
                threading.Thread(target=self.run_loop, args=(loop,), name="pykafkaevt connections", daemon=True)
            )
        else:
            loop.close()
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Read nothing new from then on; returns at once, from any thread.

        A connection is closed when what it has sent is handled and its requests are answered.
        """
        self.stopping.set()

    def give_up(self) -> None:
        """After stop(): close the connections whose requests are not answered yet; returns at once."""
        self.giving_up.set()

    def connections(self, url: str) -> int:
        """The connections that are open to an input."""
        return sum(len(one.connections) for one in self.listeners if one.url == url)

    def failed_handshakes(self, url: str) -> int:
        """The TLS handshakes with an input that failed."""
        return sum(one.failed_handshakes for one in self.listeners if one.url == url)

    def progress(self) -> tuple[int, bool]:
        """The turns of the connections' thread, and whether it waits for a queue: it feeds the messages itself."""
        return self.turns, any(one.ingest.progress()[1] for one in self.listeners)

    def faults(self) -> list[str]:
        """Inputs that no longer work, and why."""
        if self.failed is not None:
            return [self.failed]
        if self.listeners and not self.stopping.is_set() and self.moves.is_stuck():
            return [f"{one.url}: the thread of the connections does not move" for one in self.listeners]
        return []

    def new_ingest(self, source: Input, kind: str) -> Ingest:
        """What handles messages of that kind."""
        ingest = self.make_ingest(source, kind)
        self.ingests.append(ingest)
        return ingest

    def fail(self, url: str, error: Exception) -> None:
        """An input came to an end that it should not: the bridge is to end, for systemd to start it anew."""
        self.failed = f"{url}: reading failed: {error}"
        self.finished.set()

    # Inputs that end by themselves

    def add_reader(self, source: Input, opened: FileIO | Iterator[Datagram]) -> None:
        """Make the thread of such an input."""
        name = source_name(source)
        if isinstance(opened, FileIO):
            ingest = self.new_ingest(source, "json" if self.method is None else "plain")
            work = partial(read_lines, opened, ingest, name, self.max_size, self.stopping)
        else:
            by_kind = {kind: self.new_ingest(source, kind) for kind in ("hep", "json")}
            work = partial(replay, opened, by_kind, name, self.speed, self.stopping)
        self.readers.append(
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
        say_trouble_rarely(loop)
        limit = Limit("inputs", most_peers())
        acceptors = [Acceptor(one, partial(self.admission, one.source), limit) for one in self.listeners]
        accepting = [loop.create_task(one.run()) for one in acceptors]
        while not self.stopping.is_set():
            self.turns += 1
            await asyncio.sleep(TICK)
            for task in accepting:
                if task.done():
                    task.result()
        for task, listener in zip(accepting, self.listeners, strict=True):
            task.cancel()
            await asyncio.wait([task])
            listener.socket.close()
        await asyncio.sleep(LINGER)
        for one in acceptors:
            one.give_up()
        for connection in self.open_connections():
            connection.end()
        while self.open_connections():
            if self.giving_up.is_set():
                for connection in self.open_connections():
                    connection.transport.abort()
            await asyncio.sleep(TICK / 10)
        await asyncio.gather(*(peer for one in acceptors for peer in one.peers), return_exceptions=True)

    def open_connections(self) -> list[Connection]:
        """Those of all inputs."""
        return [connection for one in self.listeners for connection in one.connections]


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
