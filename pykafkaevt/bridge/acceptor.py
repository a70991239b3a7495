"""The peers of a TCP input: let in by address, within limits, behind a TLS handshake where the input has TLS."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from pykafkaevt.bridge import tls
from pykafkaevt.bridge.accepting import TROUBLE, Limit
from pykafkaevt.bridge.admission import Admission
from pykafkaevt.bridge.connections import Connection, Listener, address_text
from pykafkaevt.log_rate import LogRate

logger = logging.getLogger("pykafkaevt.bridge")

CONNECTIONS: Final = 1024  # of an input; more are closed at once
HANDSHAKE: Final = 10.0  # seconds that a TLS handshake may take
EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
AGAIN: Final = 1.0  # seconds until accepting is tried again without them; other errors are of one peer
TOO_MANY: Final = (1, 10.0)  # lines about connections that are one too many: at once, and seconds until one more
FAILED: Final = (1, 10.0)  # the same about handshakes that failed


class Acceptor:
    """Accepts the peers of one input.

    admission: who may connect now, asked for each; limit: of the connections of all inputs. Used by the loop's thread.
    """

    def __init__(self, listener: Listener, admission: Callable[[], Admission], limit: Limit) -> None:
        self.listener = listener
        self.admission = admission
        self.limit = limit
        self.peers: set[asyncio.Task[None]] = set()
        self.connecting: set[asyncio.Task[None]] = set()  # those among them without a connection yet
        self.trouble_rate = LogRate(*TROUBLE)
        self.too_many_rate = LogRate(*TOO_MANY)
        self.failed_rate = LogRate(*FAILED)

    async def run(self) -> None:
        """Accept until it is cancelled."""
        while True:
            try:
                peer, address = await self.accept()
            except OSError as error:
                if self.trouble_rate.allows():
                    extra = self.trouble_rate.note()
                    logger.error("%s: accepting failed: %s", self.listener.url, error.strerror, extra=extra)
                await asyncio.sleep(AGAIN if error.errno in EXHAUSTED else 0)
                continue
            self.admit(peer, address)
            # peers that come without a pause leave time for others
            await asyncio.sleep(0)

    async def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next peer. Cancelled it loses none, where loop.sock_accept() takes one and fails. Raises OSError."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, address = self.listener.socket.accept()
            except BlockingIOError:
                readable = asyncio.Event()
                loop.add_reader(self.listener.socket, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(self.listener.socket)
            else:
                peer.setblocking(False)
                return peer, address

    def admit(self, peer: socket.socket, address: tuple[str, int]) -> None:
        """Serve a peer, or close it."""
        source = address_text(address)
        if not self.admission().access.admits(address[0]):
            self.listener.ingest.refuse(source)
        elif len(self.peers) >= CONNECTIONS:
            if self.too_many_rate.allows():
                text, extra = "%s: the connection of %s is closed: %d are open", self.too_many_rate.note()
                logger.warning(text, self.listener.url, source, CONNECTIONS, extra=extra)
        elif self.limit.enter():
            task = asyncio.get_running_loop().create_task(self.serve(peer, source))
            for group in (self.peers, self.connecting):
                group.add(task)
                task.add_done_callback(group.discard)
            return
        peer.close()

    async def serve(self, peer: socket.socket, source: str) -> None:
        """The whole life of a connection."""
        connection = Connection(self.listener, source)
        try:
            await asyncio.wait_for(self.connect(peer, connection), HANDSHAKE)
            self.connecting.discard(asyncio.current_task())
            await connection.gone
        except (OSError, asyncio.TimeoutError) as error:
            self.failed(source, error)
        finally:
            peer.close()
            self.limit.leave()

    async def connect(self, peer: socket.socket, connection: Connection) -> None:
        """Have the connection work, encrypted where the input is. Raises OSError."""
        context = self.admission().context
        if context is not None:
            await tls.require_tls(peer)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, peer, ssl=context)

    def failed(self, source: str, error: Exception) -> None:
        """Count a handshake that failed, and say why in the log now and then."""
        if not self.listener.source.tls:
            return
        self.listener.failed_handshakes += 1
        if self.failed_rate.allows():
            text, extra = "%s: the TLS handshake of %s failed: %s", self.failed_rate.note()
            logger.warning(text, self.listener.url, source, tls.why(error), extra=extra)

    def give_up(self) -> None:
        """Leave the peers that are not connected yet."""
        for task in self.connecting:
            task.cancel()
