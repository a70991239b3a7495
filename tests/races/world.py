"""What the process of a cell shares: the broker's address and control, the turn's randomness and what may be raised."""

import os
import random
import threading
from collections.abc import Callable
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

PROPERTIES = "g.linger.ms=1&g.reconnect.backoff.ms=10&g.reconnect.backoff.max.ms=100&g.retry.backoff.ms=10"


class Control:
    """The broker, which runs in the process that judges the cell: a crash of this one does not take it along.

    Called from the threads of the process that made it, not of its children.
    """

    def __init__(self, address: str) -> None:
        self.connection = Client(address)
        self.asking = threading.Lock()

    def __call__(self, method: str, *arguments: Any) -> None:
        """Call a method of the EmbeddedBroker."""
        with self.asking:
            self.connection.send((method, arguments))
            self.connection.recv()


class World:
    """One cell's, in the process that acts.

    properties: the happening's, of every socket. over: the turn's end. may_be_closed: whether the happening or the
    action closes what others use; raises: what calls may raise while the client cannot be opened; whole: no record may
    fail. tell: writes an account at once.
    """

    def __init__(self, bootstrap: str, broker: Control, folder: Path, seed: int, tell: Callable[[Any], None]) -> None:
        self.bootstrap = bootstrap
        self.broker = broker
        self.folder = folder
        self.random = random.Random(seed)
        self.tell = tell
        self.properties = ""
        self.may_be_closed = False
        self.raises: tuple[type[Exception], ...] = ()
        self.whole = True
        self.over = threading.Event()
        self.flag = Path(os.environ["RACES_UNUSABLE"])

    def socket(self, topic: str) -> str:
        """The socket text of a topic."""
        return f"kafka:{self.bootstrap}/{topic}?{PROPERTIES}{self.properties}"

    def heal(self) -> None:
        """The broker and the files are as they should be."""
        self.flag.unlink(missing_ok=True)
        for api in ("Produce", "InitProducerId"):
            self.broker("push_errors", api, [])
        self.broker("set_rtt_ms", 1, 0)
        self.broker("set_up", 1)
