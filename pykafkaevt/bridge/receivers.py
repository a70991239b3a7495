"""The datagram inputs: a thread for each of their sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pykafkaevt.bridge.config import BridgeConfig
from pykafkaevt.bridge.datagrams import open_sockets, removal
from pykafkaevt.bridge.inputs import Input
from pykafkaevt.bridge.progress import Progress

if TYPE_CHECKING:
    from pykafkaevt.bridge.ingest import Ingest


class Receiver(threading.Thread):
    """The thread of one datagram socket. failed: why it ended before stop(), None until then."""

    def __init__(self, ingest: Ingest, bound: socket.socket, number: int, on_failure: Callable[[], None]) -> None:
        super().__init__(name=f"pykafkaevt {ingest.url} {number}", daemon=True)
        self.ingest = ingest
        self.socket = bound
        self.on_failure = on_failure
        self.moves = Progress(ingest.progress)
        self.stopping = False
        self.failed: str | None = None

    def run(self) -> None:
        """Receive until stop(); an error of the socket ends the daemon, for systemd to start it anew."""
        try:
            self.ingest.receive(self.socket.fileno())
        except Exception as error:
            self.failed = str(error)
            self.on_failure()

    def stop(self) -> None:
        """End when the kernel holds no more; returns at once."""
        self.stopping = True
        self.ingest.stop()

    def fault(self) -> str | None:
        """Why it no longer works, None while it does."""
        if self.failed is not None:
            return f"{self.ingest.url}: receiving failed: {self.failed}"
        if not self.is_alive():
            return None if self.stopping or self.ident is None else f"{self.ingest.url}: a receiving thread has ended"
        return f"{self.ingest.url}: a receiving thread does not move" if self.moves.is_stuck() else None


class Receivers:
    """The threads of all datagram inputs."""

    def __init__(
        self,
        config: BridgeConfig,
        make_ingest: Callable[[Input, str], Ingest],
        on_failure: Callable[[], None],
        stack: ExitStack,
    ) -> None:
        """Binds the sockets, which the stack closes. on_failure: called when one fails. Raises ConfigError."""
        self.threads: list[Receiver] = []
        for source in config.inputs:
            if source.transport not in ("udp", "unix"):
                continue
            kind = "hep" if source.hep else "json"
            for number, bound in enumerate(open_sockets(source, config.workers, config.receive_buffer), 1):
                stack.callback(bound.close)
                self.threads.append(Receiver(make_ingest(source, kind), bound, number, on_failure))
            if source.scheme == "unix":
                assert source.path is not None
                stack.callback(removal(source.path))

    def start(self) -> None:
        """Receive."""
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Have the threads end when the kernel holds no more; returns at once."""
        for thread in self.threads:
            thread.stop()

    def faults(self) -> list[str]:
        """Inputs that no longer work, and why, once each."""
        return list(dict.fromkeys(fault for one in self.threads if (fault := one.fault()) is not None))
